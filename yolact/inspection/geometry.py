"""Whether an object's box and mask lie in the picture and belong together."""

import numpy as np
from numpy.typing import NDArray

from yolact.data.annotations import ImageRecord
from yolact.data.masks import Rle, Segmentation, crop_rle, draw_masks
from yolact.inspection.kinds import EDGE_TOLERANCE, LIKE_MASK_IOU, LIKE_MASK_PIXELS

Box = tuple[float, float, float, float]


def object_faults(box: Box, segmentation: Segmentation, picture: ImageRecord) -> list[tuple[str, str]]:
    """Return (kind, note) for whatever is odd about an object that the loader accepts.

    Args:
        box: xyxy in pixels of the picture, with an area and at least partly inside.
        segmentation: its mask.
        picture: the picture.
    """
    width, height = picture.width, picture.height
    faults = []
    overhang = _overhang(box, width, height)
    if overhang > EDGE_TOLERANCE:
        faults.append(("box-over-edge", f"by {overhang:.4g} pixels: {_shown(box)} in {width} x {height}"))
    if box[2] - box[0] < 1 or box[3] - box[1] < 1:
        faults.append(("thin-box", f"width {box[2] - box[0]:.3g}, height {box[3] - box[1]:.3g}"))
    extent = mask_extent(segmentation)
    if extent is None or not has_pixel(segmentation, extent, width, height):
        return [*faults, ("empty-mask", "it covers no pixel of the picture")]
    overhang = _overhang(extent, width, height)
    if overhang > EDGE_TOLERANCE:
        faults.append(("polygon-over-edge", f"by {overhang:.4g} pixels: {_shown(extent)} in {width} x {height}"))
    visible, expected = _clip(box, width, height), _clip(extent, width, height)
    if not _alike(visible, expected):
        faults.append(("box-unlike-mask", _explain(box, expected)))
    return faults


def mask_extent(segmentation: Segmentation) -> Box | None:
    """Return the xyxy box around a mask, in pixels of the picture; None if it is empty."""
    if isinstance(segmentation, Rle):
        crop, left, top = crop_rle(segmentation)
        return (left, top, left + crop.shape[1], top + crop.shape[0]) if crop.size else None
    points = np.concatenate(segmentation)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2


def has_pixel(segmentation: Segmentation, extent: Box, width: int, height: int) -> bool:
    """Tell whether a mask with this extent covers a pixel of its picture."""
    if isinstance(segmentation, Rle):
        return True
    left, top = max(int(np.floor(extent[0])), 0), max(int(np.floor(extent[1])), 0)
    right, bottom = min(int(np.ceil(extent[2])), width), min(int(np.ceil(extent[3])), height)
    if right <= left or bottom <= top:
        return False
    shift: NDArray[np.float64] = np.array([[1.0, 0, -left], [0, 1.0, -top]])
    return bool(draw_masks([segmentation], shift, (bottom - top, right - left)).any())


def box_iou(first: Box, second: Box) -> float:
    """Return the intersection over union of two xyxy boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return shared / (areas - shared) if areas > shared else 0.0


def _alike(box: Box, expected: Box) -> bool:
    if max(abs(a - b) for a, b in zip(box, expected, strict=True)) <= LIKE_MASK_PIXELS:
        return True
    return box_iou(box, expected) >= LIKE_MASK_IOU


def _explain(box: Box, expected: Box) -> str:
    """Say how far off a box is, and recognise the common ways of writing one wrongly."""
    x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
    readings = {
        "two corners, [x1, y1, x2, y2]": (x, y, width, height),
        "rows before columns, [y, x, height, width]": (y, x, y + height, x + width),
        "centre and size": (x - width / 2, y - height / 2, x + width / 2, y + height / 2),
    }
    note = f"IoU {box_iou(box, expected):.2f}: bbox is {_shown(box)}, its mask {_shown(expected)} (x1, y1, x2, y2)"
    for name, reading in readings.items():
        if reading[2] > reading[0] and reading[3] > reading[1] and _alike(reading, expected):
            return f"{note}; bbox looks like {name}"
    return note


def _overhang(box: Box, width: int, height: int) -> float:
    return max(-box[0], -box[1], box[2] - width, box[3] - height)


def _clip(box: Box, width: int, height: int) -> Box:
    x1, y1, x2, y2 = box
    return min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)


def _shown(box: Box) -> str:
    return "[" + ", ".join(f"{edge:.6g}" for edge in box) + "]"
