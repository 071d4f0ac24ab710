import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolact.config import LossConfig
from yolact.losses.matching import NEGATIVE, NEUTRAL, force_match, match
from yolact.losses.objects import Objects

NONE = torch.zeros(0, 4)


def one_picture(boxes):
    zeros = torch.zeros(len(boxes), dtype=torch.int64)
    return Objects(boxes=boxes, labels=zeros, iscrowd=zeros.bool(), picture=zeros, counts=[len(boxes)])


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_positive_neutral_and_negative_by_iou():
    anchors = boxes([0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4.5], [0, 0, 10, 3])  # IoU 1, .6, .45, .3
    matched = match(anchors, one_picture(boxes([0, 0, 10, 10])), LossConfig())
    assert matched.object_index.tolist() == [[0, 0, NEUTRAL, NEGATIVE]]
    assert matched.positive.tolist() == [[True, True, False, False]]
    assert matched.neutral.tolist() == [[False, False, True, False]]


def test_every_object_gets_an_anchor_however_bad():
    anchors = boxes([0, 0, 10, 10], [20, 0, 30, 10])
    matched = match(anchors, one_picture(boxes([0, 0, 10, 9], [0, 0, 1, 1])), LossConfig())
    assert matched.object_index.tolist() == [[0, 1]]  # the second object's IoU with its anchor is 0


@pytest.mark.parametrize("static", [False, True])
def test_the_better_pair_is_forced_first(static):
    # Both objects like the first anchor best; the second object overlaps it more, so the first takes what remains.
    iou = torch.tensor([[0.6, 0.3, 0.1], [0.8, 0.2, 0.0]])
    assert force_match(iou, *of_one_picture(2), static).tolist() == [1, 0]


def of_one_picture(num_objects):
    return torch.zeros(num_objects, dtype=torch.int64), torch.ones(num_objects, dtype=torch.bool)


@pytest.mark.parametrize("static", [False, True])
def test_pictures_do_not_take_anchors_from_one_another(static):
    iou = torch.tensor([[0.6, 0.3], [0.8, 0.2], [0.7, 0.9]])
    picture, wanted = torch.tensor([0, 1, 1]), torch.tensor([True, True, True])
    assert force_match(iou.clone(), picture, wanted, static).tolist() == [0, 0, 1]
    assert force_match(iou.clone(), picture, torch.tensor([True, False, True]), static).tolist() == [0, 2, 1]


@pytest.mark.parametrize("static", [False, True])
def test_anchors_inside_a_crowd_are_neutral_but_positives_stay(static):
    anchors = boxes([0, 0, 10, 10], [40, 0, 50, 10], [80, 0, 90, 10])
    # The crowd region holds the first anchor wholly and 80 % of the second.
    objects = Objects(
        boxes=boxes([0, 0, 10, 10], [0, 0, 48, 10], [80, 0, 90, 10]),
        labels=torch.tensor([0, 0, 0]),
        iscrowd=torch.tensor([False, True, False]),
        picture=torch.tensor([0, 0, 1]),
        counts=[2, 1, 0],
    )
    matched = match(anchors, objects, LossConfig(), static)
    assert matched.object_index.tolist() == [
        [0, NEUTRAL, NEGATIVE], [NEGATIVE, NEGATIVE, 2], [NEGATIVE, NEGATIVE, NEGATIVE],
    ]  # fmt: skip


@pytest.mark.parametrize("static", [False, True])
def test_without_objects_all_anchors_are_negative(static):
    matched = match(boxes([0, 0, 1, 1], [1, 1, 2, 2]), one_picture(NONE), LossConfig(), static)
    assert matched.object_index.tolist() == [[NEGATIVE, NEGATIVE]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.integers(6, 12), st.integers(0, 2**31))
def test_force_match_equals_taking_the_best_pair_one_by_one(counts, anchors, seed):
    iou = torch.rand(sum(counts), anchors, generator=torch.Generator().manual_seed(seed))
    expected = []
    for remaining in iou.clone().split(counts):
        found = [0] * len(remaining)
        for _ in found:
            i, j = divmod(int(remaining.argmax()), anchors)
            found[i] = j
            remaining[i], remaining[:, j] = -1, -1
        expected += found
    picture = torch.tensor([i for i, count in enumerate(counts) for _ in range(count)], dtype=torch.int64)
    wanted = torch.ones(len(iou), dtype=torch.bool)
    assert force_match(iou.clone(), picture, wanted).tolist() == expected
    assert force_match(iou.clone(), picture, wanted, static=True).tolist() == expected
