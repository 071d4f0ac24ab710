import struct
import zlib

import cv2
import numpy as np
import pytest

from yolact.data.convert.numbered import decode_values, foreground, read_numbers, read_values
from yolact.errors import DatasetError

NUMBERS = np.array([[0, 1, 2, 3, 3], [0, 0, 1, 2, 1], [3, 3, 3, 0, 0]], np.uint8)


def png_with_palette(indices, bits, transparent=False):
    """Write a PNG by hand whose palette has one colour only, so that no reader of colours can tell objects apart."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = indices.shape
    rows = b""
    for row in indices:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)),
            chunk(b"PLTE", bytes([9, 9, 9]) * 2**bits),
            chunk(b"tRNS", b"\0\x80") if transparent else b"",
            chunk(b"IDAT", zlib.compress(rows)),
            chunk(b"IEND", b""),
        )
    )


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_palette_gives_its_indices_whatever_its_colours(tmp_path, bits, transparent):
    path = tmp_path / "a.png"
    path.write_bytes(png_with_palette(NUMBERS, bits, transparent))
    found = read_numbers(path)
    # Of fewer than 8 bits, the decoder scales gray values, which leaves the objects as they are.
    np.testing.assert_array_equal(found, NUMBERS * (255 // (2**bits - 1)))


def test_a_palette_as_pillow_reads_it(tmp_path):
    image = pytest.importorskip("PIL.Image")
    indices = np.random.default_rng(0).integers(0, 256, (31, 45), np.uint8)
    picture = image.fromarray(indices)
    picture.putpalette(bytes(range(256)) * 3)
    picture.save(tmp_path / "a.png")
    assert image.open(tmp_path / "a.png").mode == "P"
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.png"), indices)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_gray_of_8_and_16_bits(tmp_path, name):
    for numbers in [NUMBERS] if name == "a.bmp" else [NUMBERS, NUMBERS.astype(np.uint16) * 20_001]:
        cv2.imwrite(str(tmp_path / name), numbers)
        np.testing.assert_array_equal(read_numbers(tmp_path / name), numbers)


def test_gray_in_three_or_four_channels(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([NUMBERS] * 3))
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.png"), NUMBERS)
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack([NUMBERS] * 3 + [np.full_like(NUMBERS, 255)]))
    np.testing.assert_array_equal(read_numbers(tmp_path / "a.png"), NUMBERS)
    np.testing.assert_array_equal(foreground(read_values(tmp_path / "a.png")), NUMBERS > 0)


def test_what_is_no_mask_of_numbers(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.dstack([NUMBERS, NUMBERS, NUMBERS // 2]))
    with pytest.raises(DatasetError, match="has colours"):
        read_numbers(path)
    np.testing.assert_array_equal(foreground(read_values(path)), NUMBERS > 0)
    cv2.imwrite(str(tmp_path / "a.tif"), NUMBERS.astype(np.float32) / 2)
    with pytest.raises(DatasetError, match="float32 values"):
        read_numbers(tmp_path / "a.tif")
    cv2.imwrite(str(tmp_path / "a.tif"), NUMBERS.astype(np.int32) - 1)
    with pytest.raises(DatasetError, match=r"int32 values from -1"):
        read_numbers(tmp_path / "a.tif")
    with pytest.raises(DatasetError, match="Cannot read the mask"):
        read_numbers(tmp_path / "b.png")


def test_damaged_files(tmp_path):
    path = tmp_path / "a.png"
    whole = png_with_palette(NUMBERS, 8)
    huge = bytearray(whole)
    huge[16:24] = struct.pack(">II", 100_000, 100_000)
    for data, expected in ((b"", "no picture"), (b"text", "no picture"), (bytes(huge), "more than the limit")):
        path.write_bytes(data)
        with pytest.raises(DatasetError, match=expected):
            read_numbers(path)
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        try:
            found = read_numbers(path)
        except DatasetError:
            continue
        assert found.shape == NUMBERS.shape  # only the end marker is missing
        np.testing.assert_array_equal(found, NUMBERS)


@pytest.mark.parametrize("with_palette", [False, True])
def test_a_chunk_that_claims_gigabytes_takes_no_memory(in_child, with_palette):
    good = cv2.imencode(".png", np.ones((4, 5, 3), np.uint8))[1].tobytes()
    bad = good[:33] + b"\x7f\xff\xff\xf0" + good[37:]

    def decode(data):
        with pytest.raises(DatasetError, match="damaged"):
            decode_values(data, "a.png", with_palette=with_palette)

    assert [ended.fault for ended in in_child(decode, [bad])] == [""]


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_pictures_beyond_the_limit_of_pixels(suffix):
    data = bytearray(cv2.imencode(suffix, np.ones((4, 5, 3), np.uint8))[1].tobytes())
    place, order = (16, ">II") if suffix == ".png" else (18, "<ii")
    struct.pack_into(order, data, place, 30_000, 30_000)
    with pytest.raises(DatasetError, match=r"a\.png: it has more than the limit of 100,000,000 pixels"):
        decode_values(bytes(data), "a.png")
