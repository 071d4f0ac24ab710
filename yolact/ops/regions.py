"""Masks of one image, kept as the rectangles that hold them, one bit a pixel.

Full-size masks of a hundred objects take hundreds of megabytes; their rectangles take a few, and encoding, outlining
and drawing need no more. Where a hundred objects all fill an image of 24 megapixels, they take 300 MB.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class MaskRegion(NamedTuple):
    """A mask of a whole image: the smallest rectangle that holds it, and False elsewhere; `of` makes one."""

    top: int
    left: int
    height: int  # of the rectangle, 0 for an empty mask
    width: int
    bits: bytes  # the rectangle row by row, the first pixel in the highest bit

    @classmethod
    def of(cls, mask: np.ndarray, top: int = 0, left: int = 0) -> "MaskRegion":
        """Return the region of a bool [h, w] mask whose first pixel lies at row `top` and column `left`."""
        columns = np.flatnonzero(mask.any(axis=0))
        if len(columns) == 0:
            return cls(top, left, 0, 0, b"")
        first, stop = int(columns[0]), int(columns[-1]) + 1
        rows = np.flatnonzero(mask[:, first:stop].any(axis=1))
        part = mask[int(rows[0]) : int(rows[-1]) + 1, first:stop]
        height, width = part.shape
        return cls(top + int(rows[0]), left + first, height, width, np.packbits(part).tobytes())

    @property
    def mask(self) -> np.ndarray:
        """The rectangle as a new bool [height, width] array; each use unpacks it."""
        pixels = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=self.height * self.width)
        return pixels.view(bool).reshape(self.height, self.width)

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the image that the rectangle covers."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def area(self) -> int:
        """The number of pixels of the object."""
        return int(np.count_nonzero(self.mask))

    def full(self, image_size: tuple[int, int]) -> np.ndarray:
        """Return the mask of the whole image, bool [H, W]."""
        return self.crop(0, 0, *image_size)

    def crop(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """Return the mask of the image's rows `top` to `bottom` - 1 and columns `left` to `right` - 1, bool."""
        window = np.zeros((bottom - top, right - left), bool)
        first, last = max(top, self.top), min(bottom, self.top + self.height)
        start, stop = max(left, self.left), min(right, self.left + self.width)
        if first < last and start < stop:
            part = self.mask[first - self.top : last - self.top, start - self.left : stop - self.left]
            window[first - top : last - top, start - left : stop - left] = part
        return window


def regions_of(masks: Tensor | np.ndarray) -> list[MaskRegion]:
    """Return bool [N, H, W] masks as regions."""
    return [MaskRegion.of(mask) for mask in np.asarray(masks, bool)]


def full_masks(regions: Sequence[MaskRegion], image_size: tuple[int, int]) -> Tensor:
    """Return regions as bool [N, H, W]."""
    masks = torch.zeros(len(regions), *image_size, dtype=torch.bool)
    for mask, region in zip(masks.numpy(), regions, strict=True):
        mask[region.window] = region.mask
    return masks
