"""Reading an image file safely: the right colours, the orientation that the annotations mean, and a size limit."""

import io
import logging
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from yolact.data.decoders import decode_samples, opencv
from yolact.data.headers import JPEG_START, PNG_START, Layout, read_layout
from yolact.data.headers import MAX_PIXELS as MAX_PIXELS  # for those who import it from here
from yolact.data.headers import SUFFIXES as SUFFIXES
from yolact.data.samples import PLAIN, Colours, Pixels, to_gray, to_pixels
from yolact.errors import DatasetError
from yolact.text import printable

logger = logging.getLogger(__name__)

MAX_WINDOWED_PIXELS = 4_000_000_000  # of what is read by parts; COCO's run lengths count pixels by 32 bits
MAX_NAME = 1000  # characters of a path in an error
REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
FIRST_FRAME = "the first of its frames or pages is taken"
_said: set[str] = set()  # kinds of remarks that were logged
UNDO = {6: 8, 8: 6}  # of orientations; the others undo themselves


class Decoded(NamedTuple):
    """The pixels of an image, and what is remarkable about it: kind of finding of `yolact check` -> note."""

    pixels: Pixels
    remarks: dict[str, str]


def read_image(path: Path, image_size: tuple[int, int] | None = None, colours: Colours = PLAIN) -> Pixels:
    """Decode an image of any common kind, whatever its suffix; of several frames or pages the first.

    Args:
        path: the file.
        image_size: (H, W) that the annotations give. An image whose EXIF orientation turns it into W x H is read as
            stored instead, because the annotations then describe the stored image.
        colours: how samples of more than 8 bits, and transparent pixels, become colours, and how many channels.

    Returns:
        `Pixels`: by itself uint8 [H, W, 3] BGR.

    Raises:
        DatasetError: the file is absent, broken, of more than 100 megapixels, of other bands than the channels, gray
            and three colours being one, or not of `image_size`.
    """
    return read_reduced(path, image_size, 1, colours)[0]


def read_size(path: Path, image_size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Decode an image of any number of bands, to see that it can be, and return (H, W); otherwise as `read_image`."""
    try:
        pixels = read_image(path, image_size)
    except DatasetError as error:
        layout = _layout_of(path.read_bytes()) if error.kind == "other-bands" else None
        if layout is None:
            raise
        pixels = read_image(path, image_size, Colours(channels=layout.bands))
    return pixels.shape[0], pixels.shape[1]


def read_reduced(
    path: Path, image_size: tuple[int, int] | None, reduction: int, colours: Colours = PLAIN
) -> tuple[Pixels, int]:
    """Decode a JPEG at 1 / `reduction` (1, 2, 4 or 8) of its size, and any other image as `read_image` does.

    A JPEG's blocks are then only partly computed, which is several times as fast and as small.

    Returns:
        The image, `Pixels` [ceil(H / r), ceil(W / r), C], and r, which is 1 or `reduction`. Pixel k of a row covers
        the image's pixels from r * k on.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        name = printable(str(path), MAX_NAME)
        why = f"Cannot read the image {name}: {error.strerror}; restore it or correct its path."
        raise DatasetError(why, "missing-picture") from None
    is_reducible = reduction > 1 and data[:2] == JPEG_START and colours.has_colours
    if image_size and is_reducible and not _is_truncated_jpeg(data):
        height, width = image_size
        if header_size(data) in (image_size, (width, height)):
            small = opencv(data, REDUCED[reduction])
            if small is not None and small.shape[:2] == (-(-height // reduction), -(-width // reduction)):
                pixels = np.asarray(small, np.uint8)
                return to_gray(pixels) if colours.channels == 1 else pixels, reduction
    return decode_image(data, path, image_size, colours), 1


def decode_image(
    data: bytes, path: Path, image_size: tuple[int, int] | None = None, colours: Colours = PLAIN
) -> Pixels:
    """Decode the bytes of an image file as `read_image` does; `path` names it in errors.

    What is remarkable is logged of the first such image.
    """
    pixels, remarks = decode(data, path, image_size, colours)
    say_once(path, remarks, colours)
    return pixels


def say_once(path: Path, remarks: Mapping[str, str], colours: Colours) -> None:
    """Log what is remarkable about an image, where no other of its kind was logged or counted."""
    for kind in remarks.keys() - _said:
        if kind == "deep-samples" and colours.white is not None:
            continue  # as it was chosen
        _said.add(kind)
        advice = "; --set data.white=N takes one N for all images" if kind == "deep-samples" else ""
        name = printable(str(path), MAX_NAME)
        logger.warning("%s: %s%s (more such images are not named)", name, remarks[kind], advice)


def leave_unsaid(kinds: Iterable[str]) -> None:
    """Log none of these remarks from now on: they were counted and told of."""
    _said.update(kinds)


def decode(data: bytes, path: Path, image_size: tuple[int, int] | None, colours: Colours) -> Decoded:
    """Decode the bytes of an image file as `read_image` does, and tell what is remarkable about it."""
    name, layout = printable(str(path), MAX_NAME), _layout_of(data)
    if layout is None or _is_truncated_jpeg(data):
        raise _damaged(data, name)
    samples = decode_samples(data, layout, name, colours.channels)
    if samples is None:
        raise _damaged(data, name)
    found, remarks = to_pixels(samples.values, samples.alpha, colours, layout.is_inverted)
    if layout.has_more:
        remarks["several-frames"] = FIRST_FRAME
    turned = stored = found
    if layout.orientation != 1:
        if samples.is_turned:
            stored = _turn(found, UNDO.get(layout.orientation, layout.orientation))
        else:
            turned = _turn(found, layout.orientation)
    for pixels in (turned, stored):
        if image_size in (None, pixels.shape[:2]):
            return Decoded(pixels, remarks)
    assert image_size is not None
    raise DatasetError(size_mismatch(name, (turned.shape[0], turned.shape[1]), image_size), "size-mismatch")


def size_mismatch(name: str, found: tuple[int, int], expected: tuple[int, int]) -> str:
    """Return what to say of an image of another size (H, W) than its annotations give."""
    return (
        f"The image {name} is {found[1]} x {found[0]} pixels (width x height), but the annotation file says "
        f"{expected[1]} x {expected[0]}; correct the file, or restore the image that was annotated."
    )


def header_size(data: bytes) -> tuple[int, int] | None:
    """Return (H, W) that a decoder makes room for, before orientation, as the header of an image file gives it.

    That is the size of the image, and of a tiled TIFF at least that of one tile. None for what is no image, and for a
    PNG that is cut off, damaged or lies about its chunks: OpenCV takes as much memory as a chunk says it is long, up to
    4 GB.
    """
    layout = _layout_of(data)
    return layout and layout.room


def _layout_of(data: bytes) -> Layout | None:
    return None if data[:8] == PNG_START and not _has_whole_chunks(data) else read_layout(io.BytesIO(data))


def _has_whole_chunks(data: bytes) -> bool:
    """Tell whether the chunks of a PNG lie within it and have their checksums; libpng prints where one has not."""
    view, at, last = memoryview(data), 8, False
    while not last and at + 12 <= len(data):
        last = data[at + 4 : at + 8] == b"IEND"
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data) or zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return False
        at = end
    return last


def _turn(image: Pixels, orientation: int) -> Pixels:
    """Do what an EXIF orientation asks for."""
    image = image.transpose(1, 0, 2) if orientation >= 5 else image
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(image[rows, columns])


def _damaged(data: bytes, name: str) -> DatasetError:
    return DatasetError(
        f"Cannot decode the image {name} ({len(data):,} bytes): it is damaged, cut off or of an unknown kind; "
        "replace it.",
        "truncated-picture" if _is_cut_off(data) else "unreadable-picture",
    )


def _is_truncated_jpeg(data: bytes) -> bool:
    """Tell whether a JPEG lacks its end marker after its first scan; OpenCV before 5 fills the rest with gray."""
    at = 2  # what stands before the scan, or behind the image as phones' videos do, may hold any bytes
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        at += 1 if data[at + 1 : at + 2] == b"\xff" else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:2] == JPEG_START and data.rfind(b"\xff\xd9", at) < 0


def _is_cut_off(data: bytes) -> bool:
    """Tell whether a file that cannot be decoded lacks its end, where its kind says where that is."""
    if data[:8] == PNG_START:
        return b"IEND" not in data[-16:]
    if data[:4] == b"RIFF":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return _is_truncated_jpeg(data)
