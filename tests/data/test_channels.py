"""Images of other than three channels: what is read, warped, coloured and padded."""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import augmented
from tests.data.made_images import make_png, make_tiff
from tests.data.test_decoders import pillow, pixels
from yolact.config.schema import AugmentConfig
from yolact.data.images import decode, read_reduced, read_size
from yolact.data.rendering import FILL, FILL_BAND, prepare_image, render_image
from yolact.data.samples import Colours, by_fours, to_gray
from yolact.data.transforms import Sample, change_colours
from yolact.errors import DatasetError
from yolact.structures import Resize

BANDS = np.random.default_rng(0).integers(0, 256, (6, 5, 7), dtype=np.uint8)
RGBA, GRAY_ALPHA = BANDS[..., :4], BANDS[..., :2]
ALL_BANDS = {
    "TIFF of two bands": (make_tiff(BANDS[..., :2], extra=(0,)), 2),
    "TIFF of gray and alpha": (make_tiff(BANDS[..., :2], extra=(2,)), 2),
    "TIFF of four bands": (make_tiff(RGBA, extra=(0,)), 4),
    "TIFF of RGB and alpha": (make_tiff(RGBA, extra=(2,)), 4),
    "TIFF of RGB with alpha in it": (make_tiff(RGBA, extra=(1,)), 4),
    "TIFF of seven bands without a name": (make_tiff(BANDS, colours=1, extra=(0,) * 6), 7),
    "TIFF in planes": (make_tiff(BANDS, planar=True, extra=(0,) * 4), 7),
    "TIFF where white is zero": (make_tiff(~BANDS, colours=0, extra=(0,) * 6), 7),
    "TIFF of 16 bits": (make_tiff(BANDS.astype(np.uint16) * 257, extra=(0,) * 4), 7),
    "TIFF of fractions": (make_tiff((BANDS / 255).astype(np.float32), extra=(0,) * 4), 7),
    "PNG of RGB and alpha": (make_png(RGBA), 4),
    "PNG of 16 bits": (make_png(RGBA.astype(np.uint16) * 257), 4),
    "PNG of gray and alpha": (make_png(GRAY_ALPHA), 2),
    "PNG of gray and alpha of 16 bits": (make_png(GRAY_ALPHA.astype(np.uint16) * 257), 2),
    "WebP": (pillow("WEBP", Image.fromarray(RGBA), lossless=True, exact=True), 4),
}


@pytest.mark.parametrize("kind", ALL_BANDS)
def test_all_bands_are_read_in_their_order(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="reads such files")
    data, channels = ALL_BANDS[kind]
    white = {"white": 65535.0} if "16 bits" in kind else {}
    assert pixels(data, tmp_path / "a", channels=channels, **white).tolist() == BANDS[..., :channels].tolist()


def test_one_white_is_that_of_all_bands(tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="reads such files")
    deep = np.array([[[0, 100, 200, 400, 1000]]], np.uint16)
    found = pixels(make_tiff(deep, extra=(0, 0)), tmp_path / "a", channels=5, white=500.0)
    assert found.tolist() == [[[0, 51, 102, 204, 255]]]
    assert pixels(make_tiff(deep, extra=(0, 0)), tmp_path / "b", channels=5).tolist() == [[[0, 25, 50, 100, 249]]]


RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)  # whose luminance is 0.299 * 255
HALF = np.dstack([RED, np.full((8, 8), 128, np.uint8)])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (make_png(RED), 76),
        (make_tiff(RED), 76),
        (make_tiff(RED.astype(np.uint16) * 257), 76),
        (pillow("GIF", Image.fromarray(RED)), 76),
        (make_png(RED[..., 0]), 255),
        (make_png(RED[..., 0].astype(np.uint16) * 128), 255),
        (make_png(HALF), 165),  # half of it over white
        (make_png(HALF[..., [1, 3]]), 127),
        (pillow("JPEG", Image.fromarray(RED[..., 0] // 2)), 127),
    ],
)
def test_colours_become_gray_by_their_luminance(data: bytes, expected: int, tmp_path: Path) -> None:
    found = pixels(data, tmp_path / "a", channels=1)
    assert found.shape == (8, 8, 1)
    assert abs(found.astype(int) - expected).max() <= 1


def test_a_reduced_photograph_is_gray_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(pillow("JPEG", Image.fromarray(np.full((64, 64, 3), 90, np.uint8))))
    found, reduction = read_reduced(path, (64, 64), 4, Colours(channels=1))
    assert (found.shape, reduction) == ((16, 16, 1), 4)


@pytest.mark.parametrize(
    ("data", "channels", "found"),
    [
        (make_tiff(RED), 4, "3 bands, but a model takes 4 (model.channels=4)"),
        (make_tiff(RGBA, extra=(0,)), 1, "4 bands, but a model takes 1, or 3 of RGB (model.channels=1)"),
        (make_tiff(BANDS), 3, "7 bands, but a model takes 3, or 1 of gray (model.channels=3)"),
        (make_tiff(RED[..., 0]), 2, "1 band, but"),
        (pillow("JPEG", Image.frombytes("CMYK", (5, 6), RGBA.tobytes())), 4, "3 bands, but"),
        (make_tiff(RGBA, colours=5), 4, "3 bands, but"),  # CMYK
        (pillow("PNG", Image.fromarray(RED).convert("P"), transparency=0), 2, "1 band, but"),
    ],
)
def test_other_bands_are_refused_in_a_sentence(data: bytes, channels: int, found: str) -> None:
    with pytest.raises(DatasetError) as caught:
        decode(data, Path("a.tif"), None, Colours(channels=channels))
    assert f"The image a.tif has {found}" in str(caught.value)
    assert caught.value.kind == "other-bands"


def test_the_size_of_an_image_of_any_bands_is_read(tmp_path: Path) -> None:
    pytest.importorskip("rasterio", reason="reads such files")
    (tmp_path / "a.tif").write_bytes(make_tiff(BANDS, extra=(0,) * 4))
    assert read_size(tmp_path / "a.tif") == (6, 5)
    with pytest.raises(DatasetError, match="is 5 x 6 pixels"):
        read_size(tmp_path / "a.tif", (5, 5))


def test_many_bands_need_rasterio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(DatasetError, match=r"7 x 8 bits.* needs the package rasterio"):
        decode(make_tiff(BANDS), Path("a.tif"), None, Colours(channels=7))


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 9])
def test_every_channel_is_changed_as_one_alone(channels: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 56, channels), dtype=np.uint8)
    colours = cv2.resize(image[..., [0, 0, 0]], (20, 30))
    assert np.array_equal(by_fours(lambda part: cv2.resize(part, (20, 30)), image)[..., 0], colours[..., 0])
    assert np.array_equal(to_gray(image[..., [0, 0, 0]]), image[..., :1])
    prepared = prepare_image(image, Resize((32, 32), pad=True)).numpy()
    assert prepared.shape == (channels, 32, 32)
    assert (prepared[:, 24:] == FILL_BAND).all()
    assert round(sum(FILL) / 3) == FILL_BAND == 115
    augment = AugmentConfig(expand_probability=1, rotate90_probability=0.5)
    for seed in range(6):
        sample = augmented(np.random.default_rng(seed), Sample((40, 56), [], Resize((32, 32))), augment)
        whole = render_image(image, sample).numpy()
        alone = [render_image(image[..., [band]], sample).numpy()[0] for band in range(channels)]
        assert np.abs(whole.astype(int) - alone).max() <= 4 * (channels == 2)  # which OpenCV warps by coarser weights


def test_brightness_and_contrast_alone_change_what_has_no_colours() -> None:
    image, change = np.array([[[0, 100, 200, 250]]], np.uint8), {"saturation": 0.5, "hue": 18.0}
    options: dict[str, Any] = {"brightness": 10.0, "contrast": 0.5, "contrast_first": False, **change}
    assert change_colours(image, **options).tolist() == [[[5, 55, 105, 130]]]
    assert change_colours(image[..., :1], **change).tolist() == [[[0]]]
