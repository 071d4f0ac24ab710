"""Whether an object's box and mask lie in the image and belong together."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from yolact.data.annotations import ImageRecord
from yolact.data.masks import Rle, Segmentation, crop_rle, draw_masks
from yolact.ops.boxes import paired_iou
from yolact.tools.inspect.findings import EDGE_TOLERANCE

LIKE_MASK_IOU = 0.7  # of an annotation's box and its mask's own one; below it the box belongs to something else ...
LIKE_MASK_PIXELS = 2.0  # ... unless no edge is further away than this, as with objects of a few pixels

Box = NDArray[np.float64]  # [4] xyxy, pixels of the image


def object_faults(box: ArrayLike, mask: Segmentation, image: ImageRecord) -> Iterator[tuple[str, str]]:
    """Yield (kind, note) for whatever is odd about an object that the loader accepts: its box is partly inside."""
    own, edges = np.asarray(box, float), np.array((image.width, image.height) * 2, float)
    low, size = own[:2], own[2:] - own[:2]
    if size.min() < 1:
        yield "thin-box", f"width {size[0]:.3g}, height {size[1]:.3g}"
    extent = mask_extent(mask, edges)
    for kind, one in (("box-over-edge", own), ("polygon-over-edge", extent)):
        if one is not None and (overhang := max((-one).max(), (one - edges).max())) > EDGE_TOLERANCE:
            yield kind, f"by {overhang:.4g} pixels: {_shown(one)} in {image.width} x {image.height}"
    if extent is None:
        yield "empty-mask", "it covers no pixel of the image"
    elif not _alike(own.clip(0, edges), expected := extent.clip(0, edges)):
        readings = {  # the common ways of writing a box wrongly
            "two corners, [x1, y1, x2, y2]": np.concatenate((low, size)),
            "rows before columns, [y, x, height, width]": np.concatenate((low[::-1], (low + size)[::-1])),
            "centre and size": np.concatenate((low - size / 2, low + size / 2)),
        }
        looks = [f"; bbox looks like {name}" for name, reading in readings.items() if _alike(reading, expected)]
        note = f"bbox is {_shown(own)}, its mask {_shown(expected)} (x1, y1, x2, y2)"
        yield "box-unlike-mask", note + "".join(looks[:1])


def mask_extent(mask: Segmentation, edges: Box) -> Box | None:
    """Return the box around a mask; None if it has no pixel in the image, whose `edges` are W, H, W, H."""
    if isinstance(mask, Rle):
        crop, left, top = crop_rle(mask)
        return np.array((left, top, left + crop.shape[1], top + crop.shape[0]), float) if crop.size else None
    points = np.concatenate(mask).astype(float)
    extent = np.concatenate((points.min(axis=0), points.max(axis=0)))
    low, high = np.floor(extent[:2]).clip(0, edges[:2]), np.ceil(extent[2:]).clip(0, edges[2:])
    width, height = (high - low).astype(int)
    return extent if draw_masks([mask], np.column_stack((np.eye(2), -low)), (height, width)).any() else None


def _alike(box: Box, expected: Box) -> bool:
    if (box[2:] <= box[:2]).any() or np.abs(box - expected).max() <= LIKE_MASK_PIXELS:
        return bool((box[2:] > box[:2]).all())
    return float(paired_iou(torch.from_numpy(box), torch.from_numpy(expected))) >= LIKE_MASK_IOU


def _shown(box: Box) -> str:
    return "[" + ", ".join(f"{edge:.6g}" for edge in box) + "]"
