"""Anchor recall by hand and against all anchors; the search finds sizes that meet more objects."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tools.inspect_sets import make_clean
from yolact.config import AnchorConfig, Config, ModelConfig, override_config
from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.models.heads import make_anchors
from yolact.ops.boxes import box_iou
from yolact.structures import Resize
from yolact.tools.inspect.anchor_fit import (
    Option,
    best_ious,
    fit_anchors,
    histogram,
    input_boxes,
    level_sizes,
    measure,
    search,
    suggest,
    with_anchors,
)
from yolact.tools.inspect.input_fit import InputFit
from yolact.tools.inspect.inspection import fit_lines, sources_of
from yolact.tools.inspect.reading import InspectedSet

REST = {
    "input": InputFit("stretch", (64, 64), 1.0, 0.0, 8, 20.0, 0.0)._asdict(),
    "masks": {"objects": 9, "vanished": 0},
}
# At 64 pixels the levels have 8, 4, 2, 1 and 1 cells a side; an anchor of 16 pixels stands at 4, 12, 20, ...
SMALL = AnchorConfig(scales=((16.0,), (60.0,), (60.0,), (60.0,), (60.0,)), aspect_ratios=(1.0,))


def random_boxes(number: int, size: int, smallest: float, largest: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(smallest), np.log(largest), (number, 2)))
    corners = rng.uniform(0, size - sides)
    return np.concatenate((corners, corners + sides), axis=1)


def test_overlap_with_the_best_anchor_by_hand() -> None:
    boxes = {
        (12, 12, 28, 28): 1.0,  # the anchor itself
        (14, 14, 30, 30): 14 * 14 / (2 * 256 - 14 * 14),  # two pixels off
        (16, 16, 24, 24): 64 / 256,  # inside
        (12, 12, 28, 20): 128 / 256,  # half of it
        (0, 0, 64, 64): 60 * 60 / 64**2,  # met by the large ones
    }
    model = ModelConfig(image_size=64, anchors=SMALL)
    np.testing.assert_allclose(best_ious(np.array(list(boxes), float), model), list(boxes.values()))
    assert measure(np.array(list(boxes)[:4], float), model, 0.5).recall == 3 / 4
    assert measure(np.array(list(boxes)[:4], float), model, 0.6).recall == 2 / 4
    assert measure(np.zeros((0, 4)), model, 0.5)[3:] == (f"model.anchors.scales=[[16]{',[60]' * 4}]", 86, 0)


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("size", [64, 150])
def test_the_nearest_anchor_of_each_shape_is_the_best_of_all(size: int, square: bool) -> None:
    config = AnchorConfig(scales=((9.0, 12.0), (20.0, 30.0), (40.0, 50.0), (60.0, 80.0), (90.0, 99.0)), square=square)
    boxes = random_boxes(300, size, 2, size)
    levels = level_sizes((size, size), (3, 7))
    anchors = make_anchors((size, size), levels, config.scales, config.aspect_ratios, square)
    expected = box_iou(torch.from_numpy(boxes / size).float(), anchors).amax(1)
    np.testing.assert_allclose(
        best_ious(boxes, ModelConfig(image_size=size, anchors=config)), expected.numpy(), atol=1e-5
    )


def test_boxes_are_stretched_to_the_input_and_crowds_left_out() -> None:
    image = ImageRecord(id=1, file_name="a.jpg", height=50, width=100)
    boxes = [(10.0, 10.0, 30.0, 20.0), (0.0, 0.0, 50.0, 50.0), (90.0, 40.0, 120.0, 60.0)]
    objects = [ObjectRecord(0, box, box[0] == 0, [np.zeros((3, 2), np.float32)], 1.0, 1) for box in boxes]
    np.testing.assert_allclose(
        input_boxes(objects, image, Resize((200, 200))), [[20, 40, 60, 80], [180, 160, 200, 200]]
    )


def test_the_search_finds_sizes_that_meet_more_objects() -> None:
    boxes, model = random_boxes(400, 128, 8, 20), ModelConfig(image_size=128)  # its anchors: 24 pixels and more
    now, options = measure(boxes, model, 0.5), search(boxes, model, 0.5)
    assert now.recall < 0.3
    for number, found in enumerate(options, start=1):
        assert found.recall > now.recall + 0.25
        config = override_config(Config(model=model), [found.override])  # it can be pasted
        assert measure(boxes, config.model, 0.5) == found
        assert {len(level) for level in found.scales} == {number}
        assert max(map(max, found.scales)) <= 1.26 * 128


def test_the_search_finds_the_best_of_the_sizes_that_double() -> None:
    boxes, model = random_boxes(400, 256, 10, 200), ModelConfig(image_size=256)
    (found,) = search(boxes, model, 0.5, [1])
    assert found.scales[1][0] == pytest.approx(2 * found.scales[0][0], rel=0.01)
    for base in (4.0, 8.0, 11.0, 14.0):
        scales = tuple((base * 2**level,) for level in range(5))
        assert found.recall > measure(boxes, with_anchors(model, scales=scales), 0.5).recall - 0.01


def option(sizes: int, recall: float) -> Option:
    return Option(550, False, tuple((1.0,) * sizes for _ in range(5)), "", 19_248 * sizes, recall)


@pytest.mark.parametrize(
    ("now", "recalls", "chosen"),
    [
        ((1, 0.40), (0.55, 0.69, 0.70), 2),
        ((1, 0.40), (0.55, 0.56, 0.57), 1),
        ((3, 0.87), (0.75, 0.86, 0.88), None),  # as good already
        ((1, 0.59), (0.60, 0.60, 0.61), None),
        ((3, 0.30), (0.75, 0.86, 0.88), 3),
    ],
)
def test_the_suggestion_is_worth_its_anchors(now: Any, recalls: Any, chosen: int | None) -> None:
    found = suggest([option(sizes, recall) for sizes, recall in enumerate(recalls, 1)], option(*now))
    assert (None if found is None else len(found.scales[0])) == chosen


def test_bins() -> None:
    assert histogram([0, 7.9, 8, 9999], (0, 8, 16)) == {"0-8": 2, "8-16": 1, "16+": 1}
    assert histogram([0, 1, 1, 4, 500], (0, 1, 2, 5), whole=True) == {"0": 1, "1": 2, "2-4": 1, "5+": 1}


def fit(folder: Path, positive_iou: float = 0.5, **anchors: Any) -> dict[str, Any]:
    config = make_clean(folder).write()
    model, loss = with_anchors(config.model, **anchors), replace(config.loss, positive_iou=positive_iou)
    config = replace(config, model=model, loss=loss)
    found = fit_anchors(InspectedSet(sources_of(config)[0]), config)
    assert found is not None
    return found


def test_shares_belong_to_each_other(tmp_path: Path) -> None:
    found = fit(tmp_path)
    assert found["objects"] == sum(one["objects"] for one in found["by_size"]) == 23
    met = sum(one["objects"] * (one["recall"] or 0) for one in found["by_size"])
    assert met / 23 == pytest.approx(found["now"]["recall"], abs=1e-3)
    assert found["only_forced"] == pytest.approx(1 - found["now"]["recall"], abs=1e-3)
    assert found["not_square"] is None
    json.dumps(found, allow_nan=False)


def test_bad_sizes_get_a_better_suggestion(tmp_path: Path) -> None:
    found = fit(tmp_path, scales=((2.0,),) * 5)
    assert (found["now"]["recall"], found["only_forced"], found["suggestion"]["recall"]) == (0, 1, 1)
    assert found["suggestion"] in found["options"]
    assert found["larger_inputs"] == []  # nothing is missed any more
    lines = fit_lines({"anchors": found, **REST})
    assert lines[2] == f"  100.0 % with --set '{found['suggestion']['override']}'"


def test_square_anchors_are_compared_with_free_ones(tmp_path: Path) -> None:
    # Half of the objects are 16 x 32 pixels of the input: a square cannot reach more than one half.
    found = fit(tmp_path, 0.6, square=True, aspect_ratios=(1.0, 0.5))
    assert not found["not_square"]["square"]
    assert found["not_square"]["recall"] > max(one["recall"] for one in found["options"])
    assert found["not_square_is_better"]
    assert "model.anchors.square=false" in fit_lines({"anchors": found, **REST})[-1]


def test_a_larger_input_is_tried_where_objects_are_missed(tmp_path: Path) -> None:
    assert [one["image_size"] for one in fit(tmp_path, 0.97)["larger_inputs"]] == [96, 128]
