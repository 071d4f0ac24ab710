"""Masks from prototype resolution to the picture's, each in its own rectangle only.

Bilinear resizing is a product with one sparse matrix for the rows and one for the columns. What a crop leaves of a mask
is a small window, so two small products make its rectangle of the picture; the rest of the picture is not touched.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from yolact.regions import MaskRegion

Window = tuple[int, int, int, int]  # top, bottom, left, right: whole pixels, the second and fourth excluded


def paste_masks(
    mask_logits: Tensor, image_size: tuple[int, int], boxes: Tensor | None, after_resize: bool = False
) -> list[MaskRegion]:
    """Turn mask logits into masks of the picture: sigmoid, crop, resize bilinearly, and take what exceeds one half.

    Args:
        mask_logits: float32 [N, Hp, Wp] on the CPU.
        image_size: (H, W) of the picture.
        boxes: [N, 4] xyxy on the CPU to crop by, in pixels of the logits, or of the picture with `after_resize`; None
            crops nothing.
        after_resize: crop the resized mask to its box, by the pixels' centres, instead of the small one to its box and
            a pixel around it.
    """
    small = (mask_logits.shape[1], mask_logits.shape[2])
    rows, columns = interpolation(image_size[0], small[0]), interpolation(image_size[1], small[1])
    sources, targets = [(0, small[0], 0, small[1])] * len(mask_logits), [(0, image_size[0], 0, image_size[1])]
    targets *= len(mask_logits)
    if boxes is not None and after_resize:
        targets = pixel_windows(boxes - 0.5, image_size, padding=0)
    elif boxes is not None:
        sources = pixel_windows(boxes, small, padding=1)
        targets = [reached_window(source, small, image_size) for source in sources]
    # One piece of memory for all: fresh memory costs more than what is computed in it.
    largest = max(((bottom - top) * (right - left) for top, bottom, left, right in targets), default=0)
    floats, bools = torch.empty(largest), torch.empty(largest, dtype=torch.bool)
    regions = []
    for logits, source, (top, bottom, left, right) in zip(mask_logits, sources, targets, strict=True):
        shape, area = (bottom - top, right - left), (bottom - top) * (right - left)
        probabilities = logits[source[0] : source[1], source[2] : source[3]].sigmoid()
        by_rows = rows[top:bottom, source[0] : source[1]] @ probabilities
        resized = torch.mm(by_rows, columns[left:right, source[2] : source[3]].T, out=floats[:area].view(shape))
        mask = torch.gt(resized, 0.5, out=bools[:area].view(shape))
        regions.append(MaskRegion.of(mask.numpy(), top, left))
    return regions


@lru_cache(maxsize=16)
def interpolation(length: int, small: int) -> Tensor:
    """Return the matrix [length, small] that resizes bilinearly, as `F.interpolate` with align_corners=False does."""
    place = ((torch.arange(length) + 0.5) * (small / length) - 0.5).clamp(min=0)
    low = place.long().clamp(max=small - 1)
    high = (low + 1).clamp(max=small - 1)
    share = place - low
    matrix = torch.zeros(length, small)
    matrix.scatter_add_(1, low[:, None], (1 - share)[:, None])
    return matrix.scatter_add_(1, high[:, None], share[:, None])


def pixel_windows(boxes: Tensor, size: tuple[int, int], padding: float) -> list[Window]:
    """Return for each xyxy box the pixels of a map of `size` (H, W) with low - padding <= index < high + padding."""
    limits = boxes.new_tensor([size[1], size[0]])
    first = (boxes[:, :2] - padding).ceil().nan_to_num(0).clamp(min=0).minimum(limits)
    stop = (boxes[:, 2:] + padding).ceil().nan_to_num(0).minimum(limits).maximum(first)
    edges = torch.stack([first[:, 1], stop[:, 1], first[:, 0], stop[:, 0]], 1).long().tolist()
    return [(top, bottom, left, right) for top, bottom, left, right in edges]


def reached_window(source: Window, small: tuple[int, int], size: tuple[int, int]) -> Window:
    """Return the pixels of the large map that a window of the small one can change by bilinear resizing, or more."""
    top, bottom, left, right = source
    return (*_reached(top, bottom, small[0], size[0]), *_reached(left, right, small[1], size[1]))


def _reached(first: int, stop: int, small: int, size: int) -> tuple[int, int]:
    if first == stop:
        return 0, 0
    scale = size / small
    return max(math.floor((first - 0.5) * scale - 0.5), 0), min(math.ceil((stop + 0.5) * scale - 0.5) + 1, size)
