"""Points of a 32-pixel input: sixteen of stride 8, row by row, with boxes and scores given for each."""

import pytest
import torch

from tests.made import make_target
from yolact.config import LossConfig
from yolact.losses.assigners import IGNORED, NEGATIVE
from yolact.losses.task_aligned import TaskAlignedAssigner, points_inside
from yolact.models.points import PointCoder, make_points
from yolact.structures import join_targets

CODER = PointCoder(make_points([(4, 4)], (8,), (32, 32)), (32, 32))
LEFT = [0.0, 0, 16, 16]  # holds points 0, 1, 4 and 5


class Given:
    """Candidates whose scores and boxes are given."""

    def __init__(self, scores, boxes):
        self.coder, self.scores, self.boxes = CODER, scores, boxes


def assign(targets, boxes, scores=None, **settings):
    """Assign with boxes {(image, point): xyxy}; the others are a pixel in a corner, and all scores one half."""
    every = torch.tensor([31.0, 31, 32, 32]).expand(len(targets), 16, 4).clone()
    for place, box in boxes.items():
        every[place] = torch.tensor(box)
    scores = torch.full((len(targets), 16, 2), 0.5) if scores is None else scores
    return TaskAlignedAssigner(LossConfig(**settings))(Given(scores, every), join_targets(targets))


def test_points_inside_by_hand():
    boxes = torch.tensor([LEFT, [18.0, 18, 20, 20], [0, 0, 0.5, 0.5]])
    inside = points_inside(CODER.points, CODER.strides, boxes)
    # Small objects count as 16 pixels wide: 11 to 27, which holds 12 and 20; and -7.75 to 8.25, which holds 4.
    assert [row.nonzero()[:, 0].tolist() for row in inside] == [[0, 1, 4, 5], [5, 6, 9, 10], [0]]


def test_weights_are_alignments_scaled_to_the_best_iou():
    """Point 0 has IoU 1/2, point 1 has 1/4 and twice the score; with alpha 1 and beta 2: 1/8 and 1/16."""
    scores = torch.full((1, 16, 2), 0.5)
    scores[0, 1, 1] = 1.0
    found = assign(
        [make_target([LEFT], [1], side=32)], {(0, 0): [0, 0, 16, 8], (0, 1): [0, 0, 8, 8]}, scores, align_beta=2.0
    )
    assert found.object_index[0, :6].tolist() == [0, 0, NEGATIVE, NEGATIVE, NEGATIVE, NEGATIVE]
    torch.testing.assert_close(found.weight[0, :2], torch.tensor([0.5, 0.25]))
    assert not found.weight[0, 2:].any()


def test_only_the_best_k_points_inside_are_positive():
    boxes = {(0, point): [0, 0, 16, 16 - height] for height, point in enumerate((0, 5, 1, 4, 10))}  # 10 is outside
    found = assign([make_target([LEFT], [0], side=32)], boxes, top_k=2)
    assert found.positive[0].nonzero()[:, 0].tolist() == [0, 5]


def test_a_point_that_two_claim_goes_to_the_larger_overlap():
    """Point 5 lies in both objects; its box meets the second better. The first keeps point 0."""
    objects = make_target([LEFT, [8.0, 8, 24, 24]], [0, 0], side=32)
    found = assign([objects], {(0, 5): [8, 8, 24, 23], (0, 0): [0, 0, 16, 12]})
    assert found.object_index[0, [0, 5]].tolist() == [0, 1]
    torch.testing.assert_close(found.weight[0, [0, 5]], torch.tensor([12 / 16, 15 / 16]))


def test_equal_objects_take_a_point_once():
    found = assign([make_target([LEFT, LEFT], [0, 0], side=32)], {(0, 0): LEFT})
    assert found.object_index[0, 0] == 0
    assert found.weight.sum() == 1


def test_a_tiny_object_has_a_point():
    found = assign([make_target([[10.0, 10, 11, 11]], [0], side=32)], {(0, 5): [10, 10, 13, 13]})
    assert found.object_index[0, 5] == 0
    assert found.weight[0, 5].item() == pytest.approx(1 / 9)


def test_points_in_a_crowd_are_ignored_but_not_its_neighbours():
    """The crowd fills the left half; the object's point within it stays positive."""
    target = make_target([[0.0, 0, 16, 32], LEFT], [0, 0], (0,), side=32)
    found = assign([target], {(0, 0): LEFT})
    row = [IGNORED, IGNORED, NEGATIVE, NEGATIVE]
    assert found.object_index[0].tolist() == [1, *row[1:], *row * 3]


def test_images_do_not_mix():
    """The second image has no objects; the third's object is number 1 of the batch."""
    targets = [make_target([LEFT], [0], side=32), make_target([], [], side=32), make_target([LEFT], [1], side=32)]
    found = assign(targets, {(image, 0): LEFT for image in range(3)})
    assert found.object_index[:, 0].tolist() == [0, NEGATIVE, 1]
    assert found.weight.sum() == 2


def test_without_objects_all_points_are_negative():
    found = assign([make_target([], [], side=32)], {})
    assert (found.object_index == NEGATIVE).all()
    assert not found.weight.any()
