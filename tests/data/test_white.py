import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import HEIGHT, WIDTH
from tests.data.made_images import make_png, make_tiff
from yolact.data import white
from yolact.data.dataset import CocoDataset
from yolact.data.loader import EvaluationSet, Piece
from yolact.data.samples import Colours
from yolact.data.white import choose_white
from yolact.structures import Resize

RAMP = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)


@pytest.fixture
def dataset(write_set: Callable[..., tuple[Path, Path]]) -> CocoDataset:
    """Three images of 8 bits."""
    return CocoDataset(*write_set())


def put(dataset: CocoDataset, *images: bytes) -> None:
    for record, data in zip(dataset.images, images, strict=False):
        (dataset.image_folder / record.file_name).write_bytes(data)


def deep(largest: int) -> bytes:
    return make_png(np.round(RAMP * largest).astype(np.uint16))


def test_a_data_set_of_bytes_has_none(dataset: CocoDataset) -> None:
    assert choose_white(dataset) is None
    put(dataset, b"damaged", make_tiff(np.zeros((HEIGHT, WIDTH, 7), np.uint8)))
    assert choose_white(dataset) is None


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ([deep(4095)], 4095),
        ([deep(1200), deep(3900)], 4095),  # one is darker
        ([deep(4095), deep(65535)], "image"),
        ([make_tiff(RAMP.astype(np.float32)), make_tiff(RAMP / 2)], 1),
        ([make_tiff(RAMP * 30), make_tiff(RAMP * 40)], 40),
        ([make_tiff(RAMP), deep(4095)], "image"),
        ([make_tiff(np.round(RAMP * 100).astype(np.int8))], None),
        (
            [make_png(np.dstack((np.round(RAMP * 4000), RAMP * 0 + 65535)).astype(np.uint16))],
            4095,
        ),  # alpha is no colour
        ([deep(4095), b"damaged"], 4095),
    ],
)
def test_the_range_of_the_images_decides(
    dataset: CocoDataset, images: list[bytes], expected: object, caplog: pytest.LogCaptureFixture
) -> None:
    put(dataset, *images)
    assert choose_white(dataset) == expected
    if expected == "image":
        assert "data.white=image, by a look at 2 images of more than 8 bits" in caplog.text


def test_few_are_looked_at_evenly_and_of_large_ones_the_middle(
    dataset: CocoDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(dataset, deep(4095), deep(65535), deep(4095))
    monkeypatch.setattr(white, "MAX_IMAGES", 2)  # the first and the third
    assert choose_white(dataset) == 4095
    monkeypatch.setattr(white, "MAX_HEADERS", 1)
    assert choose_white(dataset) == 4095
    pytest.importorskip("rasterio", reason="reads images by parts")
    monkeypatch.setattr(white, "MAX_PIXELS", 1000)
    monkeypatch.setattr(white, "MIDDLE", 10)
    put(dataset, make_png(np.where(np.abs(RAMP - 0.5) < 0.4, 300, 9000).astype(np.uint16)))
    assert choose_white(dataset) == 511
    monkeypatch.setitem(sys.modules, "rasterio", None)
    assert choose_white(dataset) is None


def test_all_ways_to_the_network_have_the_same_white(dataset: CocoDataset) -> None:
    put(dataset, deep(1000))
    dataset.colours = Colours(white=2000.0)
    samples = EvaluationSet(dataset, Resize((HEIGHT, WIDTH)))
    assert int(samples[Piece(0)].max()) == 128
    assert int(samples[Piece(0, (0, 0, WIDTH, HEIGHT))].max()) == 128
    assert dataset.load_image(0).max() == 128
