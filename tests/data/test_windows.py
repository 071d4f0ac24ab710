"""Images that are read by parts, beside the same images decoded whole."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from yolact.data import decoders, windows
from yolact.data.images import read_image
from yolact.data.windows import WholeImage, WindowedImage, layout_of_file, open_image
from yolact.errors import DatasetError, UserError

pytest.importorskip("rasterio", reason="reads images by parts")

SIZE = (150, 210)
VIEWS = [(0, 0, 70, 60), (60, 0, 130, 60), (140, 40, 210, 100), (3, 41, 9, 42), (0, 90, 210, 150), (20, 0, 30, 10)]


@pytest.fixture
def pixels() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    Image.fromarray(pixels[..., ::-1] if pixels.ndim == 3 else pixels).save(path, **options)
    return path


KINDS = {
    "tiles.tif": {"compression": "tiff_deflate", "tiffinfo": {322: 64, 323: 48}},
    "strips.tif": {"compression": "tiff_lzw", "tiffinfo": {278: 7}},
    "plain.tif": {},
    "a.png": {},
    "a.jpg": {"quality": 95},
}


@pytest.mark.parametrize("name", KINDS)
def test_parts_are_those_of_the_whole_image(tmp_path, pixels, name, monkeypatch):
    path = save(tmp_path / name, pixels, **KINDS[name])
    expected = read_image(path)
    monkeypatch.setattr(windows, "MAX_PIXELS", 30_000)  # the image has 31,500
    image = open_image(path, SIZE)
    assert isinstance(image, WindowedImage)
    assert (image.image_size, image.pixels) == (SIZE, None)
    for x0, y0, x1, y1 in [*VIEWS, *reversed(VIEWS)]:
        part = image.read((x0, y0, x1, y1))
        assert part.flags.c_contiguous
        difference = np.abs(part.astype(int) - expected[y0:y1, x0:x1])
        assert difference.max() == 0 or (name == "a.jpg" and difference.mean() < 2)  # two decoders round otherwise
    part[:] = 0  # the caller's own
    assert image.read(VIEWS[0]).any()


def test_where_white_is_zero(tmp_path, pixels):
    import rasterio

    options = {"driver": "GTiff", "count": 1, "dtype": "uint8", "photometric": "MINISWHITE"}
    with rasterio.open(tmp_path / "a.tif", "w", width=210, height=150, **options) as file:
        file.write(pixels[..., 0], 1)
    image = open_image(tmp_path / "a.tif")
    assert isinstance(image, WindowedImage)
    np.testing.assert_array_equal(image.read((0, 0, 210, 150)), read_image(tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", ["gray", "16 bits", "alpha"])
def test_samples_become_colours_as_in_the_whole_image(tmp_path, pixels, kind):
    made = {
        "gray": pixels[..., 0],
        "16 bits": pixels[..., 0].astype(np.uint16) * 257,
        "alpha": np.dstack([pixels, pixels[..., :1]]),
    }[kind]
    path = tmp_path / "a.tif"
    cv2.imwrite(str(path), made)
    image = open_image(path)
    assert isinstance(image, WindowedImage)
    np.testing.assert_allclose(image.read((0, 0, 210, 150)), read_image(path), atol=1)


def test_what_need_not_be_read_by_parts_is_decoded_whole(tmp_path, pixels, monkeypatch):
    for name in ("a.jpg", "a.png", "a.bmp"):
        assert isinstance(open_image(save(tmp_path / name, pixels)), WholeImage)
    Image.fromarray(pixels).convert("P").save(tmp_path / "palette.tif")
    assert isinstance(open_image(tmp_path / "palette.tif"), WholeImage)
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)  # not installed
    image = open_image(save(tmp_path / "a.tif", pixels))
    assert isinstance(image, WholeImage)
    np.testing.assert_array_equal(image.read((5, 6, 70, 80)), pixels[6:80, 5:70])
    np.testing.assert_array_equal(image.pixels, pixels)
    monkeypatch.setattr(windows, "MAX_PIXELS", 1000)
    with pytest.raises(UserError, match=r"needs the package rasterio .*; run `pip install rasterio`"):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "options", "limit", "reason"),
    [
        ("a.jpg", {"progressive": True}, 1000, "rows one after the other"),
        ("a.jpg", {"exif": "turned"}, 1000, "an upright image"),
        ("palette.tif", {}, 1000, "gray or RGB of 8 bits or more, .* not palette in 1 x 8 bits"),
        ("a.png", {}, 20_000, "at most 30,000 pixels"),
        ("one strip.tif", {"compression": "tiff_lzw", "tiffinfo": {278: 150}}, 20_000, "tiles or strips"),
    ],
)
def test_what_cannot_be_read_by_parts_is_refused(tmp_path, pixels, name, options, limit, reason, monkeypatch):
    image = Image.fromarray(pixels[..., ::-1])
    if options.get("exif"):
        exif = Image.Exif()
        exif[274] = 6
        options = {"exif": exif}
    (image.convert("P") if "palette" in name else image).save(tmp_path / name, **options)
    monkeypatch.setattr(windows, "MAX_PIXELS", limit)
    monkeypatch.setattr(windows, "MAX_BLOCK_PIXELS", 31_000)
    if "at most" in reason:
        monkeypatch.setattr(windows, "MAX_WINDOWED_PIXELS", 30_000)
    with pytest.raises(DatasetError, match=f"cannot be read in parts.*{reason}.*save it as an RGB TIFF in tiles"):
        open_image(tmp_path / name)


def test_a_file_that_is_cut_off_is_told_of_where_it_ends(tmp_path, pixels):
    path = save(tmp_path / "a.tif", np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DatasetError, match=r"Cannot decode .*a\.tif"):
        open_image(path).overview(70)


def test_sizes_must_be_those_of_the_annotations(tmp_path, pixels):
    path = save(tmp_path / "a.tif", pixels)
    with pytest.raises(DatasetError, match=r"is 210 x 150 pixels .* the annotation file says 150 x 210"):
        open_image(path, (210, 150))


def test_the_limit_of_what_is_decoded_whole_names_tiles(tmp_path, pixels, monkeypatch):
    monkeypatch.setattr(decoders, "MAX_PIXELS", 1000)
    with pytest.raises(DatasetError, match=r"more pixels than the limit of 1,000 .* cut it into tiles \(--tiles 640"):
        read_image(save(tmp_path / "a.png", pixels))


@pytest.mark.parametrize("name", ["tiles.tif", "a.png"])
def test_an_overview_is_the_image_made_smaller(tmp_path, pixels, name, monkeypatch):
    path = save(tmp_path / name, pixels, **KINDS[name])
    whole = WholeImage(pixels).overview(70)
    assert whole.shape == (50, 70, 3)
    monkeypatch.setattr(windows, "MAX_PIXELS", 30_000)
    monkeypatch.setattr(windows, "OVERVIEW_ROWS", 21)  # several parts
    reduced = open_image(path).overview(70)
    np.testing.assert_allclose(reduced.astype(int), whole.astype(int), atol=1)
    assert WholeImage(pixels).overview(1000).shape == pixels.shape


def test_headers(tmp_path, pixels):
    layout = layout_of_file(save(tmp_path / "a.png", pixels))
    assert (layout.kind, layout.image_size, layout.bands, layout.bits, layout.alpha) == ("PNG", SIZE, 3, 8, "")
    assert layout_of_file(tmp_path / "absent.png") is None
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert layout_of_file(tmp_path / "b.png") is None
    with pytest.raises(DatasetError, match="Cannot decode"):
        open_image(tmp_path / "b.png")


@pytest.mark.parametrize("folder", ["a!b", "a#b?c", "ä ö", "s3:"])
def test_names_mean_nothing_to_gdal(tmp_path, pixels, folder):
    (tmp_path / folder).mkdir()
    path = save(tmp_path / folder / "a.tif", pixels)
    np.testing.assert_array_equal(open_image(path).read((0, 0, 9, 9)), pixels[:9, :9])


def test_no_other_file_is_opened(tmp_path, pixels):
    """A file of GDAL that names others, and one beside the image, are not read."""
    save(tmp_path / "a.tif", pixels)
    source = f"<SourceFilename>{tmp_path / 'a.tif'}</SourceFilename><SourceBand>1</SourceBand>"
    band = f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{source}</SimpleSource></VRTRasterBand>'
    (tmp_path / "b.tif").write_text(f'<VRTDataset rasterXSize="210" rasterYSize="150">{band}</VRTDataset>')
    with pytest.raises(DatasetError, match="Cannot decode"):
        open_image(tmp_path / "b.tif")
    (tmp_path / "a.tif.aux.xml").write_text("<PAMDataset><broken")
    (tmp_path / "a.tif.ovr").write_bytes(b"broken")
    assert open_image(tmp_path / "a.tif").overview(50).shape[:2] == (30, 42)
