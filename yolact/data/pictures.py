"""Reading a picture file safely: the right channels, the orientation that the annotations mean, and a size limit."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolact.errors import DatasetError

MAX_PIXELS = 100_000_000  # a PNG of 100 KB can unpack to gigabytes; no camera makes more than this


def read_picture(path: Path, image_size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode a picture of any common kind: grayscale, palette, CMYK, transparent (alpha is ignored) or 16 bits deep.

    Args:
        path: the file.
        image_size: (H, W) that the annotations give. A picture whose EXIF orientation turns it into W x H is read as
            stored instead, because the annotations then describe the stored picture.

    Returns:
        uint8 [H, W, 3] BGR. 16-bit values are divided by 256.

    Raises:
        DatasetError: the file is absent, broken, of more than 100 megapixels, or not of `image_size`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"Cannot read the picture {path}: {error.strerror}; restore it or correct its path."
        ) from None
    header_size = _header_size(data)
    if header_size is not None and header_size[0] * header_size[1] > MAX_PIXELS:
        height, width = header_size
        raise DatasetError(
            f"The picture {path} has {width} x {height} pixels, more than the limit of {MAX_PIXELS:,}; scale it down."
        )
    picture = _decode(data, cv2.IMREAD_COLOR)
    if picture is None or _is_truncated_jpeg(data):
        raise DatasetError(
            f"Cannot decode the picture {path} ({len(data):,} bytes): it is damaged, cut off or of an unknown kind; "
            "replace it."
        )
    if image_size is None or picture.shape[:2] == image_size:
        return picture
    if picture.shape[:2] == image_size[::-1]:
        stored = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if stored is not None and stored.shape[:2] == image_size:
            return stored
    raise DatasetError(
        f"The picture {path} is {picture.shape[1]} x {picture.shape[0]} pixels (width x height), but the annotation "
        f"file says {image_size[1]} x {image_size[0]}; correct the file, or restore the picture that was annotated."
    )


def _decode(data: bytes, flags: int) -> NDArray[np.uint8] | None:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # an empty file, or one that pretends to be larger than OpenCV allows
        return None
    return None if picture is None else np.asarray(picture, np.uint8)


def _is_truncated_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG lacks its end marker after the last scan; OpenCV before 5 fills the rest with gray."""
    return data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _header_size(data: bytes) -> tuple[int, int] | None:
    """Return (H, W) as the header of a PNG or JPEG gives it, before orientation; None for other or broken files."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # the frame headers
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
