from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from yolact.data.annotations import ImageRecord, parse_segmentation
from yolact.data.segmentations import IDENTITY, Rle, crop_rle, decode_counts, draw_masks


def random_mask(seed: int) -> np.ndarray:
    """Blocks of random size, so that runs are long and short and some masks are empty or full."""
    rng = np.random.default_rng(seed)
    height, width, block = rng.integers(1, 90, 3)
    coarse = rng.random((height // block + 1, width // block + 1)) < rng.choice([0, 0.1, 0.5, 1])
    return np.kron(coarse, np.ones((block, block)))[:height, :width].astype(np.uint8)


def rle_of(mask: np.ndarray) -> Rle:
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"].decode()
    return Rle(*mask.shape, decode_counts(counts).astype(np.uint32))


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[np.ndarray]:
    return [np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)]


def scale_and_shift(scale: float, x: float, y: float) -> np.ndarray:
    return np.array([[scale, 0, x], [0, scale, y]], np.float64)


def circle(points: int) -> list[float]:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack((15 + 9 * np.cos(angles), 10 + 9 * np.sin(angles)), axis=1).round(2).ravel().tolist()


HEIGHT, WIDTH = 20, 30
SQUARE = [5, 5, 15, 5, 15, 15, 5, 15]
# Segmentations and the pixels that they cover. A compressed count has 5 bits a character: "]1" is 45, "Qa0" is 545.
SEGMENTATIONS: dict[str, tuple[Any, int]] = {
    "run lengths": ([45, 10, 545], 10),
    "compressed run lengths": ("]1:Qa0", 10),
    "run lengths from the first pixel": ([0, 100, 500], 100),
    "run lengths to the last pixel": ([500, 100], 100),
    "all pixels": ([0, 600], 600),
    "runs of nothing between": ([45, 5, 0, 5, 545], 10),
    "triangle": ([[2, 2, 22, 2, 2, 12]], 100),
    "triangle the other way round": ([[2, 12, 22, 2, 2, 2]], 100),
    "outline that crosses itself": ([[5, 5, 15, 15, 15, 5, 5, 15]], 50),
    "outline partly outside": ([[-6, -4, 20, -4, 20, 10, -6, 10]], 200),
    "the same point thrice": ([[5, 5, 5, 5, 5, 5]], 0),
    "two apart": ([[0, 0, 2, 0, 2, 2, 0, 2], [4, 0, 6, 0, 6, 2, 4, 2]], 8),
    "two that overlap": ([SQUARE, [10, 10, 20, 10, 20, 20, 10, 20]], 175),
    "ten thousand points": ([circle(10_000)], 254),
}


@pytest.mark.parametrize("engine", ["pycocotools", "hotcoco"])
@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_a_mask_is_that_of_every_library(name: str, engine: str) -> None:
    library: Any = coco_mask if engine == "pycocotools" else pytest.importorskip("hotcoco").mask
    value, pixels = SEGMENTATIONS[name]
    if not isinstance(value, list) or isinstance(value[0], int):
        value = {"size": [HEIGHT, WIDTH], "counts": value}
    segmentation = parse_segmentation({"segmentation": value}, "", ImageRecord(1, "a.png", HEIGHT, WIDTH))
    assert segmentation is not None
    [mask] = draw_masks([segmentation], IDENTITY, (HEIGHT, WIDTH))
    assert int(mask.sum()) == pytest.approx(pixels, abs=2)  # outlines are rounded to fifths of a pixel
    if isinstance(value, list):
        value = library.merge(library.frPyObjects(value, HEIGHT, WIDTH))
    elif isinstance(value["counts"], list):
        value = library.frPyObjects(value, HEIGHT, WIDTH)
    np.testing.assert_array_equal(library.decode(value), mask)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_rle_decodes_as_pycocotools_encodes(seed: int) -> None:
    mask = random_mask(seed)
    rle = rle_of(mask)
    assert rle.runs.sum() == mask.size
    crop, left, top = crop_rle(rle)
    restored = np.zeros_like(mask)
    restored[top : top + crop.shape[0], left : left + crop.shape[1]] = crop // 255
    np.testing.assert_array_equal(restored, mask)
    np.testing.assert_array_equal(draw_masks([rle], IDENTITY, mask.shape), [mask])


@pytest.mark.parametrize("kind", ["polygon", "rle"])
def test_twice_the_size_and_moved(kind: str) -> None:
    source = np.zeros((10, 10), np.uint8)
    source[2:4, 1:6] = 1
    segmentation = rectangle(1, 2, 6, 4) if kind == "polygon" else rle_of(source)
    [mask] = draw_masks([segmentation], scale_and_shift(2, 3, -1), (20, 20))
    expected = np.zeros((20, 20), np.uint8)
    expected[3:7, 5:15] = 1
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("kind", ["polygon", "rle"])
def test_what_lies_outside_is_cut_off(kind: str) -> None:
    source = np.zeros((30, 30), np.uint8)
    source[5:25, 5:25] = 1
    segmentation = rectangle(5, 5, 25, 25) if kind == "polygon" else rle_of(source)
    [partly, outside] = (
        draw_masks([segmentation], scale_and_shift(1, *offset), (10, 12))[0] for offset in ((-20, -10), (-40, 0))
    )
    expected = np.zeros((10, 12), np.uint8)
    expected[:, :5] = 1
    np.testing.assert_array_equal(partly, expected)
    assert not outside.any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_polygons_across_the_border_are_those_of_a_larger_canvas(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-40, 90, (int(rng.integers(3, 9)), 2)).round(2).astype(np.float32)
    [mask] = draw_masks([[points]], IDENTITY, (50, 50))
    [larger] = draw_masks([[points]], scale_and_shift(1, 60, 60), (170, 170))
    # pycocotools rounds vertices to fifths of a pixel, below zero in the other direction.
    assert (mask != larger[60:110, 60:110]).sum() <= 80


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_rle_and_polygon_of_a_rectangle_agree_under_any_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x0, y0 = rng.integers(0, 30, 2)
    x1, y1 = x0 + rng.integers(5, 30), y0 + rng.integers(5, 30)
    source = np.zeros((60, 60), np.uint8)
    source[y0:y1, x0:x1] = 1
    scale_x, scale_y = rng.uniform(0.5, 3, 2) * rng.choice([-1, 1], 2)
    matrix = np.array([[scale_x, 0, rng.uniform(0, 80)], [0, scale_y, rng.uniform(0, 80)]])
    if rng.random() < 0.5:
        matrix = matrix[::-1].copy()
    a, b = draw_masks([rle_of(source), rectangle(x0, y0, x1, y1)], matrix, (80, 80))
    # Both edges lie within a pixel of the true one.
    assert np.abs(a.any(axis=0).sum(dtype=int) - b.any(axis=0).sum(dtype=int)) <= 2
    assert np.abs(a.any(axis=1).sum(dtype=int) - b.any(axis=1).sum(dtype=int)) <= 2
    assert (a != b).sum() <= 2 * (80 + 80)
