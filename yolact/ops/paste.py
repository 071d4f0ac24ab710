"""Masks from prototype resolution to the image's.

A CPU resizes each mask only in the rectangle that its cropped window reaches: it widens the window by a product with a
matrix, then adds up two of its rows for each row of the rectangle. CUDA takes whole maps, many at once, and hands over
their bits: that is less work for a GPU than starting as many kernels.
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from yolact.ops import masks as mask_ops
from yolact.ops.regions import MaskRegion

MOST_PIXELS = 2**26  # of whole maps at once: 256 MB of floats

Window = tuple[int, int, int, int]  # top, bottom, left, right: whole pixels, the second and fourth excluded


def paste_masks(
    mask_logits: Tensor, image_size: tuple[int, int], boxes: Tensor | None, after_resize: bool = False
) -> list[MaskRegion]:
    """Turn mask logits into masks of the image: crop, resize bilinearly, and take what exceeds one half.

    Cropped before, it is the probabilities that are resized, as the published weights expect; else the logits, whose
    smooth slope across an edge keeps it where it is.

    Args:
        mask_logits: float32 [N, Hp, Wp].
        image_size: (H, W) of the image.
        boxes: [N, 4] xyxy to crop by, on the same device, in pixels of the logits, or of the image with
            `after_resize`; None crops nothing.
        after_resize: crop the resized mask to its box, by the pixels' centres, instead of the small one to its box and
            a pixel around it.
    """
    if mask_logits.is_cuda:
        return paste_whole_maps(mask_logits, image_size, boxes, after_resize)
    mask_logits, boxes = mask_logits.cpu(), None if boxes is None else boxes.cpu()
    small = (mask_logits.shape[1], mask_logits.shape[2])
    columns, (places, shares) = interpolation(image_size[1], small[1]), neighbours(image_size[0], small[0])
    column_places, _ = neighbours(image_size[1], small[1])
    first_of_pair = torch.arange(0, 2 * image_size[0], 2)
    before = boxes is not None and not after_resize
    sources: list[Window | None] = [None] * len(mask_logits)  # the pixels that resizing looks at
    targets = [(0, image_size[0], 0, image_size[1])] * len(mask_logits)
    if boxes is not None and after_resize:
        targets = pixel_windows(boxes - 0.5, image_size, padding=0)
    elif boxes is not None:
        windows = pixel_windows(boxes, small, padding=1)
        sources, targets = [*windows], [_reached_window(window, small, image_size) for window in windows]
    regions = []
    for logits, source, (top, bottom, left, right) in zip(mask_logits, sources, targets, strict=True):
        if top == bottom or left == right:
            regions.append(MaskRegion(top, left, 0, 0, b""))
            continue
        source = source or (*_span(places[top:bottom]), *_span(column_places[left:right]))
        values = logits[source[0] : source[1], source[2] : source[3]]
        # A row of zeros above and one below stand for all that is cropped away.
        values = F.pad(values.sigmoid() if before else values, (0, 0, 1, 1))
        wide = values @ columns[left:right, source[2] : source[3]].T
        pairs = (places[top:bottom].flatten() - (source[0] - 1)).clamp_(0, len(wide) - 1)
        weights = shares[top:bottom].flatten()
        resized, *_ = torch.embedding_bag(wide, pairs, first_of_pair[: bottom - top], per_sample_weights=weights)
        regions.append(MaskRegion.of((resized > (0.5 if before else 0.0)).numpy(), top, left))
    return regions


def paste_whole_maps(
    mask_logits: Tensor, image_size: tuple[int, int], boxes: Tensor | None, after_resize: bool
) -> list[MaskRegion]:
    """Do what `paste_masks` does, by maps of the whole image."""
    regions, length = [], max(1, MOST_PIXELS // (image_size[0] * image_size[1]))
    for start in range(0, len(mask_logits), length):
        maps, own = mask_logits[start : start + length], None if boxes is None else boxes[start : start + length]
        if own is not None and not after_resize:
            masks = mask_ops.resize(mask_ops.crop(maps.sigmoid(), own), image_size) > 0.5
        else:
            masks = mask_ops.resize(maps, image_size) > 0
        if own is not None and after_resize:
            masks &= mask_ops.box_window(own - 0.5, *image_size, padding=0)
        edges = torch.stack([edge for dim in (2, 1) for edge in _extent(masks.any(dim))], 1).tolist()
        for packed, (top, bottom, left, right) in zip(_pack_rows(masks), edges, strict=True):
            bits = np.unpackbits(packed[top:bottom, left // 8 : -(-right // 8)], axis=1)[:, left % 8 :]
            bits = np.packbits(bits[:, : right - left])
            regions.append(MaskRegion(top, left, bottom - top, right - left, bits.tobytes()))
    return regions


def _extent(hits: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the first True of bool [N, L] is, and the place after the last; 0 and 0 where there is none."""
    return hits.int().argmax(1), (torch.arange(1, hits.shape[1] + 1, device=hits.device) * hits).amax(1)


def _pack_rows(masks: Tensor) -> np.ndarray:
    """Return bool [N, H, W] with eight pixels of a row in a byte, as np.packbits does: uint8 [N, H, W / 8]."""
    shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=masks.device)
    eights = F.pad(masks.byte(), (0, -masks.shape[2] % 8)).unflatten(2, (-1, 8))
    return np.asarray((eights << shifts).sum(-1, dtype=torch.uint8).cpu())


@lru_cache(maxsize=16)
def interpolation(length: int, small: int) -> Tensor:
    """Return the matrix [length, small] that resizes bilinearly, as `F.interpolate` with align_corners=False does."""
    places, shares = neighbours(length, small)
    return torch.zeros(length, small).scatter_add_(1, places, shares)


@lru_cache(maxsize=16)
def neighbours(length: int, small: int) -> tuple[Tensor, Tensor]:
    """Return [length, 2] twice: the two of `small` pixels that each of `length` lies between, and what each counts."""
    place = ((torch.arange(length) + 0.5) * (small / length) - 0.5).clamp(min=0)
    low = place.long().clamp(max=small - 1)
    share = place - low
    return torch.stack([low, (low + 1).clamp(max=small - 1)], 1), torch.stack([1 - share, share], 1)


def pixel_windows(boxes: Tensor, size: tuple[int, int], padding: float) -> list[Window]:
    """Return for each xyxy box the pixels of a map of `size` (H, W) with low - padding <= index < high + padding."""
    limits = boxes.new_tensor([size[1], size[0]])
    first = (boxes[:, :2] - padding).ceil().nan_to_num(0).clamp(min=0).minimum(limits)
    stop = (boxes[:, 2:] + padding).ceil().nan_to_num(0).minimum(limits).maximum(first)
    edges = torch.stack([first[:, 1], stop[:, 1], first[:, 0], stop[:, 0]], 1).long().tolist()
    return [(top, bottom, left, right) for top, bottom, left, right in edges]


def _span(places: Tensor) -> tuple[int, int]:
    """Return the first of neighbours [n, 2], and one after the last."""
    return int(places[0, 0]), int(places[-1, 1]) + 1


def _reached_window(source: Window, small: tuple[int, int], size: tuple[int, int]) -> Window:
    """Return the pixels of the large map that a window of the small one can change by bilinear resizing, or more."""
    top, bottom, left, right = source
    return (*_reached(top, bottom, small[0], size[0]), *_reached(left, right, small[1], size[1]))


def _reached(first: int, stop: int, small: int, size: int) -> tuple[int, int]:
    if first == stop:
        return 0, 0
    scale = size / small
    return max(math.floor((first - 0.5) * scale - 0.5), 0), min(math.ceil((stop + 0.5) * scale - 0.5) + 1, size)
