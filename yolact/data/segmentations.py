"""From COCO segmentations, polygons or run lengths, to binary masks under an affine map.

Coordinates are continuous, as in COCO: pixel (row i, column j) covers [j, j+1) x [i, i+1) and its centre lies at
(j + 0.5, i + 0.5). Each object is drawn within the rectangle that it occupies, so that the work follows the size of
the objects and not that of the image: microscopy has hundreds of small ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from yolact.ops.rle import RunLengths

IDENTITY: NDArray[np.float64] = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class Rle(NamedTuple):
    """Run lengths over an image of `height` x `width`, column by column, beginning with a run of zeros."""

    height: int
    width: int
    runs: NDArray[np.uint32]  # they add up to height * width


Segmentation = list[NDArray[np.float32]] | Rle  # polygons [M, 2] (x, y) in pixels of the image, or run lengths


def decode_counts(counts: str | Sequence[int]) -> NDArray[np.int64]:
    """Return the run lengths of COCO's `counts`, compressed (text) or not (a list of numbers).

    ValueError if the text is not COCO's, or the list holds something other than whole numbers.
    """
    if not isinstance(counts, str):
        runs = np.asarray(counts)
        if runs.ndim != 1 or (runs.size and runs.dtype.kind != "i"):
            raise ValueError("counts must be a flat list of whole numbers")
        return runs.astype(np.int64)
    # Each character carries 5 bits, least significant group first, offset by 48; bit 6 says that more follow.
    codes = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return codes
    last = (codes & 32) == 0
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    lengths = np.diff(np.append(starts, codes.size))
    if codes.min() < 0 or codes.max() > 63 or not last[-1] or lengths.max() > 10:
        raise ValueError("counts is not COCO's compressed text, or holds a number of more than 50 bits")
    shifts = 5 * (np.arange(codes.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((codes & 31) << shifts, starts)
    # Bit 5 of a number's last group is its sign.
    runs -= np.where(codes[last] & 16, np.int64(1) << (5 * lengths), 0)
    # From the fourth on, a number is the difference to the one before the last.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def crop_rle(rle: Rle) -> tuple[NDArray[np.uint8], int, int]:
    """Decode only the rectangle that the object occupies.

    Returns:
        The crop, uint8 [h, w] of 0 and 255, and the column and row of its first pixel; [0, 0] for an empty mask.
    """
    ends = np.cumsum(rle.runs, dtype=np.int64)
    firsts, stops = ends[:-1:2], ends[1::2]
    occupied = stops > firsts
    if not occupied.any():
        return np.zeros((0, 0), np.uint8), 0, 0
    firsts, stops = firsts[occupied], stops[occupied]
    left, right = int(firsts[0] // rle.height), int((stops[-1] - 1) // rle.height) + 1
    offset = left * rle.height
    edges = np.clip(ends - offset, 0, (right - left) * rle.height)
    values = np.zeros(len(edges), np.uint8)
    values[1::2] = 255
    columns = np.repeat(values, np.diff(edges, prepend=0)).reshape(right - left, rle.height)
    rows = np.flatnonzero(columns.any(axis=0))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return np.ascontiguousarray(columns[:, top:bottom].T), left, top


def encode(segmentation: Segmentation, size: tuple[int, int]) -> RunLengths:
    """Return the run lengths of a mask of an image of `size` (H, W), as pycocotools has them."""
    if isinstance(segmentation, Rle):
        return dict(coco_mask.frPyObjects({"size": list(size), "counts": segmentation.runs.tolist()}, *size))
    return dict(coco_mask.merge(coco_mask.frPyObjects([one.ravel().tolist() for one in segmentation], *size)))


def extent(segmentation: Segmentation, runs: RunLengths) -> NDArray[np.float64] | None:
    """Return the box [4] xyxy around a mask whose run lengths are `runs`; None if it has no pixel inside the image.

    That of polygons is around their points, also outside the image.
    """
    if coco_mask.area(runs) == 0:
        return None
    if isinstance(segmentation, Rle):
        left, top, width, height = coco_mask.toBbox(runs)
        return np.array((left, top, left + width, top + height))
    points = np.concatenate(segmentation).astype(float)
    return np.concatenate((points.min(axis=0), points.max(axis=0)))


def pixel_index_map(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn a map of continuous coordinates into one of pixel indices, whose centres lie half a pixel lower."""
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2].sum(axis=1) * 0.5 - 0.5
    return shifted


def draw_masks(
    segmentations: Sequence[Segmentation], matrix: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Draw N objects under an affine map; what falls outside is cut off.

    Args:
        segmentations: in pixels of the image.
        matrix: float64 [2, 3], from the image's continuous coordinates to those of the result.
        size: (H, W) of the result.

    Returns:
        uint8 [N, H, W] of 0 and 1.
    """
    masks = np.zeros((len(segmentations), *size), np.uint8)
    for mask, segmentation in zip(masks, segmentations, strict=True):
        if isinstance(segmentation, Rle):
            _warp_rle(segmentation, matrix, mask)
        else:
            _draw_polygons(segmentation, matrix, mask)
    return masks


def _draw_polygons(polygons: list[NDArray[np.float32]], matrix: NDArray[np.float64], mask: NDArray[np.uint8]) -> None:
    mapped = [polygon @ matrix[:, :2].T + matrix[:, 2] for polygon in polygons]
    region = _region(np.concatenate(mapped), mask)
    if region is None:
        return
    x0, y0, x1, y1 = region
    # Rounded so that an unmoved polygon meets pycocotools' own rounding with the decimal numbers of its file.
    flat = [np.round(polygon - (x0, y0), 3).ravel() for polygon in mapped]
    runs = coco_mask.merge(coco_mask.frPyObjects(flat, y1 - y0, x1 - x0))
    mask[y0:y1, x0:x1] = coco_mask.decode(runs)


def _warp_rle(rle: Rle, matrix: NDArray[np.float64], mask: NDArray[np.uint8]) -> None:
    crop, left, top = crop_rle(rle)
    height, width = crop.shape
    linear = matrix[:, :2]
    origin = linear @ (left, top) + matrix[:, 2]
    corners = [origin + linear @ corner for corner in ((0, 0), (width, 0), (width, height), (0, height))]
    region = _region(np.stack(corners), mask) if crop.size else None
    if region is None:
        return
    x0, y0, x1, y1 = region
    local = pixel_index_map(np.column_stack((linear, origin - (x0, y0))))
    warped = cv2.warpAffine(crop, local, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    np.greater_equal(warped, 128, out=mask[y0:y1, x0:x1].view(bool))


def _region(points: NDArray[np.float64], mask: NDArray[np.uint8]) -> tuple[int, int, int, int] | None:
    """Return the pixels x0, y0, x1, y1 of `mask` that the rectangle around points [M, 2] touches, if any."""
    height, width = mask.shape
    low, high = points.min(axis=0), points.max(axis=0)
    x0, y0 = max(int(np.floor(low[0])), 0), max(int(np.floor(low[1])), 0)
    x1, y1 = min(int(np.ceil(high[0])), width), min(int(np.ceil(high[1])), height)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None
