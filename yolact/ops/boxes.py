"""Box formats and overlaps. Boxes are float [..., 4], in any unit that both arguments share."""

from collections.abc import Sequence

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert [..., 4] centre and size to corners."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat([centre - size / 2, centre + size / 2], -1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert [..., 4] corners to centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def resize_boxes(boxes: Tensor, size: Sequence[float], new_size: Sequence[float]) -> Tensor:
    """Return xyxy boxes [..., 4] of an image of `size` (H, W) as those of it at `new_size`."""
    y, x = (new / old for new, old in zip(new_size, size, strict=True))
    return torch.stack([boxes[..., 0::2] * x, boxes[..., 1::2] * y], -1).flatten(-2)


def unit_boxes(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Return xyxy boxes [..., 4] in pixels as shares of the width and height of an image of (H, W)."""
    height, width = image_size
    return torch.stack([boxes[..., 0::2] / width, boxes[..., 1::2] / height], -1).flatten(-2)


def box_area(boxes: Tensor) -> Tensor:
    """Return the area [...] of xyxy boxes [..., 4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the pairwise intersection over union [..., N, M] of xyxy boxes [..., N, 4] and [..., M, 4]."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    shared = _shared_area(a, b)
    return shared / (box_area(a) + box_area(b) - shared)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Return the generalised IoU [...] in (-1, 1] of pairs of xyxy boxes [..., 4] (Rezatofighi et al. 2019)."""
    shared = _shared_area(a, b)
    union = box_area(a) + box_area(b) - shared
    hull = box_area(torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])], -1))
    return shared / union - (hull - union) / hull


def _shared_area(a: Tensor, b: Tensor) -> Tensor:
    # Side by side, not in one tensor [..., 2]: an innermost dimension of two is slow, in ONNX Runtime above all.
    width, height = (
        (torch.minimum(a[..., high], b[..., high]) - torch.maximum(a[..., low], b[..., low])).clamp(min=0)
        for low, high in ((0, 2), (1, 3))
    )
    return width * height


def covered_share(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return which share [N, M] of each of `boxes` [N, 4] lies in each of `regions` [M, 4]: COCO's crowd overlap."""
    return _shared_area(boxes[:, None], regions) / box_area(boxes)[:, None]
