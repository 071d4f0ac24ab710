"""How large a picture will be, as its first bytes say: a file of a few kilobytes can unpack to gigabytes."""

import re
from collections.abc import Callable

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"

KINDS = ("PNG", "JPEG", "WebP", "BMP", "GIF", "TIFF")

# TIFF's tags of sizes, and the types of one whole number each: byte, short, long.
TIFF_WIDTH, TIFF_HEIGHT, TIFF_TILE_WIDTH, TIFF_TILE_HEIGHT = 256, 257, 322, 323
TIFF_LENGTHS = {1: 1, 3: 2, 4: 4}

# Within the data of a scan, 0xFF stands before a zero or a restart marker; anything else ends the scan.
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def header_size(data: bytes) -> tuple[int, int] | None:
    """Return (H, W) that a decoder makes room for, before orientation, as the header of a picture file gives it.

    That is the size of the picture, and of a tiled TIFF at least that of one tile.

    Args:
        data: the whole file, of one of `KINDS`.

    Returns:
        None for files of other kinds, for broken headers, and for sizes of zero.
    """
    reader = _reader(data)
    size = reader(data) if reader else None
    return size if size and min(size) > 0 else None


def _reader(data: bytes) -> Callable[[bytes], tuple[int, int] | None] | None:
    if data[:8] == PNG_START:
        return _png
    if data[:2] == JPEG_START:
        return _jpeg
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp
    if data[:2] == b"BM":
        return _bmp
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _gif
    return _tiff if data[:4] in (b"II*\0", b"MM\0*") else None


def _png(data: bytes) -> tuple[int, int] | None:
    """Also walk through the chunks, because OpenCV takes as much memory as a chunk says it is long: up to 4 GB."""
    if data[12:16] != b"IHDR":
        return None
    at, last = 8, False
    while not last and at + 12 <= len(data):
        last = data[at + 4 : at + 8] == b"IEND"
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    whole = last and at <= len(data)
    return (int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")) if whole else None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # the frame headers
            return int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
        if marker == 0xFF:  # padding
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD9:  # these stand alone; none belongs before the frame
            return None
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def jpeg_scans(data: bytes) -> int:
    """Return the number of scans of a JPEG; a progressive one has about ten, and each passes over the whole picture."""
    scans, at = 0, 2
    while marker := JPEG_MARKER.search(data, at):
        kind = data[marker.start() + 1]
        scans += kind == 0xDA
        if kind == 0xD9:
            break
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans


def _webp(data: bytes) -> tuple[int, int] | None:
    chunk, content = data[12:16], data[20:30]
    if len(content) < 10:
        return None
    if chunk == b"VP8X":
        return int.from_bytes(content[7:10], "little") + 1, int.from_bytes(content[4:7], "little") + 1
    if chunk == b"VP8L" and content[0] == 0x2F:
        bits = int.from_bytes(content[1:5], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if chunk == b"VP8 " and content[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(content[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        return height, width
    return None


def _bmp(data: bytes) -> tuple[int, int] | None:
    if len(data) < 26:
        return None
    if data[14:18] == b"\x0c\0\0\0":  # the header of OS/2
        return int.from_bytes(data[20:22], "little"), int.from_bytes(data[18:20], "little")
    width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
    return abs(height), abs(width)  # rows from top to bottom have a negative height


def _gif(data: bytes) -> tuple[int, int] | None:
    return (int.from_bytes(data[8:10], "little"), int.from_bytes(data[6:8], "little")) if len(data) >= 10 else None


def _tiff(data: bytes) -> tuple[int, int] | None:
    """Read the first directory; of tags that come twice, the larger value counts."""
    order = "little" if data[:2] == b"II" else "big"

    def number(at: int, length: int) -> int:
        return int.from_bytes(data[at : at + length], order)  # type: ignore[arg-type]

    start = number(4, 4)
    values: dict[int, int] = {}
    for at in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        if at + 12 > len(data):
            return None
        tag, length = number(at, 2), TIFF_LENGTHS.get(number(at + 2, 2), 4)
        values[tag] = max(values.get(tag, 0), number(at + 8, length))
    height, width = values.get(TIFF_HEIGHT, 0), values.get(TIFF_WIDTH, 0)
    if not height or not width:
        return None
    return max(height, values.get(TIFF_TILE_HEIGHT, 0)), max(width, values.get(TIFF_TILE_WIDTH, 0))
