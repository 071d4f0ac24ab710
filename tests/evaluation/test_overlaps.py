import numpy as np
import pytest

from yolact.evaluation.overlaps import greedy

CAT, DOG = 2, 5
HERE, THERE = (0, 0, 10, 10), (40, 40, 10, 10)


def test_each_row_takes_the_best_free_column() -> None:
    iou = np.array([[0.6, 0.9, 0.0], [0.8, 0.95, 0.0], [0.7, 0.6, 0.0], [0.0, 0.0, 0.49], [0.0, 0.0, 0.5]])
    assert greedy(iou).tolist() == [1, 0, -1, -1, 2]
    assert greedy(np.array([[0.7, 0.7, 0.6]])).tolist() == [1]  # of equal ones the last


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (2, 0)])
def test_nothing_to_choose(shape) -> None:
    assert greedy(np.zeros(shape)).tolist() == [-1] * shape[0]


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_detections_come_best_first_with_their_iou(scene, kind) -> None:
    scene.object(DOG, THERE)
    scene.object(CAT, HERE)
    scene.object(CAT, (0, 0, 10, 20), crowd=True)
    scene.detection(CAT, (0, 0, 10, 5), 0.3)
    scene.detection(DOG, HERE, 0.8)
    (image,) = scene.overlaps(kind)
    assert image.scores.tolist() == [0.8, 0.3]
    assert image.labels.tolist() == [1, 0]
    assert image.truth_labels.tolist() == [1, 0]
    assert image.truth_areas.tolist() == [100, 100]
    assert image.iou == pytest.approx(np.array([[0, 1], [0, 0.5]]))
    assert image.in_crowd.tolist() == [False, True]  # the first is of another class
    assert image.match().tolist() == [-1, 1]
