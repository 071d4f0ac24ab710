"""Anchor recall by hand and against all anchors; the search finds sizes that meet more objects."""

import numpy as np
import pytest
import torch

from yolact.config import AnchorConfig, Config, ModelConfig, override_config
from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.inspection.anchors import (
    Option,
    as_override,
    best_ious,
    count_crowded_out,
    input_boxes,
    measure,
    search_scales,
    spread_scales,
    suggest,
)
from yolact.models.anchors import make_anchors
from yolact.ops.boxes import box_iou

# At 64 pixels the levels have 8, 4, 2, 1 and 1 places a side; an anchor of 16 pixels stands at 4, 12, 20, ...
SMALL = AnchorConfig(scales=((16.0,), (60.0,), (60.0,), (60.0,), (60.0,)), aspect_ratios=(1.0,))


def random_boxes(number: int, size: int, smallest: float, largest: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    sides = np.exp(rng.uniform(np.log(smallest), np.log(largest), (number, 2)))
    corners = rng.uniform(0, size - sides)
    return np.concatenate((corners, corners + sides), axis=1)


@pytest.mark.parametrize(
    ("box", "iou"),
    [
        ((12, 12, 28, 28), 1.0),  # the anchor itself
        ((14, 14, 30, 30), 14 * 14 / (2 * 256 - 14 * 14)),  # two pixels off
        ((16, 16, 24, 24), 64 / 256),  # inside
        ((12, 12, 28, 20), 128 / 256),  # half of it
        ((0, 0, 64, 64), 60 * 60 / 64**2),  # met by the large ones
    ],
)
def test_overlap_with_the_best_anchor_by_hand(box, iou) -> None:
    assert best_ious(np.array([box], float), 64, SMALL)[0] == pytest.approx(iou)


def test_recall_counts_what_reaches_the_threshold() -> None:
    boxes = np.array([[12, 12, 28, 28], [14, 14, 30, 30], [16, 16, 24, 24], [12, 12, 28, 20.0]])
    model = ModelConfig(image_size=64, anchors=SMALL)
    assert measure(boxes, model, 0.5).recall == 3 / 4
    assert measure(boxes, model, 0.6).recall == 2 / 4
    assert measure(boxes, model, 0.5).num_anchors == 64 + 16 + 4 + 1 + 1


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("size", [64, 150])
def test_the_nearest_anchor_of_each_shape_is_the_best_of_all(size, square) -> None:
    config = AnchorConfig(scales=((9.0, 12.0), (20.0, 30.0), (40.0, 50.0), (60.0, 80.0), (90.0, 99.0)), square=square)
    boxes = random_boxes(300, size, 2, size)
    anchors = make_anchors(size, config.scales, config.aspect_ratios, square)
    expected = box_iou(torch.from_numpy(boxes / size).float(), anchors).amax(1)
    np.testing.assert_allclose(best_ious(boxes, size, config), expected.numpy(), atol=1e-5)


def test_objects_on_one_place_crowd_one_another_out() -> None:
    model = ModelConfig(image_size=64, anchors=SMALL)
    same, apart, missed = [12, 12, 28, 28.0], [36, 36, 52, 52.0], [16, 16, 24, 24.0]
    pictures = [np.array([same, same]), np.array([same, apart]), np.array([missed]), np.zeros((0, 4))]
    assert count_crowded_out(pictures, model, 0.5, most=100) == (5, 1)
    assert count_crowded_out(pictures, model, 0.5, most=1)[0] < 5


def test_boxes_are_stretched_to_the_input_and_crowds_left_out() -> None:
    picture = ImageRecord(id=1, file_name="a.jpg", height=50, width=100)
    mask = [np.zeros((3, 2), np.float32)]
    objects = [
        ObjectRecord(0, (10, 10, 30, 20), False, mask, 1.0, 1),
        ObjectRecord(0, (0, 0, 50, 50), True, mask, 1.0, 2),
        ObjectRecord(0, (90, 40, 120, 60), False, mask, 1.0, 3),
    ]
    expected = [[20, 40, 60, 80], [180, 160, 200, 200]]
    np.testing.assert_allclose(input_boxes(objects, picture, 200), expected)


def test_sizes_grow_from_level_to_level() -> None:
    assert spread_scales(10, 2, 2, 3) == ((10.0, 14.1), (20.0, 28.3), (40.0, 56.6))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_search_finds_sizes_that_meet_more_objects(number) -> None:
    boxes = random_boxes(400, 128, 8, 20)
    model = ModelConfig(image_size=128)  # 24 pixels and more
    now, found = measure(boxes, model, 0.5), search_scales(boxes, model, number, 0.5)
    assert now.recall < 0.3
    assert found.recall > now.recall + 0.25
    assert found.recall == measure(boxes, ModelConfig(image_size=128, anchors=found.anchors), 0.5).recall
    assert {len(level) for level in found.anchors.scales} == {number}
    assert max(map(max, found.anchors.scales)) <= 1.26 * 128


def test_the_search_finds_the_best_of_the_sizes_that_double() -> None:
    boxes = random_boxes(400, 256, 10, 200)
    found = search_scales(boxes, ModelConfig(image_size=256), 2, 0.5)
    assert found.anchors.scales[1][0] == pytest.approx(2 * found.anchors.scales[0][0], rel=0.01)
    for base in (2.0, 4.0, 8.0, 11.0, 14.0):
        anchors = AnchorConfig(scales=spread_scales(base, 2, 2, 5))
        assert found.recall > measure(boxes, ModelConfig(image_size=256, anchors=anchors), 0.5).recall - 0.01


def option(sizes: int, recall: float) -> Option:
    scales = tuple(tuple(float(8 * 2**level + step) for step in range(sizes)) for level in range(5))
    return Option(AnchorConfig(scales=scales), 64, recall, 100 * sizes)


@pytest.mark.parametrize(
    ("now", "recalls", "chosen"),
    [
        ((1, 0.40), (0.55, 0.69, 0.73), 3),  # each further size brings more than 1.5 points
        ((1, 0.40), (0.55, 0.69, 0.70), 2),
        ((1, 0.40), (0.55, 0.56, 0.57), 1),
        ((3, 0.87), (0.75, 0.86, 0.88), None),  # as good already
        ((1, 0.59), (0.60, 0.60, 0.61), None),
        ((3, 0.30), (0.75, 0.86, 0.88), 3),
    ],
)
def test_the_suggestion_is_worth_its_anchors(now, recalls, chosen) -> None:
    found = suggest([option(sizes, recall) for sizes, recall in enumerate(recalls, 1)], option(*now))
    assert (None if found is None else len(found.anchors.scales[0])) == chosen


def test_a_suggestion_can_be_pasted() -> None:
    anchors = AnchorConfig(scales=spread_scales(13.5, 2, 3, 5))
    config = override_config(Config(), [f"model.anchors.scales={as_override(anchors)}"])
    assert config.model.anchors == anchors
