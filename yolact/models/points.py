"""The prediction head without anchors: one prediction a cell, its box as distances to the four sides.

FCOS (Tian et al. 2019) with the two towers of RetinaNet; mask coefficients beside the box, as in YOLACT's figure 4.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PRIOR = 0.01  # the score of a class before training, so that the many negatives do not swamp the first steps
FIRST_DISTANCE = 2.0  # strides from a point to a side before training


class PointCoder:
    """Distances from points to the sides of boxes, and one sigmoid for each class.

    Attributes:
        points: float32 [A, 2], x and y in pixels of the network input.
        strides: float32 [A], of each point's level in pixels: the unit of the distances.
        image_size: (H, W) of the input in pixels.
    """

    def __init__(self, points: Tensor, image_size: tuple[int, int]) -> None:
        """Take points [A, 3]: x, y and stride, as `make_points` returns them."""
        self.points, self.strides, self.image_size = points[:, :2], points[:, 2], image_size

    @property
    def constants(self) -> dict[str, Tensor]:
        """What a program needs beside the outputs to decode them: x, y and stride of each point, float32 [A, 3]."""
        return {"points": torch.cat([self.points, self.strides[:, None]], -1)}

    def scores(self, class_logits: Tensor) -> Tensor:
        """Return class probabilities [..., C] of logits [..., C]."""
        return class_logits.sigmoid()

    def encode(self, boxes: Tensor) -> Tensor:
        """Invert `decode` for xyxy boxes [..., A, 4] around their points; sides beyond a point count as at it."""
        distances = torch.cat([self.points - boxes[..., :2], boxes[..., 2:] - self.points], -1)
        distances = (distances / self.strides[:, None]).clamp(min=1e-3)
        return distances + torch.log(-torch.expm1(-distances))

    def decode(self, box_deltas: Tensor) -> Tensor:
        """Turn outputs [..., A, 4] (left, top, right, bottom) into xyxy boxes around their points, not clipped."""
        distances = F.softplus(box_deltas) * self.strides[:, None]
        return torch.cat([self.points - distances[..., :2], self.points + distances[..., 2:]], -1)


class Tower(nn.Module):
    """Convolutions that all levels share, each followed by a batch norm of the level's own and ReLU."""

    def __init__(self, channels: int, num_levels: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(depth))
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(depth)) for _ in range(num_levels)
        )

    def forward(self, x: Tensor, level: int) -> Tensor:
        norms = self.norms[level]
        assert isinstance(norms, nn.ModuleList)
        for conv, norm in zip(self.convs, norms, strict=True):
            x = F.relu(norm(conv(x)), inplace=True)
        return x


class PointHead(nn.Module):
    """Class logits, distances and mask coefficients of every cell.

    Args:
        channels: of each level.
        points: for each (H, W) of the input that occurs, float32 [A, 3]; see `make_points`.
        num_levels: of the pyramid.
        depth: of the two towers, one for the classes, one for boxes and coefficients.
    """

    def __init__(
        self,
        channels: int,
        points: Mapping[tuple[int, int], Tensor],
        num_levels: int,
        depth: int,
        num_classes: int,
        num_prototypes: int,
    ) -> None:
        super().__init__()
        self.class_tower = Tower(channels, num_levels, depth)
        self.box_tower = Tower(channels, num_levels, depth)
        self.class_logits = _output(channels, num_classes, -math.log((1 - PRIOR) / PRIOR))
        self.box_deltas = _output(channels, 4, math.log(math.expm1(FIRST_DISTANCE)))
        self.mask_coefficients = _output(channels, num_prototypes, 0.0)
        for (height, width), own in points.items():
            self.register_buffer(f"points_{height}x{width}", own, persistent=False)

    def coder(self, image_size: tuple[int, int]) -> PointCoder:
        """Return the code of the boxes for inputs of (H, W), one of those that points were given for."""
        return PointCoder(self.get_buffer("points_{}x{}".format(*image_size)), image_size)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Map levels [B, C, H, W] to [B, A, C], [B, A, 4] and [B, A, K], cells in the order of `make_points`."""
        outputs = []
        for number, level in enumerate(levels):
            of_class, of_box = self.class_tower(level, number), self.box_tower(level, number)
            maps = (self.class_logits(of_class), self.box_deltas(of_box), self.mask_coefficients(of_box))
            outputs.append([one.flatten(2).mT for one in maps])
        classes, deltas, coefficients = (torch.cat(parts, 1) for parts in zip(*outputs, strict=True))
        return classes, deltas, coefficients.tanh()


def _output(channels: int, width: int, first: float) -> nn.Conv2d:
    """Return a convolution whose bias the network's initialisation sets to `first`."""
    conv = nn.Conv2d(channels, width, 3, padding=1)
    conv.first_bias = first  # type: ignore[assignment]
    return conv


def make_points(level_sizes: Sequence[tuple[int, int]], strides: Sequence[int], image_size: tuple[int, int]) -> Tensor:
    """Return the centres of all cells, float32 [A, 3]: x, y and stride in pixels of an input of (H, W).

    Their order is level by level, row by row.
    """
    levels = []
    for (rows, columns), stride in zip(level_sizes, strides, strict=True):
        y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
        points = torch.stack([x * image_size[1], y * image_size[0], torch.full_like(x, stride)], -1)
        levels.append(points.reshape(-1, 3))
    return torch.cat(levels)
