"""Images of which parts are read: decoded whole where they may be, else by windows, so that memory stays small.

GDAL reads the windows, by the extra package rasterio: TIFF in tiles directly, and TIFF in strips, JPEG and PNG from
the top down, because their rows are decoded one after the other.
"""

import math
import threading
import warnings
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from yolact.data.images import (
    JPEG_START,
    MAX_NAME,
    MAX_PIXELS,
    MAX_WINDOWED_PIXELS,
    PNG_START,
    read_image,
    size_mismatch,
)
from yolact.errors import DatasetError, UserError
from yolact.structures import View
from yolact.text import printable

MAX_BLOCK_PIXELS = MAX_PIXELS  # of a strip or tile of a file, which is decoded whole
DRIVERS = {"TIFF": "GTiff", "JPEG": "JPEG", "PNG": "PNG"}  # of GDAL, by Pillow's names; others may open further files
STARTS = (  # of files, with Pillow's readers of their headers; `Image.open` refuses large images
    (JPEG_START, JpegImageFile),
    (PNG_START, PngImageFile),
    *((start, TiffImageFile) for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),  # with + they may exceed 4 GB
)
GDAL = {
    "GDAL_CACHEMAX": 64,  # MB of decoded blocks
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no files beside the image
    "GDAL_PAM_ENABLED": False,  # likewise
}
OVERVIEW_ROWS = 512  # that are decoded at a time
DEPTHS = {"uint8": 0, "uint16": 8}  # of the samples, and by how many bits they are deeper than a byte
Pixels = NDArray[np.uint8]  # [H, W, 3] BGR


class OpenImage(Protocol):
    """An image of which parts can be read.

    Attributes:
        image_size: (H, W).
        pixels: all of it, where it is in memory.
    """

    image_size: tuple[int, int]
    pixels: Pixels | None

    def read(self, view: View) -> Pixels:
        """Return a part, uint8 [h, w, 3] BGR; parts from the top down are read fastest."""

    def overview(self, largest_side: int) -> Pixels:
        """Return all of it, made smaller where a side is longer than `largest_side` pixels."""


def open_image(path: str | Path, image_size: tuple[int, int] | None = None) -> OpenImage:
    """Open an image file to read parts of it.

    TIFF is read by windows where rasterio is installed, and so is every image of more than 100 megapixels.

    Args:
        path: the file.
        image_size: (H, W) that annotations give, as in `read_image`.

    Raises:
        DatasetError: as `read_image`; or it has more than 100 megapixels and cannot be read by windows.
        UserError: it has more than 100 megapixels, and rasterio is not installed.
    """
    path = Path(path)
    header = read_header(path)
    is_large = header is not None and math.prod(header.image_size) > MAX_PIXELS
    if header is None or not (is_large or header.kind == "TIFF"):
        return WholeImage(read_image(path, image_size))
    try:
        return WindowedImage(path, header, image_size)
    except (DatasetError, UserError):
        if is_large:
            raise
        return WholeImage(read_image(path, image_size))


class Header(NamedTuple):
    """What a TIFF, JPEG or PNG says of itself before its pixels."""

    kind: str  # a key of `DRIVERS`
    image_size: tuple[int, int]  # (H, W) as it is stored
    is_interlaced: bool  # or progressive: no row is known before the end
    is_upright: bool  # its EXIF data turn nothing


def read_header(path: Path) -> Header | None:
    """Return the header of a TIFF, JPEG or PNG, or None for everything else."""
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and damaged data, which the caller looks at
            start = file.read(8)
            file.seek(0)
            image: Image.Image = next(reader for magic, reader in STARTS if start.startswith(magic))(file)
            # For a PNG without EXIF data before its pixels, Pillow would decode these to look for some after them.
            exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
    except Exception:  # of many kinds, on damaged headers; whoever decodes the file says what is wrong
        return None
    is_interlaced = bool(image.info.get("interlace") or image.info.get("progressive"))
    is_upright = exif.get(ExifTags.Base.Orientation, 1) == 1
    return Header(str(image.format), (image.height, image.width), is_interlaced, is_upright)


class WholeImage:
    """An `OpenImage` that is in memory."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels: Pixels | None = pixels
        self._pixels, self.image_size = pixels, (pixels.shape[0], pixels.shape[1])

    def read(self, view: View) -> Pixels:
        x0, y0, x1, y1 = view
        return self._pixels[y0:y1, x0:x1]

    def overview(self, largest_side: int) -> Pixels:
        scale = min(1, largest_side / max(self.image_size))
        size = [max(1, round(side * scale)) for side in reversed(self.image_size)]
        return np.asarray(cv2.resize(self._pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


class WindowedImage:
    """An `OpenImage` that stays in its file. Several threads may call it."""

    pixels: Pixels | None = None

    def __init__(self, path: Path, header: Header, image_size: tuple[int, int] | None = None) -> None:
        """Open a file with that header; errors are those of `open_image`."""
        name = printable(str(path), MAX_NAME)
        try:
            import rasterio
        except ImportError as error:
            raise UserError(
                f"The image {name} has more than {MAX_PIXELS:,} pixels, so that it is read in parts, which needs the "
                f"package rasterio ({error}); run `pip install rasterio`."
            ) from None
        self.name, self.image_size = name, header.image_size
        height, width = header.image_size
        if header.is_interlaced:
            self._refuse("rows one after the other, which progressive JPEG and interlaced PNG have not")
        if height * width > MAX_WINDOWED_PIXELS:
            self._refuse(f"at most {MAX_WINDOWED_PIXELS:,} pixels")
        if not header.is_upright:
            self._refuse("an upright image, not one that its EXIF data turn")
        if image_size not in (None, header.image_size):
            raise DatasetError(size_mismatch(name, header.image_size, image_size), "size-mismatch")
        self._environment, self._window, self._lock = rasterio.Env(**GDAL), rasterio.windows.Window, threading.Lock()
        self._errors = rasterio.errors.RasterioError
        try:
            # For good, because threads would disturb each other's filters: photographs are nowhere on a map.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with self._environment:
                self._file = rasterio.open(path.resolve(), driver=DRIVERS[header.kind], sharing=False)
        except self._errors as error:
            self._refuse("one that GDAL can read", error)
        self._bands, self._shift = self._kind()
        is_inverted = self._file.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
        self._inverted = np.uint8(255 if is_inverted else 0)
        block_height, block_width = self._file.block_shapes[0]
        if block_height * block_width > MAX_BLOCK_PIXELS:
            self._refuse(f"tiles or strips of at most {MAX_BLOCK_PIXELS:,} pixels")
        self._in_tiles = block_width < width
        self._top, self._rows = 0, np.zeros((0, width, 3), np.uint8)

    def _kind(self) -> tuple[list[int], int]:
        """Return the bands to read as RGB, and by how many bits their samples are too deep."""
        meaning = self._file.colorinterp[0].name
        depth = DEPTHS.get(self._file.dtypes[0])
        if depth is None or meaning not in ("gray", "red", "undefined"):
            self._refuse(f"gray or RGB of 8 or 16 bits, not {meaning} of {self._file.dtypes[0]}")
        return [1, 2, 3] if self._file.count >= 3 else [1], depth

    def _refuse(self, expected: str, error: Exception | None = None) -> NoReturn:
        found = f" ({error.__cause__ or error})" if error else ""
        raise DatasetError(
            f"The image {self.name} cannot be read in parts{found}: expected {expected}; save it as an RGB TIFF in "
            "tiles (gdal_translate -co TILED=YES, with -expand rgb for a palette), or scale it down.",
            "picture-too-large",
        ) from error

    def read(self, view: View) -> Pixels:
        x0, y0, x1, y1 = view
        with self._lock:
            if self._in_tiles:
                return self._decode(x0, y0, x1, y1)
            # Rows are decoded downwards only: those that the next tiles share stay in memory.
            bottom = self._top + len(self._rows)
            if not self._top <= y0 <= bottom:
                self._rows, bottom = self._rows[:0], y0
            if y1 > bottom:
                new = self._decode(0, bottom, self.image_size[1], y1)
                self._rows = np.concatenate((self._rows[y0 - self._top :], new)) if len(self._rows) else new
                self._top = y0
            return self._rows[y0 - self._top : y1 - self._top, x0:x1].copy()

    def overview(self, largest_side: int) -> Pixels:
        (height, width), factor = self.image_size, -(-max(self.image_size) // largest_side)
        step, parts = factor * max(1, OVERVIEW_ROWS // factor), []
        for top in range(0, height, step):
            rows = self.read((0, top, width, min(top + step, height)))
            size = max(1, width // factor), max(1, len(rows) // factor)
            parts.append(cv2.resize(rows, size, interpolation=cv2.INTER_AREA))
        return np.concatenate(parts)

    def _decode(self, x0: int, y0: int, x1: int, y1: int) -> Pixels:
        try:
            with self._environment:
                found = self._file.read(self._bands, window=self._window(x0, y0, x1 - x0, y1 - y0))
        except self._errors as error:
            reason = f"({error.__cause__ or error}): it is damaged or cut off; replace it."
            raise DatasetError(f"Cannot decode the image {self.name} {reason}", "truncated-picture") from error
        planes = [(plane >> self._shift).astype(np.uint8) ^ self._inverted for plane in reversed(found)]
        return np.asarray(cv2.merge(planes if len(planes) == 3 else planes * 3), np.uint8)
