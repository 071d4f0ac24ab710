"""Anchors: the reference boxes that the prediction head classifies and regresses (YOLACT section 4)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from yolact.ops.boxes import cxcywh_to_xyxy


def level_sizes(image_size: int, num_levels: int = 5) -> list[int]:
    """Return the side of each square feature level, from P3 at stride 8; every stride-2 step rounds up."""
    side = math.ceil(math.ceil(image_size / 2) / 2)
    sizes = []
    for _ in range(num_levels):
        side = math.ceil(side / 2)
        sizes.append(side)
    return sizes


def make_anchors(
    image_size: int, scales: Sequence[Sequence[float]], aspect_ratios: Sequence[float], square: bool
) -> Tensor:
    """Return anchors float32 [A, 4] xyxy as shares of the picture's side: multiply by `image_size` for pixels.

    Their order is level by level, row by row, then by scale, then by aspect ratio. The arithmetic is the authors',
    rounding included, because rounding decides between anchors that overlap an object equally (losses/matching.py).

    Args:
        image_size: side of the network input in pixels.
        scales: side lengths in pixels, one list for each level; all lists of one length.
        aspect_ratios: width / height.
        square: give every anchor the height of its width, as the published YOLACT weights were trained.
    """
    if len({len(level) for level in scales}) != 1:
        raise ValueError(f"Every level needs the same number of anchor scales, got {[len(s) for s in scales]}.")
    levels = []
    for side, level_scales in zip(level_sizes(image_size, len(scales)), scales, strict=True):
        centres = ((torch.arange(side, dtype=torch.float64) + 0.5) / side).float()
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        shapes = [_shape(scale / image_size, ratio, square) for scale in level_scales for ratio in aspect_ratios]
        shape = torch.tensor(shapes).expand(side * side, -1, 2)
        centre = torch.stack([x, y], -1).reshape(-1, 1, 2).expand_as(shape)
        levels.append(cxcywh_to_xyxy(torch.cat([centre, shape], -1)).reshape(-1, 4))
    return torch.cat(levels)


def _shape(scale: float, aspect_ratio: float, square: bool) -> list[float]:
    root = math.sqrt(aspect_ratio)
    return [scale * root, scale * root if square else scale / root]
