"""Reading an image file safely: the right channels, the orientation that the annotations mean, and a size limit."""

import io
import warnings
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolact.errors import DatasetError
from yolact.text import printable

MAX_PIXELS = 100_000_000  # a PNG of 100 KB can unpack to gigabytes; no camera makes more than this
MAX_WINDOWED_PIXELS = 4_000_000_000  # of what is read by parts; COCO's run lengths count pixels by 32 bits
MAX_NAME = 1000  # characters of a path in an error
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})  # of what is taken from a folder
REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
TIFF_TILE_WIDTH, TIFF_TILE_HEIGHT = 322, 323  # tags


def read_image(path: Path, image_size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode an image of any common kind: grayscale, palette, CMYK, transparent (alpha is ignored) or 16 bits deep.

    Args:
        path: the file.
        image_size: (H, W) that the annotations give. An image whose EXIF orientation turns it into W x H is read as
            stored instead, because the annotations then describe the stored image.

    Returns:
        uint8 [H, W, 3] BGR. 16-bit values are divided by 256.

    Raises:
        DatasetError: the file is absent, broken, of more than 100 megapixels, or not of `image_size`.
    """
    return read_reduced(path, image_size, 1)[0]


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return those of the paths that are image files by their suffix, sorted."""
    return sorted(path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())


def read_reduced(path: Path, image_size: tuple[int, int] | None, reduction: int) -> tuple[NDArray[np.uint8], int]:
    """Decode a JPEG at 1 / `reduction` (1, 2, 4 or 8) of its size, and any other image as `read_image` does.

    A JPEG's blocks are then only partly computed, which is several times as fast and as small.

    Returns:
        The image, uint8 [ceil(H / r), ceil(W / r), 3] BGR, and r, which is 1 or `reduction`. Pixel k of a row covers
        the image's pixels from r * k on.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        name = printable(str(path), MAX_NAME)
        why = f"Cannot read the image {name}: {error.strerror}; restore it or correct its path."
        raise DatasetError(why, "missing-picture") from None
    if image_size and reduction > 1 and data[:2] == JPEG_START and not _is_truncated_jpeg(data):
        height, width = image_size
        if header_size(data) in (image_size, (width, height)):
            small = _decode(data, REDUCED[reduction])
            if small is not None and small.shape[:2] == (-(-height // reduction), -(-width // reduction)):
                return small, reduction
    return decode_image(data, path, image_size), 1


def decode_image(data: bytes, path: Path, image_size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode the bytes of an image file as `read_image` does; `path` names it in errors."""
    size = header_size(data)
    name = printable(str(path), MAX_NAME)
    if size is not None and size[0] * size[1] > MAX_PIXELS:
        why = (
            f"The image {name} has more pixels than the limit of {MAX_PIXELS:,} for what is decoded whole; cut it into "
            "tiles (--tiles 640, tiles=640, or data.tiles and eval.tiles), or scale it down."
        )
        raise DatasetError(why, "picture-too-large")
    image = _decode(data, cv2.IMREAD_COLOR) if size else None
    if image is None or _is_truncated_jpeg(data):
        raise DatasetError(
            f"Cannot decode the image {name} ({len(data):,} bytes): it is damaged, cut off or of an unknown kind; "
            "replace it.",
            "truncated-picture" if _is_cut_off(data) else "unreadable-picture",
        )
    if image_size is None or image.shape[:2] == image_size:
        return image
    if image.shape[:2] == image_size[::-1]:
        stored = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if stored is not None and stored.shape[:2] == image_size:
            return stored
    raise DatasetError(size_mismatch(name, (image.shape[0], image.shape[1]), image_size), "size-mismatch")


def size_mismatch(name: str, found: tuple[int, int], expected: tuple[int, int]) -> str:
    """Return what to say of an image of another size (H, W) than its annotations give."""
    return (
        f"The image {name} is {found[1]} x {found[0]} pixels (width x height), but the annotation file says "
        f"{expected[1]} x {expected[0]}; correct the file, or restore the image that was annotated."
    )


def header_size(data: bytes) -> tuple[int, int] | None:
    """Return (H, W) that a decoder makes room for, before orientation, as the header of an image file gives it.

    That is the size of the image, and of a tiled TIFF at least that of one tile. None for what is no image, and for a
    PNG that is cut off or lies about its chunks: OpenCV takes as much memory as a chunk says it is long, up to 4 GB.
    """
    if data[:8] == PNG_START and not _has_whole_chunks(data):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which the caller looks at
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                tags = getattr(image, "tag_v2", {})
                return max(height, int(tags.get(TIFF_TILE_HEIGHT, 0))), max(width, int(tags.get(TIFF_TILE_WIDTH, 0)))
    except Image.DecompressionBombError:
        return MAX_PIXELS, MAX_PIXELS
    except Exception:  # Pillow's plugins raise errors of many kinds on damaged headers
        return None


def _has_whole_chunks(data: bytes) -> bool:
    at, last = 8, False
    while not last and at + 12 <= len(data):
        last = data[at + 4 : at + 8] == b"IEND"
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return last and at <= len(data)


def _decode(data: bytes, flags: int) -> NDArray[np.uint8] | None:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # an empty file, or one that pretends to be larger than OpenCV allows
        return None
    return None if image is None else np.asarray(image, np.uint8)


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
