"""Files of images that no encoder at hand writes."""

import struct
import zlib

import numpy as np

FORMATS = {"u": 1, "i": 2, "f": 3}


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def make_png(values: np.ndarray, *chunks: bytes) -> bytes:
    """Return a PNG of [H, W], or [H, W, C] with C = 2 (gray, alpha), 3 or 4 (RGB, alpha), of uint8 or uint16."""
    values = values[..., None] if values.ndim == 2 else values
    height, width, bands = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[bands]
    header = struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in values.astype(values.dtype.newbyteorder(">")))
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def make_tiff(
    values: np.ndarray,
    colours: int | None = None,
    extra: tuple[int, ...] = (),
    planar: bool = False,
    orientation: int = 1,
    pages: int = 1,
    page_kind: int = 0,
) -> bytes:
    """Return an uncompressed TIFF of [H, W] or [H, W, C] of any type; RGB from three bands on."""
    values = values[..., None] if values.ndim == 2 else values
    height, width, bands = values.shape
    data = (np.moveaxis(values, -1, 0) if planar else values).tobytes()
    colours = (2 if bands > 2 else 1) if colours is None else colours
    blocks = bands if planar else 1
    size = len(data) // blocks
    file = bytearray(b"II*\0" + struct.pack("<I", 8))
    for page in range(pages):
        tags = {
            254: [page_kind if page else 0], 256: [width], 257: [height], 258: [8 * values.itemsize] * bands,
            259: [1], 262: [colours], 273: [0] * blocks, 274: [orientation], 277: [bands], 278: [height],
            279: [size] * blocks, 284: [2 if planar else 1], 339: [FORMATS[values.dtype.kind]] * bands,
            **({338: list(extra)} if extra else {}),
        }  # fmt: skip
        after = len(file) + 2 + 12 * len(tags) + 4
        start = after + sum(4 * len(numbers) for numbers in tags.values() if len(numbers) > 1)
        tags[273] = [start + number * size for number in range(blocks)]
        entries, further = b"", b""
        for tag, numbers in sorted(tags.items()):
            packed = struct.pack(f"<{len(numbers)}I", *numbers)
            at = packed if len(numbers) == 1 else struct.pack("<I", after + len(further))
            entries += struct.pack("<HHI", tag, 4, len(numbers)) + at
            further += packed if len(numbers) > 1 else b""
        following = start + len(data) if page + 1 < pages else 0
        file += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following) + further + data
    return bytes(file)


def as_stored(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return what a camera with this EXIF orientation stores, so that a viewer shows `image`."""
    undo = {
        1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
        5: lambda p: p.T, 6: lambda p: p.T[::-1], 7: lambda p: p.T[::-1, ::-1], 8: lambda p: p.T[:, ::-1],
    }  # fmt: skip
    return np.ascontiguousarray(undo[orientation](image))
