"""Sizes by hand, then the encoders' own files, then files that lie."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from yolact.data.images import header_size, jpeg_scans

PICTURE = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)


def encode(kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR" + header + b"crc!" + b"".join(chunks)


END = b"\0\0\0\0IENDcrc!"


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (png(300, 200, END), (200, 300)),
        (png(70000, 60000, END), (60000, 70000)),
        (b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x0b\x08\0\xc8\x01\x2c\x01\0\0\0", (200, 300)),
        (b"\xff\xd8\xff\xff\xff\xc2\0\x0b\x08\0\xc8\x01\x2c\x01\0\0\0", (200, 300)),  # padding, and progressive
        (b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x2b\x01\0\xc7\0\0", (200, 300)),  # sizes less one, 24 bits each
        (b"RIFF\x20\0\0\0WEBPVP8L\x0a\0\0\0\x2f\x2b\xc1\x31\0" + bytes(9), (200, 300)),  # 14 bits each, 299 and 199
        (b"RIFF\x20\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\x2c\x01\xc8\0", (200, 300)),
        (b"BM" + bytes(12) + b"\x28\0\0\0\x2c\x01\0\0\xc8\0\0\0", (200, 300)),
        (b"BM" + bytes(12) + b"\x28\0\0\0\x2c\x01\0\0\x38\xff\xff\xff", (200, 300)),  # from top to bottom: -200
        (b"BM" + bytes(12) + b"\x0c\0\0\0\x2c\x01\xc8\0\x01\0\x18\0", (200, 300)),
        (b"GIF89a\x2c\x01\xc8\0", (200, 300)),
        (b"II*\0\x08\0\0\0\x02\0\0\x01\x03\0\x01\0\0\0\x2c\x01\0\0\x01\x01\x04\0\x01\0\0\0\xc8\0\0\0", (200, 300)),
        (b"MM\0*\0\0\0\x08\0\x02\x01\0\0\x03\0\0\0\x01\x01\x2c\0\0\x01\x01\0\x04\0\0\0\x01\0\0\0\xc8", (200, 300)),
    ],
)
def test_sizes_stand_where_each_kind_has_them(data, size):
    assert header_size(data) == size
    assert header_size(data[:9]) is None


@pytest.mark.parametrize(
    "data",
    [
        *(encode(kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")),
        encode("JPEG", progressive=True),
        encode("WEBP", lossless=True),
        encode("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"),
        encode("TIFF", compression="tiff_lzw"),
        *(cv2.imencode(suffix, PICTURE)[1].tobytes() for suffix in (".png", ".jpg", ".webp", ".bmp", ".gif", ".tif")),
    ],
)
def test_files_of_encoders_have_their_size(data):
    assert header_size(data) == (40, 50)


@pytest.mark.parametrize(
    "data", [b"", b"GIF", b"<svg width='9' height='9'/>", b"%PDF-1.4", b"qoif\0\0\0\x01\0\0\0\x01"]
)
def test_other_files_have_no_size(data):
    assert header_size(data) is None


@pytest.mark.parametrize("data", [png(0, 200, END), b"GIF89a\0\0\xc8\0", b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(8)])
def test_a_size_of_zero_is_none(data):
    assert header_size(data) is None


@pytest.mark.parametrize(
    "chunks",
    [
        (),  # no end
        (b"\x86\x7f\x5f\x49IDATabc", END),  # OpenCV would take 2 GB for this chunk
        (b"\x33\0\0\0IENDcrc!",),
        (END[:-1],),
    ],
)
def test_chunks_of_a_png_lie_within_the_file(chunks):
    assert header_size(png(300, 200, *chunks)) is None


def test_a_large_tile_counts_although_the_picture_is_small():
    tags = [(256, 30), (257, 20), (322, 16000), (323, 17000)]
    entries = b"".join(tag.to_bytes(2, "little") + b"\x03\0\x01\0\0\0" + v.to_bytes(4, "little") for tag, v in tags)
    assert header_size(b"II*\0\x08\0\0\0\x04\0" + entries) == (17000, 16000)


def test_of_a_tag_that_comes_twice_the_larger_value_counts():
    tags = [(256, 30), (257, 20), (256, 31), (257, 19)]
    entries = b"".join(tag.to_bytes(2, "big") + b"\0\x04\0\0\0\x01" + v.to_bytes(4, "big") for tag, v in tags)
    assert header_size(b"MM\0*\0\0\0\x08\0\x04" + entries) == (20, 31)


def test_scans_are_counted():
    assert jpeg_scans(encode("JPEG")) == 1
    progressive = encode("JPEG", progressive=True)
    assert 5 < jpeg_scans(progressive) < 15
    last = progressive.rindex(b"\xff\xda")
    assert jpeg_scans(progressive[:-2] + 200 * progressive[last:-2]) == jpeg_scans(progressive) + 200
    assert jpeg_scans(progressive + b"\xff\xda\xff\xda") == jpeg_scans(progressive)  # beyond the end


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_what_opencv_decodes_is_never_larger_than_the_header_says(kind):
    data, rng = encode(kind), np.random.default_rng(1)
    decoded = 0
    for _ in range(300):
        changed = bytearray(data)
        for at in rng.integers(0, min(len(data), 120), 3):
            changed[at] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        size = header_size(bytes(changed))
        if size is None or size[0] * size[1] > 1_000_000:
            continue
        try:
            picture = cv2.imdecode(np.frombuffer(changed, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            continue
        if picture is not None:
            decoded += 1
            assert picture.shape[0] * picture.shape[1] <= size[0] * size[1]
    assert decoded or kind == "PNG"  # whose header has a checksum
