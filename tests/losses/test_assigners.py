import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolact.config import LossConfig
from yolact.losses.assigners import IGNORED, MAX_ROUNDS, NEGATIVE, Candidates, MaxIoUAssigner, force_match
from yolact.models.heads import AnchorCoder
from yolact.structures import Objects


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def assign(anchors, objects, iscrowd=None, counts=None):
    """Assign anchors to objects, both in pixels of an input of 100."""
    counts = counts or [len(objects)]
    batch = Objects(
        boxes=objects,
        labels=torch.zeros(len(objects), dtype=torch.int64),
        iscrowd=torch.tensor(iscrowd or [False] * len(objects), dtype=torch.bool),
        image_index=torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
        counts=counts,
    )
    return MaxIoUAssigner(LossConfig())(Candidates(None, AnchorCoder(anchors, (100, 100), anchors / 100)), batch)


def test_positive_ignored_and_negative_by_iou():
    anchors = boxes([0, 0, 10, 10], [0, 0, 10, 6], [0, 0, 10, 4.5], [0, 0, 10, 3])  # IoU 1, .6, .45, .3
    found = assign(anchors, boxes([0, 0, 10, 10]))
    assert found.object_index.tolist() == [[0, 0, IGNORED, NEGATIVE]]
    assert found.positive.tolist() == [[True, True, False, False]]
    assert found.ignored.tolist() == [[False, False, True, False]]
    assert found.weight.tolist() == [[1, 1, 1, 1]]


def test_every_object_gets_an_anchor_however_bad():
    found = assign(boxes([0, 0, 10, 10], [20, 0, 30, 10]), boxes([0, 0, 10, 9], [0, 0, 1, 1]))
    assert found.object_index.tolist() == [[0, 1]]  # the second object's IoU with its anchor is 0


def test_anchors_inside_a_crowd_are_ignored_but_positives_stay():
    anchors = boxes([0, 0, 10, 10], [40, 0, 50, 10], [80, 0, 90, 10])
    # The crowd region holds the first anchor wholly and 80 % of the second; the third image has nothing.
    objects = boxes([0, 0, 10, 10], [0, 0, 48, 10], [80, 0, 90, 10])
    found = assign(anchors, objects, [False, True, False], [2, 1, 0])
    assert found.object_index.tolist() == [
        [0, IGNORED, NEGATIVE], [NEGATIVE, NEGATIVE, 2], [NEGATIVE, NEGATIVE, NEGATIVE],
    ]  # fmt: skip


def test_without_objects_all_anchors_are_negative():
    assert assign(boxes([0, 0, 1, 1], [1, 1, 2, 2]), boxes()).object_index.tolist() == [[NEGATIVE, NEGATIVE]]


@pytest.mark.parametrize(("wanted", "expected"), [([True, True, True], [0, 1, 0]), ([True, True, False], [0, 0, 2])])
def test_the_better_pair_of_an_image_is_forced_first(wanted, expected):
    """Both objects of the second image like the first anchor best, and the other one better."""
    iou = torch.tensor([[0.6, 0.3], [0.7, 0.2], [0.8, 0.4]])
    assert force_match(iou, torch.tensor([0, 1, 1]), torch.tensor(wanted)).tolist() == expected


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
    image_index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    assert force_match(iou, image_index, torch.ones(len(iou), dtype=torch.bool)).tolist() == expected


def test_objects_that_all_like_the_same_anchors_are_served_one_a_round():
    count = MAX_ROUNDS + 4
    iou = torch.linspace(0.1, 0.9, count)[:, None] * torch.linspace(0.9, 0.1, count)  # the last object is the best
    found = force_match(iou, torch.zeros(count, dtype=torch.int64), torch.ones(count, dtype=torch.bool))
    assert found.tolist() == list(reversed(range(count)))
