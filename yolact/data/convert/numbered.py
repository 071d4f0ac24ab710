"""Mask pictures: each pixel holds the number of its object, 0 for the background."""

import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from yolact.data.headers import PNG_START, header_size
from yolact.data.images import MAX_PIXELS
from yolact.errors import DatasetError

PALETTE, GRAY = 3, 0  # colour types of PNG


def read_numbers(path: Path) -> NDArray[Any]:
    """Return the numbers of a mask picture, integers [H, W]: gray values or palette indices of 8 or 16 bits.

    Raises:
        DatasetError: the file is absent, broken, too large, in colours, or holds fractions or numbers below 0.
    """
    numbers = read_values(path)
    if numbers.ndim == 3:
        if (numbers != numbers[..., :1]).any():
            raise DatasetError(
                f"The mask picture {path} has colours, expected gray values or a palette that number the objects, 0 "
                "for the background; save it so."
            )
        numbers = numbers[..., 0]
    if numbers.dtype.kind not in "ui" or numbers.min() < 0:
        raise DatasetError(
            f"The mask picture {path} holds {numbers.dtype} values from {numbers.min():g} on, expected whole numbers "
            "and 0 for the background; save it so."
        )
    return numbers


def read_values(path: Path) -> NDArray[Any]:
    """Return a mask picture's values, [H, W], or [H, W, 3] where it has colours; the indices of one with a palette.

    Raises:
        DatasetError: the file is absent, broken or too large.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"Cannot read the mask picture {path}: {error.strerror}; restore it.") from None
    return decode_values(data, f"the mask picture {path}")


def decode_values(data: bytes, where: str, *, with_palette: bool = False) -> NDArray[Any]:
    """Decode the bytes of a mask picture as `read_values` does, or in its palette's colours.

    Raises:
        DatasetError: it is broken or too large; `where` names it.
    """
    size = header_size(data)
    height, width = size or (0, 0)
    if height * width > MAX_PIXELS:
        raise DatasetError(
            f"Cannot decode {where}: it has more than the limit of {MAX_PIXELS:,} pixels; scale it down."
        )
    stored = data if with_palette else _without_palette(data)
    try:
        # OpenCV takes as much memory as a chunk of a PNG says it is long.
        lies = size is None and data[:8] == PNG_START
        values = None if lies else cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:  # an empty file, or one that pretends to be larger than OpenCV allows
        values = None
    if values is None:
        raise DatasetError(f"Cannot decode {where} ({len(data):,} bytes): it is damaged or no picture; replace it.")
    return values[..., :3] if values.ndim == 3 else values  # without transparency


def foreground(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where values of `read_values` are not 0 (black), bool [H, W]."""
    mask: NDArray[np.bool_] = values != 0
    return mask.any(axis=-1) if mask.ndim == 3 else mask  # type: ignore[return-value]


def _without_palette(data: bytes) -> bytes:
    """Return a PNG with a palette as a gray one with the same bits: OpenCV gives colours, but the indices count."""
    if data[:8] != PNG_START or data[12:16] != b"IHDR" or data[25:26] != bytes([PALETTE]):
        return data
    parts, at = [PNG_START], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind == b"IHDR":
            header = kind + data[at + 8 : at + 17] + bytes([GRAY]) + data[at + 18 : at + 21]
            parts += [data[at : at + 4], header, zlib.crc32(header).to_bytes(4, "big")]
        elif kind in (b"IDAT", b"IEND"):
            parts.append(data[at:end])
        at = end
    return b"".join(parts)
