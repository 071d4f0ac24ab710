"""Sound and faulty segmentations: each is refused, holds nothing, or is drawn the same by every library.

Each runs in a child process with a limit of time and memory: pycocotools hangs on NaN, and reads memory that nobody
wrote where run lengths fall short, so what is refused never reaches it.
"""

import importlib
import importlib.util
from typing import Any, NamedTuple

import numpy as np
import pytest

from yolact.data.annotations import ImageRecord, parse_segmentation
from yolact.data.masks import IDENTITY, draw_masks
from yolact.errors import DatasetError

HEIGHT, WIDTH = 20, 30
TOTAL = HEIGHT * WIDTH
IMAGE = ImageRecord(id=1, file_name="a.png", height=HEIGHT, width=WIDTH)
NAN, INF = float("nan"), float("inf")
ENGINES = [name for name in ("pycocotools", "hotcoco") if importlib.util.find_spec(name)]


class Input(NamedTuple):
    """One segmentation, and how many pixels it covers; None where it is refused."""

    name: str
    value: Any
    pixels: int | None


def rle(counts: Any, height: int = HEIGHT, width: int = WIDTH) -> dict[str, Any]:
    return {"size": [height, width], "counts": counts}


def circle(points: int) -> list[float]:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack((15 + 9 * np.cos(angles), 10 + 9 * np.sin(angles)), axis=1).round(2).ravel().tolist()


TRIANGLE = [2, 2, 22, 2, 2, 12]
SQUARE = [5, 5, 15, 5, 15, 15, 5, 15]
# A compressed count has 5 bits a character: 45 is "]1", 10 is ":", 545 is "Qa0".
INPUTS = [
    Input("run lengths", rle([45, 10, 545]), 10),
    Input("compressed run lengths", rle("]1:Qa0"), 10),
    Input("run lengths from the first pixel", rle([0, 100, 500]), 100),
    Input("run lengths to the last pixel", rle([500, 100]), 100),
    Input("all pixels", rle([0, TOTAL]), TOTAL),
    Input("runs of nothing between", rle([45, 5, 0, 5, 545]), 10),
    Input("no pixel", rle([TOTAL]), 0),
    Input("runs that fall short", rle([45, 10]), None),
    Input("runs that go on too long", rle([45, 10, 546]), None),
    Input("runs below zero", rle([45, -10, 565]), None),
    Input("no runs", rle([]), None),
    Input("compressed to nothing", rle(""), None),
    Input("compressed, cut off", rle("]1:a"), None),
    Input("compressed, of other characters", rle("\x01\x7f\xff"), None),
    Input("compressed, of huge numbers", rle("oooooooooo0"), None),
    Input("fractions of runs", rle([45.5, 10, 544.5]), None),
    Input("huge runs", rle([2**31, 2**31, 2**32 - 1]), None),
    Input("sides swapped", rle([45, 10, 545], WIDTH, HEIGHT), None),
    Input("triangle", [TRIANGLE], 100),
    Input("triangle the other way round", [[2, 12, 22, 2, 2, 2]], 100),
    Input("outline that crosses itself", [[5, 5, 15, 15, 15, 5, 5, 15]], 50),
    Input("outline partly outside", [[-6, -4, 20, -4, 20, 10, -6, 10]], 200),
    Input("the same point thrice", [[5, 5, 5, 5, 5, 5]], 0),
    Input("two that overlap", [SQUARE, [10, 10, 20, 10, 20, 20, 10, 20]], 175),
    Input("an empty one beside", [SQUARE, []], 100),
    Input("ten thousand points", [circle(10_000)], 254),
    Input("two points", [[5, 5, 15, 15]], None),
    Input("odd number", [[5, 5, 15, 5, 15, 15, 5]], None),
    Input("NaN", [[5, 5, NAN, 5, 15, 15]], None),
    Input("infinity", [[5, 5, INF, 5, 15, 15]], None),
    Input("a coordinate of 1e9", [[5, 5, 1e9, 5, 15, 15]], None),
]


def draw(item: Input) -> list[np.ndarray] | str:
    """Return the mask, uint8 [H, W], that we draw and those of the libraries, or the error."""
    try:
        segmentation = parse_segmentation({"segmentation": item.value}, "annotations[0]", IMAGE)
    except DatasetError as error:
        return str(error)
    ours = np.zeros((HEIGHT, WIDTH), np.uint8)
    if segmentation is not None:
        [ours] = draw_masks([segmentation], IDENTITY, (HEIGHT, WIDTH))
    return [ours, *(reference(item.value, engine) for engine in ENGINES)]


def reference(value: Any, engine: str) -> np.ndarray:
    library = importlib.import_module(f"{engine}.mask") if engine == "pycocotools" else hotcoco_mask()
    if isinstance(value, list):
        polygons = [polygon for polygon in value if polygon]
        return library.decode(library.merge(library.frPyObjects(polygons, HEIGHT, WIDTH)))
    if isinstance(value["counts"], list):
        value = library.frPyObjects(value, HEIGHT, WIDTH)
    return library.decode(value)


def hotcoco_mask() -> Any:
    return importlib.import_module("hotcoco").mask


@pytest.fixture(scope="module")
def drawn(in_child) -> dict[str, Any]:
    return dict(zip((item.name for item in INPUTS), in_child(draw, INPUTS), strict=True))


@pytest.mark.parametrize("item", INPUTS, ids=[item.name for item in INPUTS])
def test_it_is_refused_or_the_same_everywhere(drawn: dict[str, Any], item: Input) -> None:
    assert drawn[item.name].fault == ""
    found = drawn[item.name].value
    if item.pixels is None:
        assert isinstance(found, str), "not refused"
        assert "annotations[0]" in found
        return
    assert not isinstance(found, str), found
    assert len(found) == 1 + len(ENGINES)
    assert int(found[0].sum()) == pytest.approx(item.pixels, abs=2)  # outlines are rounded to fifths of a pixel
    for mask in found[1:]:
        np.testing.assert_array_equal(mask, found[0])
