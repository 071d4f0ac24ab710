"""What an image file says of itself before its pixels, and which files of a folder are images."""

import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from yolact.text import counted, printable

MAX_PIXELS = 100_000_000  # a PNG of 100 KB can unpack to gigabytes; no camera makes more than this
JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
KINDS = ("WEBP", "BMP", "DIB", "GIF", "AVIF", "JPEG2000", "PPM")  # that Pillow opens, beside JPEG, PNG and TIFF
# What is taken from a folder by its name, where it need not be opened.
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif", ".avif",
    ".heic", ".heif", ".jp2", ".j2k", ".ppm", ".pgm",
})  # fmt: skip
BYTE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp"})  # of 8 bits a sample
OTHER_SUFFIXES = frozenset({
    ".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".md", ".html", ".pdf", ".zip", ".npy", ".py", ".mp4", ".avi",
    ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv",
})  # fmt: skip
SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})  # and those whose name begins with a dot
BIG_TIFF = 43  # the mark of the kind that may exceed 4 GB
MAX_PAGES = 100  # of a TIFF that are looked at
MAX_NAMED = 10  # files that a sentence names
WITH_ALPHA = {"RGBA", "LA", "PA", "RGBa", "La"}  # modes of Pillow
SAMPLE_FORMATS = {1: "uint", 2: "int", 3: "float", 4: "uint"}  # TIFF's; 4 is "undefined"
GRAY_AND_ALPHA = 4  # PNG's kind of colours
ASSOCIATED, UNASSOCIATED = 1, 2  # TIFF's kinds of alpha
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK = 0, 1, 2, 5  # TIFF's kinds of colours


class Layout(NamedTuple):
    """What the header of an image file says."""

    kind: str  # JPEG, PNG, TIFF, HEIF, or one of `KINDS`
    image_size: tuple[int, int]  # (H, W) as it is stored
    room: tuple[int, int]  # (H, W) that a decoder makes room for: of a TIFF in tiles at least that of one tile
    bands: int = 3  # samples of a pixel, alpha among them
    bits: int = 8  # of a sample
    samples: str = "uint"  # or "int" or "float"
    alpha: str = ""  # "straight", or "premultiplied" into the colours
    orientation: int = 1  # as EXIF numbers them
    is_interlaced: bool = False  # or progressive: no row is known before the end
    has_more: bool = False  # frames or pages after the first one
    key: int | None = None  # the gray value that is transparent, of a PNG of 16 bits
    colours: int = RGB  # TIFF's number of what the samples mean
    is_planar: bool = False  # a TIFF of one band after the other
    compression: int = 1  # TIFF's number
    is_preview: bool = False  # a TIFF that begins with a smaller copy, as raw photographs do

    @property
    def is_inverted(self) -> bool:
        """Whether 0 is white; OpenCV inverts bytes itself."""
        return self.colours == WHITE_IS_ZERO and self.is_deep

    @property
    def is_deep(self) -> bool:
        """Whether samples may not be bytes; what JPEG 2000 and PPM have, their pixels tell."""
        return self.bits > 8 or self.samples != "uint" or self.kind in ("JPEG2000", "PPM")


def read_layout(file: BinaryIO) -> Layout | None:
    """Return what the header of an image file says, or None for what is no image."""
    _silence_pillow()
    try:
        start = file.read(32)
        file.seek(0)
        if start.startswith(JPEG_START):
            return _common(JpegImageFile(file))
        if start.startswith(PNG_START):
            return _png(file, start)
        if start.startswith(TIFF_STARTS):
            return _tiff(file)
        if _is_heif(start):
            return Layout("HEIF", (0, 0), (0, 0))  # whose size its own reader tells
        with Image.open(file, formats=KINDS) as image:
            return _common(image)
    except Image.DecompressionBombError:
        return Layout("", (MAX_PIXELS, MAX_PIXELS), (MAX_PIXELS, MAX_PIXELS))
    except Exception:  # of many kinds, on damaged headers
        return None


def _common(image: Image.Image, exif: Any = None) -> Layout:
    size, info = (image.height, image.width), image.info
    orientation = int((image.getexif() if exif is None else exif).get(ExifTags.Base.Orientation, 1))
    has_key = "transparency" in info and image.mode not in WITH_ALPHA  # a colour or index, which is decoded as a band
    return Layout(
        str(image.format), size, size, len(image.getbands()) + has_key,
        bits=16 if image.mode.startswith("I") else 8,
        alpha="straight" if image.mode in WITH_ALPHA or has_key else "",
        orientation=orientation if 1 <= orientation <= 8 else 1,
        is_interlaced=bool(info.get("interlace") or info.get("progressive")),
        has_more=bool(getattr(image, "is_animated", False)),
    )  # fmt: skip


def _png(file: BinaryIO, start: bytes) -> Layout:
    image = PngImageFile(file)
    # Without EXIF data before its pixels, Pillow would decode these to look for some after them.
    layout = _common(image, exif=None if "exif" in image.info else {})._replace(bits=max(8, start[24]))
    layout = layout._replace(bands=2) if start[25] == GRAY_AND_ALPHA else layout  # Pillow has no such mode of 16 bits
    key = image.info.get("transparency")
    return layout._replace(key=key) if layout.bits > 8 and isinstance(key, int) else layout


def _tiff(file: BinaryIO) -> Layout | None:
    start = file.read(8)
    start += file.read(8) if start[2] == BIG_TIFF or start[3] == BIG_TIFF else b""

    def directory(at: int | None = None) -> ImageFileDirectory_v2:
        tags = ImageFileDirectory_v2(start)
        file.seek(tags.next if at is None else at)
        tags.load(file)
        return tags

    tags = directory()

    def tag(number: int, default: int) -> int:
        value = tags.get(number, default)
        return int(value[0] if isinstance(value, tuple) else value)

    size = tag(257, 0), tag(256, 0)
    if min(size) < 1:
        return None
    bands, colours, bits = tag(277, 1), tag(262, RGB), tag(258, 1)
    alpha, extra = "", tags.get(338, ())
    if bands in (2, 4) and colours in (BLACK_IS_ZERO, RGB) and bands == (2 if colours == BLACK_IS_ZERO else 4):
        # OpenCV writes colours with alpha without saying so.
        kind = extra[0] if len(extra) == 1 else UNASSOCIATED if not extra else 0
        alpha = {ASSOCIATED: "premultiplied", UNASSOCIATED: "straight"}.get(kind, "")
    orientation, next_page, has_more = tag(274, 1), tags.next, False
    for _ in range(MAX_PAGES):
        if not next_page or has_more:
            break
        file.seek(next_page)
        page = directory(next_page)
        has_more, next_page = not int(page.get(254, 0)) & 5, page.next  # neither a smaller copy nor a mask
    return Layout(
        "TIFF", size, (max(size[0], tag(323, 0)), max(size[1], tag(322, 0))), bands, bits,
        SAMPLE_FORMATS.get(tag(339, 1), "complex"), alpha, orientation if 1 <= orientation <= 8 else 1,
        has_more=has_more, colours=colours, is_planar=bands > 1 and tag(284, 1) == 2,
        compression=tag(259, 1), is_preview=bool(tag(254, 0) & 1 and (tags.next or 330 in tags)),
    )  # fmt: skip


@cache
def _silence_pillow() -> None:
    """Leave out Pillow's warnings of odd headers, for good, because threads would disturb each other's filters."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _is_heif(start: bytes) -> bool:
    return start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS and b"avif" not in start


def _begins_as_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError:
        return False
    starts = (b"\xff\xd8\xff", PNG_START, b"GIF8", *TIFF_STARTS, b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
    return (
        start.startswith(starts)
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or (start[:2] == b"BM" and start[6:10] == bytes(4))
        or _is_heif(start)
        or start[4:12] in (b"ftypavif", b"ftypavis")
    )


def image_files(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return those of the paths that are image files, and the other files, both sorted.

    The suffix decides where it is a known one, else the first bytes. Links that lead nowhere and pipes are no images;
    folders and hidden files are in neither list.
    """
    images: list[Path] = []
    others: list[Path] = []
    for path in sorted(paths):
        suffix = path.suffix.lower()
        if path.name.startswith(".") or path.name.lower() in SYSTEM_FILES or path.is_dir():
            continue
        is_image = path.is_file() and (suffix in SUFFIXES or (suffix not in OTHER_SUFFIXES and _begins_as_image(path)))
        (images if is_image else others).append(path)
    return images, others


def passed_over(images: Sequence[Path], others: Sequence[Path]) -> str:
    """Return what to say of the other files that `image_files` found: how many, and which."""
    names = [printable(path.name) for path in others[:MAX_NAMED]] + ["..."] * (len(others) > MAX_NAMED)
    total = counted(len(images) + len(others), "file")
    return f"{len(images):,} of {total} are images; passed over: {', '.join(names)}"
