"""The prediction head, its anchors, and the code of its boxes (YOLACT sections 3.2 and 4, figure 4)."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolact.ops.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh

CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2  # SSD's scaling of regression targets, which the published weights assume


class AnchorCoder:
    """SSD's box code against anchors, and softmax with background (SSD section 2.2).

    Attributes:
        anchors: float32 [A, 4] xyxy in pixels of the network input.
        image_size: (H, W) of that.
        unit_anchors: the anchors as shares of its sides, as `make_anchors` returns them; a training needs them.
    """

    def __init__(self, anchors: Tensor, image_size: tuple[int, int], unit_anchors: Tensor | None = None) -> None:
        self.anchors, self.image_size, self.unit_anchors = anchors, image_size, unit_anchors

    @property
    def constants(self) -> dict[str, Tensor]:
        """What a program needs beside the outputs to decode them."""
        return {"anchors": self.anchors}

    def scores(self, class_logits: Tensor) -> Tensor:
        """Return class probabilities [..., C] of logits [..., 1+C] whose first column is background."""
        return class_logits.softmax(-1)[..., 1:]

    def encode(self, boxes: Tensor) -> Tensor:
        """Encode xyxy `boxes` [..., A, 4] against the anchors as regression targets."""
        box, anchor = xyxy_to_cxcywh(boxes), xyxy_to_cxcywh(self.anchors)
        centre = (box[..., :2] - anchor[..., :2]) / (CENTRE_VARIANCE * anchor[..., 2:])
        size = torch.log(box[..., 2:] / anchor[..., 2:]) / SIZE_VARIANCE
        return torch.cat([centre, size], -1)

    def decode(self, box_deltas: Tensor) -> Tensor:
        """Invert `encode`: regression outputs [..., A, 4] to xyxy boxes, not clipped."""
        anchor = xyxy_to_cxcywh(self.anchors)
        centre = anchor[..., :2] + box_deltas[..., :2] * CENTRE_VARIANCE * anchor[..., 2:]
        size = anchor[..., 2:] * torch.exp(box_deltas[..., 2:] * SIZE_VARIANCE)
        return cxcywh_to_xyxy(torch.cat([centre, size], -1))


class AnchorHead(nn.Module):
    """Class logits, box deltas and mask coefficients of every anchor; one head for all pyramid levels.

    Args:
        channels: of each level.
        unit_anchors: for each (H, W) of the input that occurs, float32 [A, 4] xyxy as shares of its sides.
        anchors_per_cell: how many of them belong to each cell of a level.
    """

    def __init__(
        self,
        channels: int,
        unit_anchors: Mapping[tuple[int, int], Tensor],
        anchors_per_cell: int,
        num_classes: int,
        num_prototypes: int,
    ) -> None:
        super().__init__()
        self.widths = (1 + num_classes, 4, num_prototypes)
        self.shared = nn.Conv2d(channels, channels, 3, padding=1)
        self.class_logits = nn.Conv2d(channels, anchors_per_cell * (1 + num_classes), 3, padding=1)
        self.box_deltas = nn.Conv2d(channels, anchors_per_cell * 4, 3, padding=1)
        self.mask_coefficients = nn.Conv2d(channels, anchors_per_cell * num_prototypes, 3, padding=1)
        for (height, width), anchors in unit_anchors.items():
            self.register_buffer(f"unit_anchors_{height}x{width}", anchors, persistent=False)
            in_pixels = anchors * anchors.new_tensor([width, height, width, height])
            self.register_buffer(f"anchors_{height}x{width}", in_pixels, persistent=False)

    def coder(self, image_size: tuple[int, int]) -> AnchorCoder:
        """Return the code of the boxes for inputs of (H, W), one of those that anchors were given for."""
        key = "anchors_{}x{}".format(*image_size)
        return AnchorCoder(self.get_buffer(key), image_size, self.get_buffer(f"unit_{key}"))

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Map levels [B, C, H, W] to [B, A, 1+C], [B, A, 4] and [B, A, K], anchors in the order of `make_anchors`."""
        outputs = []
        for level in levels:
            x = F.relu(self.shared(level), inplace=True)
            convs = (self.class_logits, self.box_deltas, self.mask_coefficients)
            outputs.append([_per_anchor(conv(x), width) for conv, width in zip(convs, self.widths, strict=True)])
        classes, deltas, coefficients = (torch.cat(parts, 1) for parts in zip(*outputs, strict=True))
        return classes, deltas, coefficients.tanh()


def _per_anchor(x: Tensor, width: int) -> Tensor:
    """Rearrange [B, anchors * width, H, W] to [B, H * W * anchors, width]."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)  # len(x) would fix the batch size in an export


def make_anchors(
    image_size: tuple[int, int],
    level_sizes: Sequence[tuple[int, int]],
    scales: Sequence[Sequence[float]],
    aspect_ratios: Sequence[float],
    square: bool,
) -> Tensor:
    """Return anchors float32 [A, 4] xyxy as shares of the input's width and height.

    Their order is level by level, row by row, then by scale, then by aspect ratio. The arithmetic is the authors',
    rounding included, because rounding decides between anchors that overlap an object equally.

    Args:
        image_size: (H, W) of the network input in pixels.
        level_sizes: (H, W) of each pyramid level, from the finest.
        scales: side lengths in pixels, one list for each level; all lists of one length.
        aspect_ratios: width / height.
        square: give every anchor the height of its width, as the published YOLACT weights were trained.
    """
    levels = []
    for (rows, columns), level_scales in zip(level_sizes, scales, strict=True):
        centre_y = ((torch.arange(rows, dtype=torch.float64) + 0.5) / rows).float()
        centre_x = ((torch.arange(columns, dtype=torch.float64) + 0.5) / columns).float()
        y, x = torch.meshgrid(centre_y, centre_x, indexing="ij")
        height, width = image_size
        kinds = [(scale, math.sqrt(ratio)) for scale in level_scales for ratio in aspect_ratios]
        shape = torch.tensor(
            [
                [scale / width * root, scale / height * root if square else scale / height / root]
                for scale, root in kinds
            ]
        )
        shape = shape.expand(rows * columns, -1, 2)
        centre = torch.stack([x, y], -1).reshape(-1, 1, 2).expand_as(shape)
        levels.append(cxcywh_to_xyxy(torch.cat([centre, shape], -1)).reshape(-1, 4))
    return torch.cat(levels)
