import torch
from hypothesis import given
from hypothesis import strategies as st

from yolact.config import LossConfig
from yolact.losses.matching import NEGATIVE, NEUTRAL, force_match, match

NONE = torch.zeros(0, 4)


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_positive_neutral_and_negative_by_iou():
    anchors = boxes([0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4.5], [0, 0, 10, 3])  # IoU 1, .6, .45, .3
    matched = match(anchors, boxes([0, 0, 10, 10]), NONE, LossConfig())
    assert matched.object_index.tolist() == [0, 0, NEUTRAL, NEGATIVE]
    assert matched.positive.tolist() == [True, True, False, False]
    assert matched.neutral.tolist() == [False, False, True, False]


def test_every_object_gets_an_anchor_however_bad():
    anchors = boxes([0, 0, 10, 10], [20, 0, 30, 10])
    matched = match(anchors, boxes([0, 0, 10, 9], [0, 0, 1, 1]), NONE, LossConfig())
    assert matched.object_index.tolist() == [0, 1]  # the second object's IoU with its anchor is 0


def test_the_better_pair_is_forced_first():
    # Both objects like the first anchor best; the second object overlaps it more, so the first takes what remains.
    iou = torch.tensor([[0.6, 0.3, 0.1], [0.8, 0.2, 0.0]])
    assert force_match(iou).tolist() == [1, 0]


def test_anchors_inside_a_crowd_are_neutral_but_positives_stay():
    anchors = boxes([0, 0, 10, 10], [40, 0, 50, 10], [80, 0, 90, 10])
    crowd = boxes([0, 0, 48, 10])  # holds the first wholly and 80 % of the second
    matched = match(anchors, boxes([0, 0, 10, 10]), crowd, LossConfig())
    assert matched.object_index.tolist() == [0, NEUTRAL, NEGATIVE]


def test_without_objects_all_anchors_are_negative():
    matched = match(boxes([0, 0, 1, 1], [1, 1, 2, 2]), NONE, NONE, LossConfig())
    assert matched.object_index.tolist() == [NEGATIVE, NEGATIVE]


@given(st.integers(1, 6), st.integers(6, 12), st.integers(0, 2**31))
def test_force_match_equals_taking_the_best_pair_one_by_one(objects, anchors, seed):
    iou = torch.rand(objects, anchors, generator=torch.Generator().manual_seed(seed))
    remaining, expected = iou.clone(), [0] * objects
    for _ in range(objects):
        i, j = divmod(int(remaining.argmax()), anchors)
        expected[i] = j
        remaining[i], remaining[:, j] = -1, -1
    assert force_match(iou).tolist() == expected
