"""Kinds of samples, each with the pixels that a person expects."""

import io
import re
import struct
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.made_images import as_stored, chunk, make_png, make_tiff
from yolact.data.images import decode
from yolact.data.samples import Colours
from yolact.data.windows import open_image
from yolact.errors import DatasetError, UserError

RAMP = np.array([[0, 51, 102], [153, 204, 255]])  # fifths of 255
COLOURS = np.dstack((RAMP, RAMP[::-1], RAMP[:, ::-1]))  # RGB
BGR = COLOURS[..., ::-1].tolist()
OPACITY = np.array([[0, 255, 255], [255, 255, 51]])  # of which 51 is a fifth
FLAT = [[[255, 255, 255], [51, 204, 51], [0, 255, 102]], [[255, 0, 153], [204, 51, 204], [235, 224, 255]]]


def with_alpha(values: np.ndarray) -> np.ndarray:
    return np.dstack((values, OPACITY))


def pillow(kind: str, image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


RGBA = with_alpha(COLOURS).astype(np.uint8)
PREMULTIPLIED = np.dstack((COLOURS * OPACITY[..., None] // 255, OPACITY)).astype(np.uint8)
KEYED = np.where(OPACITY == 0, 7, RAMP * 257).astype(np.uint16)
GRAY_FLAT = [[255, 51, 102], [153, 204, 255]]

GRAYS = {  # each has the fifths of its range
    "PNG of 12 bits in 16": make_png((RAMP * 16 + RAMP // 16).astype(np.uint16)),
    "PNG of 16 bits": make_png((RAMP * 257).astype(np.uint16)),
    "TIFF of 12 bits in 16": make_tiff((RAMP * 16 + RAMP // 16).astype(np.uint16)),
    "TIFF of int16": make_tiff((RAMP * 128 + RAMP // 2).astype(np.int16)),
    "TIFF of int8": make_tiff(np.round(RAMP / 255 * 127).astype(np.int8)),
    "TIFF of uint32": make_tiff((RAMP * 16843009).astype(np.uint32)),
    "TIFF of int32": make_tiff((RAMP * 257).astype(np.int32)),
    "TIFF of fractions": make_tiff((RAMP / 255).astype(np.float32)),
    "TIFF of float64 up to 7": make_tiff(RAMP / 255 * 7),
    "white TIFF of 16 bits": make_tiff((65535 - RAMP * 257).astype(np.uint16), colours=0),
    "PGM whose white is 5": b"P5 3 2 5\n" + bytes((RAMP // 51).ravel().tolist()),
    "PGM of 16 bits": cv2.imencode(".pgm", (RAMP * 257).astype(np.uint16))[1].tobytes(),
}
COLOURED = {
    "PNG of 16 bits": make_png((COLOURS * 257).astype(np.uint16)),
    "TIFF of 12 bits in 16": make_tiff((COLOURS * 16 + COLOURS // 16).astype(np.uint16)),
    "TIFF of fractions": make_tiff((COLOURS / 255).astype(np.float32)),
    "TIFF of uint32": make_tiff((COLOURS * 16843009).astype(np.uint32)),
    "opaque PNG": make_png(np.dstack((COLOURS, np.full_like(RAMP, 255))).astype(np.uint8)),
    "opaque WebP": pillow("WEBP", Image.fromarray(COLOURS.astype(np.uint8)), lossless=True, exact=True),
    "opaque TIFF": make_tiff(np.dstack((COLOURS, np.full_like(RAMP, 255))).astype(np.uint8), extra=(2,)),
    "PPM": cv2.imencode(".ppm", COLOURS[..., ::-1].astype(np.uint8))[1].tobytes(),
}
BY_GDAL = {  # OpenCV takes one band, or a wrong order, without a word
    "three bands without a name": make_tiff(COLOURS.astype(np.uint8), colours=1),
    "three bands of 16 bits without a name": make_tiff((COLOURS * 257).astype(np.uint16), colours=1, extra=(0, 0)),
    "16 bits in planes": make_tiff((COLOURS * 257).astype(np.uint16), planar=True),
    "int8 in colours": make_tiff(np.round(COLOURS / 255 * 127).astype(np.int8)),
}
CUT_OUT = {
    "PNG": make_png(RGBA),
    "PNG of 16 bits": make_png(RGBA.astype(np.uint16) * 257),
    "WebP": pillow("WEBP", Image.fromarray(RGBA), lossless=True, exact=True),
    "TIFF": make_tiff(RGBA, extra=(2,)),
    "TIFF of 16 bits": make_tiff(RGBA.astype(np.uint16) * 257, extra=(2,)),
    "TIFF of fractions": make_tiff((RGBA / 255).astype(np.float32), extra=(2,)),
    "premultiplied TIFF": make_tiff(PREMULTIPLIED, extra=(1,)),
    "premultiplied TIFF of 16 bits": make_tiff(PREMULTIPLIED.astype(np.uint16) * 257, extra=(1,)),
    "moving PNG": pillow("PNG", Image.fromarray(RGBA), save_all=True, append_images=[Image.fromarray(RGBA[::-1])]),
}
PALETTE = Image.fromarray(RAMP.astype(np.uint8)).convert("P")
GRAY_CUT_OUT = {
    "PNG": make_png(with_alpha(RAMP).astype(np.uint8)),
    "PNG of 16 bits": make_png((with_alpha(RAMP) * 257).astype(np.uint16)),
    "PNG of 16 bits with a transparent value": make_png(KEYED, chunk(b"tRNS", (7).to_bytes(2, "big"))),
    "palette with a transparent index": pillow("PNG", PALETTE, transparency=0),
    "GIF with a transparent index": pillow("GIF", PALETTE, transparency=0),
}


def pixels(data: bytes, path: Path, **colours: Any) -> np.ndarray:
    """Return what is decoded, after a look at whether windows, where they can be read, give the same."""
    path.write_bytes(data)
    found = decode(data, path, None, Colours(**colours)).pixels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolact.data.windows.MAX_PIXELS", 0)
        try:
            parts = open_image(path, None, Colours(**colours))
        except (UserError, DatasetError) as error:
            if not re.search(r"needs the package rasterio|cannot be read in parts", str(error)):
                raise
            return found
    height, width = parts.image_size
    views = [(0, 0, width, height), (0, 0, 1, height), (1, 0, width, 1)]
    for x0, y0, x1, y1 in views:
        part = parts.read((x0, y0, x1, y1)).astype(int)
        np.testing.assert_allclose(part, found[y0:y1, x0:x1], atol=1)
    return found


@pytest.mark.parametrize("kind", GRAYS)
def test_the_whole_range_of_gray_samples_is_used(kind: str, tmp_path: Path) -> None:
    found = pixels(GRAYS[kind], tmp_path / "a")
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found.astype(int), np.dstack([RAMP] * 3), atol=1 if "int8" in kind else 0)


@pytest.mark.parametrize("kind", COLOURED)
def test_colours_keep_their_order_and_range(kind: str, tmp_path: Path) -> None:
    assert pixels(COLOURED[kind], tmp_path / "a").tolist() == BGR


@pytest.mark.parametrize("kind", BY_GDAL)
def test_what_opencv_misreads_is_read_by_gdal(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rasterio", None)
        with pytest.raises(
            DatasetError, match=r"needs the package rasterio .*: run `pip install rasterio`, or save it"
        ):
            decode(BY_GDAL[kind], Path("a.tif"), None, Colours())
    pytest.importorskip("rasterio", reason="reads such files")
    np.testing.assert_allclose(pixels(BY_GDAL[kind], tmp_path / "a").astype(int), BGR, atol=1 if "int8" in kind else 0)


@pytest.mark.parametrize("kind", CUT_OUT)
def test_what_is_cut_out_lies_on_the_background(kind: str, tmp_path: Path) -> None:
    np.testing.assert_allclose(pixels(CUT_OUT[kind], tmp_path / "a").astype(int), FLAT, atol=1)
    black = pixels(CUT_OUT[kind], tmp_path / "a", background=(0, 0, 0))
    assert black[0].tolist() == [[0, 0, 0], FLAT[0][1], FLAT[0][2]]
    remarks = decode(CUT_OUT[kind], tmp_path / "a", None, Colours()).remarks
    assert remarks["transparent-picture"].startswith("33.3 % of its pixels")


@pytest.mark.parametrize("kind", GRAY_CUT_OUT)
def test_what_is_cut_out_of_gray_lies_on_the_background(kind: str, tmp_path: Path) -> None:
    found = pixels(GRAY_CUT_OUT[kind], tmp_path / "a")
    np.testing.assert_allclose(found[..., 0].astype(int), GRAY_FLAT, atol=1)
    assert (found == found[..., :1]).all()


def test_jpeg_2000_of_12_bits() -> None:
    large = np.kron(RAMP * 16 + RAMP // 16, np.ones((64, 64))).astype(np.uint16)  # smaller ones it does not encode
    data = cv2.imencode(".jp2", large)[1].tobytes()
    found = decode(data, Path("a"), None, Colours()).pixels[32::64, 32::64, 0]
    np.testing.assert_allclose(found.astype(int), RAMP, atol=1)


def test_one_white_for_all_images(tmp_path: Path) -> None:
    dark = make_tiff((RAMP * 4).astype(np.uint16))
    assert pixels(dark, tmp_path / "a", white=4080.0)[..., 0].tolist() == [[0, 13, 26], [38, 51, 64]]
    assert pixels(dark, tmp_path / "a", white="image")[1, 2, 0] == 254  # 1020 of 1023
    assert pixels(make_tiff(RAMP.astype(np.uint8)), tmp_path / "a", white=4080.0)[..., 0].tolist() == RAMP.tolist()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (make_tiff(np.dstack([RAMP] * 7).astype(np.uint8)), "has 7 bands, but a model takes 3, or 1 of gray"),
        (make_tiff(np.dstack([RAMP] * 5).astype(np.float32)), "has 5 bands"),
        (make_tiff(np.dstack([RAMP] * 4).astype(np.uint8), extra=(0,)), "has 4 bands"),
        (make_tiff(np.dstack([RAMP] * 2).astype(np.uint16), extra=(0,)), r"has 2 bands.*gdal_translate -b`"),
        (make_tiff(np.dstack([RAMP] * 4).astype(np.uint16), colours=5), "has 16 bits of uint a sample.*neither gray"),
        (make_tiff(RAMP.astype(np.uint16), colours=3), "has 16 bits of uint a sample, which are neither gray nor RGB"),
    ],
)
def test_other_bands_are_named(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(data)
    for read in (lambda: decode(data, Path("a.tif"), None, Colours()), lambda: open_image(tmp_path / "a.tif")):
        with pytest.raises(DatasetError, match=reason):
            read()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF", "TIFF", "TIFF of fractions"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_kind_is_turned_as_a_viewer_does(kind: str, orientation: int) -> None:
    shown = np.kron(np.array([[40, 90, 140], [190, 240, 10]], np.uint8), np.ones((32, 32), np.uint8))
    stored = as_stored(shown, orientation)
    if kind.startswith("TIFF"):
        data = make_tiff(stored / np.float32(255) if "fractions" in kind else stored, orientation=orientation)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if kind == "WEBP" else {} if kind == "PNG" else {"quality": 95}
        data = pillow(kind, Image.fromarray(np.dstack([stored] * 3)), exif=exif, **options)
    found = decode(data, Path("a"), None, Colours()).pixels
    assert found.shape == (64, 96, 3)
    np.testing.assert_allclose(found[16::32, 16::32, 0].astype(int), shown[16::32, 16::32], atol=4)
    if orientation >= 5:  # the annotations are of the stored image
        found = decode(data, Path("a"), (96, 64), Colours()).pixels
        np.testing.assert_allclose(found[16::32, 16::32, 0].astype(int), stored[16::32, 16::32], atol=4)


def test_heic_is_read_where_its_package_is(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="an optional extra: pip install pillow-heif")
    large = np.kron(COLOURS, np.ones((32, 32, 1))).astype(np.uint8)
    heif.from_pillow(Image.fromarray(large)).save(tmp_path / "a.heic", quality=-1, chroma=444)
    data = (tmp_path / "a.heic").read_bytes()
    found, remarks = decode(data, tmp_path / "a.heic", (64, 96), Colours())
    np.testing.assert_allclose(found[16::32, 16::32].astype(int), BGR, atol=4)
    assert remarks == {}
    with pytest.raises(DatasetError, match="Cannot decode the image"):
        decode(data[: len(data) // 2], tmp_path / "a.heic", None, Colours())


def test_heic_without_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DatasetError, match=r"is HEIC.*convert it to JPEG or PNG, or run `pip install pillow-heif`"):
        decode(b"\0\0\0\x18ftypheic" + bytes(100), Path("a.heic"), None, Colours())


def test_the_first_frame_is_taken_and_said() -> None:
    first, second = (Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (200, 60))
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        data = pillow(kind, first, save_all=True, append_images=[second])
        found, remarks = decode(data, Path("a"), None, Colours())
        np.testing.assert_allclose(found.astype(int), 200, atol=2)
        assert remarks == {"several-frames": "the first of its frames or pages is taken"}


def test_a_tiff_of_which_opencv_gives_black_or_little_is_refused() -> None:
    planes = make_tiff(np.kron(COLOURS, np.ones((16, 16, 1))).astype(np.uint8), planar=True)
    jpeg_xl = planes.replace(struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 259, 4, 1, 50002))
    copy_first = make_tiff(RAMP, pages=2).replace(
        struct.pack("<HHII", 254, 4, 1, 0), struct.pack("<HHII", 254, 4, 1, 1)
    )
    for data, reason in (
        (planes[:-99], "damaged"),
        (jpeg_xl, "damaged|rasterio"),
        (copy_first, "raw photograph or begins"),
    ):
        with pytest.raises(DatasetError, match=reason):
            decode(data, Path("a"), None, Colours())


def test_damaged_files_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    image, deep = Image.fromarray(noise), noise.astype(np.uint16) * 257
    files = [pillow(kind, image) for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000")]
    files += [make_tiff(deep), make_tiff(noise[..., :2], extra=(2,)), make_tiff(noise / 255), make_png(deep), b""]
    files += [pillow("TIFF", image, compression=name) for name in ("tiff_lzw", "tiff_deflate", "jpeg")]
    found = 0
    for data in files:
        half = bytearray(data)
        half[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
        for changed in (data[: len(data) * 2 // 3], data[:30], bytes(half)):
            try:
                decode(changed, Path("a"), None, Colours())
            except DatasetError:
                found += 1
    assert found > len(files)
    text = capfd.readouterr().err
    assert [line for line in text.splitlines() if "Corrupt JPEG data" not in line] == []
