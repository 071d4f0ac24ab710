"""Reading a picture file safely: the right channels, the orientation that the annotations mean, and a size limit."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from yolact.data.headers import JPEG_START, PNG_START, header_size
from yolact.errors import DatasetError
from yolact.text import printable

MAX_PIXELS = 100_000_000  # a PNG of 100 KB can unpack to gigabytes; no camera makes more than this
MAX_NAME = 1000  # characters of a path in an error
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})  # of what is taken from a folder
REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def read_reduced(path: Path, image_size: tuple[int, int], reduction: int) -> tuple[NDArray[np.uint8], int]:
    """Decode a picture at a half, a quarter or an eighth of its size where it is a JPEG, else as it is.

    A JPEG's blocks are then only partly computed, which is several times as fast and as small.

    Args:
        path: the file.
        image_size: (H, W) that the annotations give; see `read_image`.
        reduction: 1, 2, 4 or 8.

    Returns:
        The picture, uint8 [ceil(H / r), ceil(W / r), 3] BGR, and r, which is 1 or `reduction`. Pixel k of a row covers
        the picture's pixels from r * k on.

    Raises:
        DatasetError: as `read_image`.
    """
    if reduction > 1:
        data = _read(path)
        if data[:2] == JPEG_START and image_size in (size := header_size(data) or (0, 0), size[::-1]):
            small = None if _is_truncated_jpeg(data) else _decode(data, REDUCED[reduction])
            height, width = image_size
            if small is not None and small.shape[:2] == (-(-height // reduction), -(-width // reduction)):
                return small, reduction
    return read_image(path, image_size), 1


def read_image(path: Path, image_size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
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
    return decode_image(_read(path), path, image_size)


def decode_image(data: bytes, path: Path, image_size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode the bytes of a picture file as `read_image` does; `path` names it in errors."""
    size = header_size(data)
    height, width = size or (0, 0)
    name = printable(str(path), MAX_NAME)
    if height * width > MAX_PIXELS:
        raise DatasetError(
            f"The picture {name} has {width} x {height} pixels, more than the limit of {MAX_PIXELS:,}; scale it down.",
            "picture-too-large",
        )
    # OpenCV takes as much memory as a chunk of a PNG says it is long.
    lies = size is None and data[:8] == PNG_START
    picture = None if lies else _decode(data, cv2.IMREAD_COLOR)
    if picture is None or _is_truncated_jpeg(data):
        raise DatasetError(
            f"Cannot decode the picture {name} ({len(data):,} bytes): it is damaged, cut off or of an unknown kind; "
            "replace it.",
            "truncated-picture" if _is_cut_off(data) else "unreadable-picture",
        )
    if image_size is None or picture.shape[:2] == image_size:
        return picture
    if picture.shape[:2] == image_size[::-1]:
        stored = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if stored is not None and stored.shape[:2] == image_size:
            return stored
    raise DatasetError(
        f"The picture {name} is {picture.shape[1]} x {picture.shape[0]} pixels (width x height), but the annotation "
        f"file says {image_size[1]} x {image_size[0]}; correct the file, or restore the picture that was annotated.",
        "size-mismatch",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        name = printable(str(path), MAX_NAME)
        raise DatasetError(
            f"Cannot read the picture {name}: {error.strerror}; restore it or correct its path.", "missing-picture"
        ) from None


def _decode(data: bytes, flags: int) -> NDArray[np.uint8] | None:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # an empty file, or one that pretends to be larger than OpenCV allows
        return None
    return None if picture is None else np.asarray(picture, np.uint8)


def _is_truncated_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG lacks its end marker after the last scan; OpenCV before 5 fills the rest with gray."""
    return data[:2] == JPEG_START and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _is_cut_off(data: bytes) -> bool:
    """Tell whether a file that cannot be decoded lacks its end, where its kind says where that is."""
    if data[:8] == PNG_START:
        return b"IEND" not in data[-16:]
    if data[:4] == b"RIFF":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return data[:2] == JPEG_START and data.rfind(b"\xff\xd9") <= data.rfind(b"\xff\xda")
