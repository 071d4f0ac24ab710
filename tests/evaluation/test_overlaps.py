import numpy as np
import pytest

from yolact.evaluation.overlaps import greedy

CAT, DOG = 2, 5
HERE, THERE = (0, 0, 10, 10), (40, 40, 10, 10)


def test_each_row_takes_the_best_free_column() -> None:
    iou = np.array([[0.6, 0.9, 0.0], [0.8, 0.95, 0.0], [0.7, 0.6, 0.0], [0.0, 0.0, 0.49], [0.0, 0.0, 0.5]])
    assert greedy(iou).tolist() == [1, 0, -1, -1, 2]


def test_of_equal_columns_the_last_is_taken() -> None:
    assert greedy(np.array([[0.7, 0.7, 0.6]])).tolist() == [1]


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
    (picture,) = scene.overlaps(kind)
    assert picture.scores.tolist() == [0.8, 0.3]
    assert picture.labels.tolist() == [1, 0]
    assert picture.truth_labels.tolist() == [1, 0]
    assert picture.truth_areas.tolist() == [100, 100]
    assert picture.iou == pytest.approx(np.array([[0, 1], [0, 0.5]]))
    assert picture.in_crowd.tolist() == [False, True]  # the first is of another class
    assert picture.match().tolist() == [-1, 1]


def test_only_the_class_of_an_object_finds_it(scene) -> None:
    scene.object(CAT, HERE)
    scene.detection(DOG, HERE, 0.9)
    scene.detection(CAT, (0, 0, 10, 6), 0.1)
    (picture,) = scene.overlaps()
    assert picture.match().tolist() == [-1, 0]


def test_pictures_come_in_the_order_of_their_ids_and_empty_ones_not_at_all(make_scene) -> None:
    scene = make_scene(4)
    scene.detection(CAT, HERE, 0.5, image_id=4)
    scene.object(DOG, HERE, image_id=1)
    scene.object(CAT, HERE, image_id=3)
    pictures = scene.overlaps()
    assert [(len(one.labels), len(one.truth_labels)) for one in pictures] == [(0, 1), (0, 1), (1, 0)]
    assert [one.iou.shape for one in pictures] == [(0, 1), (0, 1), (1, 0)]
    assert pictures[0].truth_labels.tolist() == [1]
