"""Images of which parts are read: decoded whole where they may be, else by windows, so that memory stays small.

GDAL reads the windows, by the extra package rasterio: TIFF in tiles directly, and TIFF in strips, JPEG and PNG from
the top down, because their rows are decoded one after the other.
"""

import math
import threading
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from yolact.data.decoders import GDAL, alpha_of, bgr_order, file_order, require_bands, silence_rasterio
from yolact.data.headers import CMYK, MAX_PIXELS, WHITE_IS_ZERO, Layout, read_layout
from yolact.data.images import FIRST_FRAME, MAX_NAME, MAX_WINDOWED_PIXELS, read_image, say_once, size_mismatch
from yolact.data.samples import PLAIN, Colours, Pixels, by_fours, own_white, to_pixels
from yolact.errors import DatasetError, UserError
from yolact.structures import View
from yolact.text import printable

MAX_BLOCK_PIXELS = MAX_PIXELS  # of a strip or tile of a file, which is decoded whole
DRIVERS = {"TIFF": "GTiff", "JPEG": "JPEG", "PNG": "PNG"}  # of GDAL, by Pillow's names; others may open further files
OVERVIEW_ROWS = 512  # that are decoded at a time


class OpenImage(Protocol):
    """An image of which parts can be read.

    Attributes:
        image_size: (H, W).
        pixels: all of it, where it is in memory.
        remarks: what is remarkable about the parts that were read: kind of finding of `yolact check` -> note.
    """

    image_size: tuple[int, int]
    pixels: Pixels | None
    remarks: dict[str, str]

    def read(self, view: View) -> Pixels:
        """Return a part, `Pixels` [h, w, C]; parts from the top down are read fastest."""

    def overview(self, largest_side: int) -> Pixels:
        """Return all of it, made smaller where a side is longer than `largest_side` pixels."""


def open_image(path: str | Path, image_size: tuple[int, int] | None = None, colours: Colours = PLAIN) -> OpenImage:
    """Open an image file to read parts of it.

    TIFF is read by windows where rasterio is installed, and so is every image of more than 100 megapixels.

    Args:
        path: the file.
        image_size: (H, W) that annotations give, as in `read_image`.
        colours: as in `read_image`.

    Raises:
        DatasetError: as `read_image`; or it has more than 100 megapixels and cannot be read by windows.
        UserError: it has more than 100 megapixels, and rasterio is not installed.
    """
    path = Path(path)
    layout = layout_of_file(path)
    is_large = layout is not None and math.prod(layout.image_size) > MAX_PIXELS
    if layout is None or not (is_large or layout.kind == "TIFF") or layout.kind not in DRIVERS:
        return WholeImage(read_image(path, image_size, colours))
    try:
        return WindowedImage(path, layout, image_size, colours)
    except (DatasetError, UserError):
        if is_large:
            raise
        return WholeImage(read_image(path, image_size, colours))


def layout_of_file(path: Path) -> Layout | None:
    """Return what the header of an image file says, or None where it is no image or cannot be read."""
    try:
        with path.open("rb") as file:
            return read_layout(file)
    except OSError:
        return None


class WholeImage:
    """An `OpenImage` that is in memory."""

    def __init__(self, pixels: Pixels) -> None:
        self.pixels: Pixels | None = pixels
        self.remarks: dict[str, str] = {}  # they were logged
        self._pixels, self.image_size = pixels, (pixels.shape[0], pixels.shape[1])

    def read(self, view: View) -> Pixels:
        x0, y0, x1, y1 = view
        return self._pixels[y0:y1, x0:x1]

    def overview(self, largest_side: int) -> Pixels:
        scale = min(1, largest_side / max(self.image_size))
        size = [max(1, round(side * scale)) for side in reversed(self.image_size)]
        return by_fours(lambda pixels: cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), self._pixels)


class WindowedImage:
    """An `OpenImage` that stays in its file. Several threads may call it."""

    pixels: Pixels | None = None

    def __init__(
        self, path: Path, layout: Layout, image_size: tuple[int, int] | None = None, colours: Colours = PLAIN
    ) -> None:
        """Open a file with that header; errors are those of `open_image`."""
        name = printable(str(path), MAX_NAME)
        try:
            import rasterio
        except ImportError as error:
            raise UserError(
                f"The image {name} has more than {MAX_PIXELS:,} pixels, so that it is read in parts, which needs the "
                f"package rasterio ({error}); run `pip install rasterio`."
            ) from None
        self._path, self.name, self.image_size = path, name, layout.image_size
        self.remarks = {"several-frames": FIRST_FRAME} if layout.has_more else {}
        say_once(path, self.remarks, colours)
        self._layout, self._colours = layout._replace(alpha=alpha_of(layout, colours.channels)), colours
        height, width = layout.image_size
        require_bands(layout, name, colours.channels)
        if layout.is_interlaced:
            self._refuse("rows one after the other, which progressive JPEG and interlaced PNG have not")
        if height * width > MAX_WINDOWED_PIXELS:
            self._refuse(f"at most {MAX_WINDOWED_PIXELS:,} pixels")
        if layout.orientation != 1:
            self._refuse("an upright image, not one that its EXIF data turn")
        if image_size is not None and image_size != layout.image_size:
            raise DatasetError(size_mismatch(name, layout.image_size, image_size), "size-mismatch")
        self._environment, self._window, self._lock = rasterio.Env(**GDAL), rasterio.windows.Window, threading.Lock()
        self._errors = rasterio.errors.RasterioError
        silence_rasterio()
        try:
            with self._environment:
                self._file = rasterio.open(path.resolve(), driver=DRIVERS[layout.kind], sharing=False)
        except self._errors as error:
            self._refuse("one that GDAL can read", error)
        meaning = self._file.colorinterp[0].name
        is_plain = meaning in ("gray", "red", "undefined") and layout.colours != CMYK and layout.key is None
        if (colours.has_colours and not is_plain) or self._file.count != layout.bands or layout.bits < 8:
            found = f"{meaning} in {self._file.count} x {layout.bits} bits"
            self._refuse(f"gray or RGB of 8 bits or more, with or without a band of alpha, not {found}")
        block_height, block_width = self._file.block_shapes[0]
        if block_height * block_width > MAX_BLOCK_PIXELS:
            self._refuse(f"tiles or strips of at most {MAX_BLOCK_PIXELS:,} pixels")
        self._in_tiles = block_width < width
        self._top, self._rows = 0, np.zeros((0, width, colours.channels), np.uint8)

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
            parts.append(by_fours(partial(cv2.resize, dsize=size, interpolation=cv2.INTER_AREA), rows))
        return np.concatenate(parts)

    def _decode(self, x0: int, y0: int, x1: int, y1: int) -> Pixels:
        samples, is_inverted = self.samples((x0, y0, x1, y1)), self._layout.colours == WHITE_IS_ZERO
        pixels, found = to_pixels(samples, self._layout.alpha, self._colours, is_inverted, self._white)
        self.remarks = found | self.remarks
        say_once(self._path, found, self._colours)
        return pixels

    def samples(self, view: View) -> NDArray[Any]:
        """Return a part as it is stored, [h, w, bands]: gray or BGR, and alpha; or all bands in their order."""
        x0, y0, x1, y1 = view
        in_order = bgr_order if self._colours.has_colours else file_order
        try:
            with self._environment:
                return in_order(self._file.read(window=self._window(x0, y0, x1 - x0, y1 - y0)))
        except self._errors as error:
            reason = f"({error.__cause__ or error}): it is damaged or cut off; replace it."
            raise DatasetError(f"Cannot decode the image {self.name} {reason}", "truncated-picture") from error

    @cached_property
    def _white(self) -> float | None:
        """What becomes white in every part: where each image decides, all of it is read for that."""
        if self._file.dtypes[0] in ("uint8", "int8") or isinstance(self._colours.white, float):
            return None
        (height, width), bands = self.image_size, slice(self._layout.bands - bool(self._layout.alpha))
        views = [(0, top, width, min(top + OVERVIEW_ROWS, height)) for top in range(0, height, OVERVIEW_ROWS)]
        return max(own_white(self.samples(view)[..., bands]) for view in views)
