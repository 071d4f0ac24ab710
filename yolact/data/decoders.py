"""From the bytes of an image file to its samples, by OpenCV, Pillow, GDAL or libheif, none of which prints anything."""

import io
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolact.data.headers import BLACK_IS_ZERO, CMYK, KINDS, MAX_PIXELS, RGB, WHITE_IS_ZERO, Layout
from yolact.errors import DatasetError
from yolact.text import counted

MODEL_BANDS = (1, 3)  # gray and colours: what becomes the input of a model of one or three channels
MAX_BYTES = 8 * MAX_PIXELS  # of the samples of an image: four of 16 bits a pixel
GDAL = {
    "GDAL_CACHEMAX": 64,  # MB of decoded blocks
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no files beside the image
    "GDAL_PAM_ENABLED": False,  # likewise
}
KNOWN_TO_OPENCV = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}  # compressions of TIFF; of some others it gives black
IS_OPENCV_4 = cv2.__version__.startswith("4.")
SILENT = 0  # a level of OpenCV's log
CONVERTED = ("JPEG", "HEIF")  # to RGB, by the decoders
LOSSY = ("WEBP", "AVIF", "JPEG2000")  # two decoders may round otherwise
HOW = {"uint": "whole numbers", "int": "signed whole numbers", "float": "floating-point numbers"}


class Samples(NamedTuple):
    """What is stored in an image file.

    Attributes:
        values: [H, W] gray, or [H, W, bands]: gray and alpha, BGR, or BGR and alpha, or all bands in the order of the
            file; of any type.
        alpha: "" where there is none, "straight" or "premultiplied".
        is_turned: whether the decoder did what the orientation asks for.
    """

    values: NDArray[Any]
    alpha: str = ""
    is_turned: bool = False


def decode_samples(data: bytes, layout: Layout, name: str, channels: int = 3) -> Samples | None:
    """Decode an image file of that header, `name` in errors; None if it is damaged.

    Args:
        channels: of the model. With another number than 1 or 3 all bands are decoded, and must be so many.

    Raises:
        DatasetError: it is too large, its samples are of a kind that a model cannot take, or a package is missing.
    """
    if channels not in MODEL_BANDS:
        require_bands(layout, name, channels)
    elif layout.kind == "HEIF":
        return _by_libheif(data, name)
    require_size(layout.room[0] * layout.room[1], layout.bands * layout.bits, name)
    if channels not in MODEL_BANDS:
        return _all_bands(data, layout, name)
    if layout.kind == "JPEG":
        values = opencv(data, cv2.IMREAD_COLOR)
        return None if values is None else Samples(values, "", True)
    require_bands(layout, name, channels)
    is_tiff = layout.kind == "TIFF"
    if is_tiff and not _is_known_to_opencv(layout):
        found = _by_pillow(data, layout) if layout.bits == 8 and (layout.alpha or layout.is_planar) else None
        return found or _by_gdal(data, layout, name)
    if layout.is_deep:
        values = opencv(data, cv2.IMREAD_UNCHANGED)
        # Pillow scales bytes by the white that PPM names, and would cut deeper samples to 8 bits.
        if values is None or (layout.kind == "PPM" and values.dtype == np.uint8):
            return None if layout.bits > 8 or is_tiff else _by_pillow(data, layout)
        if layout.bits in (10, 12, 14):  # which OpenCV scales to 16
            values >>= 16 - layout.bits
        if layout.key is not None and values.ndim == 2:
            opacity = np.where(values == layout.key, 0, np.iinfo(values.dtype).max).astype(values.dtype)
            return Samples(np.dstack((values, opacity)), "straight")
        return Samples(values, layout.alpha if is_tiff else _alpha_of(values), is_tiff)
    if layout.alpha:
        found = _by_pillow(data, layout)
        if found is None or layout.kind not in LOSSY or found.values[..., -1].min() < 255:
            return found
    values = opencv(data, cv2.IMREAD_COLOR | (0 if is_tiff else cv2.IMREAD_IGNORE_ORIENTATION))
    return _by_pillow(data, layout) if values is None else Samples(values, "", is_tiff)


def require_size(num_pixels: int, bits: int, name: str) -> None:
    """Raise a DatasetError where an image, of so many bits a pixel, is too large to be decoded whole."""
    if num_pixels > MAX_PIXELS or num_pixels * bits > MAX_BYTES * 8:
        raise DatasetError(
            f"The image {name} has more pixels than the limit of {MAX_PIXELS:,} for what is decoded whole; cut it into "
            "tiles (--tiles 640, tiles=640, or data.tiles and eval.tiles), or scale it down.",
            "picture-too-large",
        )


def require_bands(layout: Layout, name: str, channels: int) -> None:
    """Raise a DatasetError where a model of so many channels cannot take an image, by its bands or samples."""
    has_colours, found = channels in MODEL_BANDS, layout.bands
    if has_colours:
        bands = found - bool(layout.alpha)
        fits = bands in MODEL_BANDS or (bands == 4 and layout.colours == CMYK)
    else:
        is_converted = layout.kind in CONVERTED or layout.colours == CMYK
        found = 3 if is_converted else found - (layout.key is not None)
        fits = found == channels
    if not fits:
        raise _other_bands(found, name, channels)
    is_odd = has_colours and layout.is_deep and layout.colours not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
    if layout.samples not in HOW or is_odd or layout.is_preview:
        what = f"has {layout.bits} bits of {layout.samples} a sample, which are neither gray nor RGB"
        what = "is a raw photograph or begins with a smaller copy" if layout.is_preview else what
        raise DatasetError(f"The image {name} {what}: save it as gray or RGB.", "unreadable-picture")


def _other_bands(found: int, name: str, channels: int) -> DatasetError:
    takes = {1: "1, or 3 of RGB", 3: "3, or 1 of gray"}.get(channels, str(channels))
    return DatasetError(
        f"The image {name} has {counted(found, 'band')}, but a model takes {takes} (model.channels={channels}): choose "
        "those with `gdal_translate -b`, or train a model with model.channels as the images have bands.",
        "other-bands",
    )


def alpha_of(layout: Layout, channels: int) -> str:
    """Return the kind of alpha that is laid over a background; where a model takes all bands, it is one of them."""
    return layout.alpha if channels in MODEL_BANDS else ""


def _all_bands(data: bytes, layout: Layout, name: str) -> Samples | None:
    """Decode all bands in the order of the file."""
    if layout.kind == "TIFF":
        found = _by_gdal(data, layout, name, in_order=True)
        is_inverted = layout.colours == WHITE_IS_ZERO and not layout.is_inverted
        return found._replace(values=~found.values) if found is not None and is_inverted else found
    if layout.is_deep:
        values = opencv(data, cv2.IMREAD_UNCHANGED)
        if values is not None and values.ndim == 3 and values.shape[2] in (2, 4):
            return Samples(values[..., [0, -1] if layout.bands == 2 else [2, 1, 0, 3]])  # gray may become colours
        if layout.bits > 8:  # which Pillow would cut to 8
            return None
    try:
        with Image.open(io.BytesIO(data), formats=(*KINDS, "PNG")) as image:
            values = np.asarray(image)
    except Exception:  # of many kinds, on damaged files
        return None
    if values.shape[2:] != (layout.bands,):  # what is transparent is one of its colours
        raise _other_bands(values.shape[2] if values.ndim == 3 else 1, name, layout.bands)
    return Samples(values)


def _alpha_of(values: NDArray[Any]) -> str:
    return "straight" if values.ndim == 3 and values.shape[2] in (2, 4) else ""


def _is_known_to_opencv(layout: Layout) -> bool:
    """Tell whether OpenCV decodes such a TIFF rightly; of others it takes a wrong band or order without a word."""
    kind = layout.samples, layout.bits
    if (
        layout.compression not in KNOWN_TO_OPENCV
        or kind == ("float", 16)
        or (IS_OPENCV_4 and kind in (("uint", 32), ("uint", 64), ("int", 64)))
    ):
        return False
    if layout.bands == 1:
        return True
    if layout.colours in (BLACK_IS_ZERO, WHITE_IS_ZERO):
        return False
    if not layout.is_deep:  # planes that are cut off would be gray
        return not layout.alpha and not layout.is_planar
    return layout.colours == RGB and not layout.is_planar and layout.bits in (16, 32, 64) and layout.bits > 8


# OpenCV 4 has it elsewhere.
_set_log_level: Callable[[int], int] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
_lock, _decoders, _level = threading.Lock(), 0, 0


def opencv(data: bytes, flags: int) -> NDArray[Any] | None:
    """Decode by OpenCV, whose log is silent as long as any thread does; None where it cannot."""
    global _decoders, _level
    with _lock:
        if not _decoders:
            _level = _set_log_level(SILENT)
        _decoders += 1
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # an empty file, or one that pretends to be larger than OpenCV allows
        return None
    finally:
        with _lock:
            _decoders -= 1
            if not _decoders:
                _set_log_level(_level)


def _by_pillow(data: bytes, layout: Layout) -> Samples | None:
    """Decode 8 bits a sample."""
    try:
        with Image.open(io.BytesIO(data), formats=(*KINDS, "PNG", "TIFF")) as image:
            return _of_pillow(image, layout.kind == "TIFF")
    except Exception:  # of many kinds, on damaged files
        return None


def _of_pillow(image: Image.Image, is_turned: bool) -> Samples:
    has_alpha = "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info
    values = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    order = [2, 1, 0, 3][: values.shape[2]]
    return Samples(np.ascontiguousarray(values[..., order]), "straight" if has_alpha else "", is_turned)


def _by_libheif(data: bytes, name: str) -> Samples | None:
    try:
        from pillow_heif import open_heif
    except ImportError as error:
        raise DatasetError(
            f"The image {name} is HEIC, which needs the package pillow-heif ({error}): convert it to JPEG or PNG, or "
            "run `pip install pillow-heif`.",
            "unreadable-picture",
        ) from None
    try:
        image = open_heif(data, convert_hdr_to_8bit=True)
        require_size(image.size[0] * image.size[1], 8 * len(image.mode), name)
        return _of_pillow(image.to_pillow(), True)
    except DatasetError:
        raise
    except Exception:  # of many kinds, on damaged files
        return None


def _by_gdal(data: bytes, layout: Layout, name: str, in_order: bool = False) -> Samples | None:
    """Decode a TIFF of any samples and order of bands."""
    try:
        import rasterio
    except ImportError as error:
        how = f"{layout.bands} x {layout.bits} bits, {HOW[layout.samples]}" + (", in planes" * layout.is_planar)
        raise DatasetError(
            f"The image {name} has samples of a kind ({how}) that needs the package rasterio ({error}): run "
            "`pip install rasterio`, or save it as an RGB TIFF of 8 or 16 bits.",
            "unreadable-picture",
        ) from None
    silence_rasterio()
    try:
        with rasterio.Env(**GDAL), rasterio.MemoryFile(data) as file, file.open(driver="GTiff", sharing=False) as image:
            return Samples(bgr_order(image.read()), layout.alpha) if not in_order else Samples(file_order(image.read()))
    except rasterio.errors.RasterioError:
        return None


def silence_rasterio() -> None:
    """Leave out its warning that photographs are nowhere on a map, for good, because threads would disturb filters."""
    from rasterio.errors import NotGeoreferencedWarning

    warnings.simplefilter("ignore", NotGeoreferencedWarning)


def bgr_order(bands: NDArray[Any]) -> NDArray[Any]:
    """Turn bands [C, H, W], RGB or gray and perhaps alpha, into [H, W, C], BGR or gray and perhaps alpha."""
    order = [2, 1, 0, 3][: len(bands)] if len(bands) > 2 else [0, 1][: len(bands)]
    return np.stack([bands[index] for index in order], axis=-1)


def file_order(bands: NDArray[Any]) -> NDArray[Any]:
    """Turn bands [C, H, W] into [H, W, C]."""
    return np.ascontiguousarray(np.moveaxis(bands, 0, -1))
