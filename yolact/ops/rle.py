"""Masks as COCO's run lengths, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from yolact.ops.regions import MaskRegion

RunLengths = dict[str, Any]  # {"size": [H, W], "counts": str or bytes}, COCO's compressed form


def encode_region(region: MaskRegion, image_size: tuple[int, int]) -> RunLengths:
    """Return the compressed RLE of a mask of an image of `image_size` (H, W), as pycocotools encodes the whole mask.

    Only the columns that hold the object are scanned, which makes it many times as fast as `mask.encode`.
    """
    height = image_size[0]
    pixels = np.zeros(region.width * height + 2, bool)  # with one before and one after, so that each run has an end
    pixels[1:-1].reshape(region.width, height)[:, region.window[0]] = region.mask.T
    # Where a run ends: RLE goes column by column and starts with a run of zeros.
    ends = np.flatnonzero(pixels[1:] != pixels[:-1]) + region.left * height
    encoded = encode_ends(ends, image_size)
    return encoded | {"counts": encoded["counts"].decode("ascii")}


def encode_ends(ends: NDArray[np.int64], image_size: tuple[int, int]) -> RunLengths:
    """Return the compressed RLE, as bytes, of runs that end before these pixels, counted column by column.

    The first run is of zeros, and may be empty; a last one to the end of the image follows.
    """
    height, width = image_size
    borders = np.concatenate(([0], ends, [height * width]))
    counts = (borders[1:] - borders[:-1]).tolist()  # np.diff takes twice as long for so few
    if len(ends) and counts[-1] == 0:  # the object reaches the last pixel
        counts.pop()
    encoded: RunLengths = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return encoded


def decode_mask(rle: RunLengths) -> np.ndarray:
    """Return the bool [H, W] mask of a compressed RLE."""
    mask: np.ndarray = coco_mask.decode(rle).astype(bool)
    return mask
