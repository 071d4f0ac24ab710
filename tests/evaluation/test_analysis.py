"""Which detection finds which object, and what follows for the confusion of classes and for single images."""

import numpy as np
import pytest

from tests.evaluation.conftest import AWAY, CAT, DOG, HERE, THERE
from yolact.evaluation import analysis
from yolact.evaluation.analysis import (
    SIZE_BORDERS,
    ImageQuality,
    Pair,
    Shown,
    Trust,
    analyse,
    most_confused,
    short_between,
)
from yolact.evaluation.matching import greedy


def test_each_row_takes_the_best_free_column() -> None:
    iou = np.array([[0.6, 0.9, 0.0], [0.8, 0.95, 0.0], [0.7, 0.6, 0.0], [0.0, 0.0, 0.49], [0.0, 0.0, 0.5]])
    assert greedy(iou).tolist() == [1, 0, -1, -1, 2]
    assert greedy(np.array([[0.7, 0.7, 0.6]])).tolist() == [1]  # of equal ones the last


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (2, 0)])
def test_nothing_to_choose(shape) -> None:
    assert greedy(np.zeros(shape)).tolist() == [-1] * shape[0]


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_detections_come_best_first_with_their_iou(scene, kind) -> None:
    scene.add([(DOG, THERE), (CAT, HERE)], [(CAT, (0, 0, 10, 5), 0.3), (DOG, HERE, 0.8)])
    scene.object(CAT, (0, 0, 10, 20), crowd=True)
    (image,) = scene.matchings(kind)
    assert image.scores.tolist() == [0.8, 0.3]
    assert image.labels.tolist() == [1, 0]
    assert image.truth_labels.tolist() == [1, 0]
    assert image.truth_areas.tolist() == [100, 100]
    assert image.iou == pytest.approx(np.array([[0, 1], [0, 0.5]]))
    assert image.in_crowd.tolist() == [False, True]  # the first is of another class
    assert image.matches.tolist() == [-1, 1]


def shown(scene):
    total = Shown(2)
    for image in scene.matchings():
        total.add(image)
    return total


# Objects, detections, how often which class is taken for which, the last ones being the background; objects found and
# missed, wrong detections, and the sum of the found ones' IoU.
BY_HAND = {
    "rows are objects and columns detections": (
        [(CAT, HERE), (CAT, THERE), (DOG, (70, 0, 10, 10))],
        [(CAT, HERE, 0.9), (DOG, THERE, 0.8), (DOG, AWAY, 0.7)], [[1, 1, 0], [0, 0, 1], [0, 1, 0]], (1, 2, 2), 1,
    ),
    "a score of 0.3 is shown": (
        [(CAT, HERE)], [(CAT, (0, 0, 10, 6), 0.3)], [[1, 0, 0], [0, 0, 0], [0, 0, 0]], (1, 0, 0), 0.6,
    ),
    "a lower one is not": ([(CAT, HERE)], [(CAT, HERE, 0.29)], [[0, 0, 1], [0, 0, 0], [0, 0, 0]], (0, 1, 0), 0),
    "the right class comes before the better score": (
        [(CAT, HERE)], [(DOG, HERE, 0.9), (CAT, HERE, 0.5)], [[1, 0, 0], [0, 0, 0], [0, 1, 0]], (1, 0, 1), 1,
    ),
    "a second detection finds no free object and crowds do not count": (
        [(CAT, HERE), (DOG, (30, 30, 60, 60), 1, True)],
        [(CAT, HERE, 0.9), (CAT, HERE, 0.8), (DOG, THERE, 0.9)], [[1, 0, 0], [0, 0, 0], [1, 0, 0]], (1, 0, 1), 1,
    ),
    "a detection on an empty image is wrong": ([], [(CAT, HERE, 0.9)], [[0, 0, 0], [0, 0, 0], [1, 0, 0]], (0, 0, 1), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(scene, name) -> None:
    objects, detections, confusion, counts, overlap = BY_HAND[name]
    total = shown(scene.add(objects, detections))
    assert total.confusion.tolist() == confusion
    found, missed, wrong = counts
    quality = overlap / (found + (missed + wrong) / 2)  # panoptic quality
    assert total.qualities == [ImageQuality(0, *counts, pytest.approx(quality))]


def test_sizes_are_square_roots_of_areas(scene) -> None:
    objects = [(CAT, (0, 0, 8, 8)), (CAT, (20, 0, 7, 9)), (CAT, (0, 20, 32, 32)), (DOG, (50, 50, 40, 40))]
    total = shown(scene.add(objects, [(CAT, (0, 20, 32, 32), 0.9), (CAT, (50, 50, 40, 40), 0.9)]))
    assert SIZE_BORDERS[:4] == (8, 16, 32, 64)
    assert total.objects.tolist() == [1, 1, 0, 2, 0, 0, 0, 0]
    assert total.found.tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pairs_come_most_frequent_first_and_of_equal_ones_the_larger_share(count) -> None:
    confusion = np.array([[5, 2, 1, 4], [0, 9, 1, 0], [3, 0, 0, 0], [9, 9, 9, 0]])
    pairs = [Pair("c", "a", 3, 1.0), Pair("a", "b", 2, 2 / 12), Pair("b", "c", 1, 0.1), Pair("a", "c", 1, 1 / 12)]
    assert most_confused(confusion, ["a", "b", "c"], count) == pairs[:count]


def test_only_the_images_of_the_data_set_count_and_masks_are_shown(scene) -> None:
    scene.num_images = 3
    scene.add([(CAT, HERE), (DOG, THERE, 2), (CAT, HERE, 3)], [(DOG, (40, 40, 10, 4), 0.9, 2)])
    scene.detections[0]["segmentation"] = scene.objects[1]["segmentation"]
    dataset, total = scene.dataset(max_images=2), Shown(2)
    errors = analyse(dataset, {"segm": scene.detections, "bbox": scene.detections}, [total])
    assert errors["segm"]["count"] == dict.fromkeys(errors["segm"]["count"], 0) | {"missed": 1}
    assert errors["bbox"]["count"] == dict.fromkeys(errors["segm"]["count"], 0) | {"missed": 1, "localisation": 1}
    assert total.confusion.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert [image.index for image in total.qualities] == [0, 1]


def trust(scene):
    total = Trust(2)
    for image in scene.matchings():
        total.add(image)
    return total


def test_the_best_threshold_of_each_class(scene) -> None:
    """Of three cats 0.9 and 0.5 find one each, 0.7 and 0.3 none: F1 is 2/4, 2/5, 4/6 and 4/7; no dog is found."""
    cats = [(CAT, HERE), (CAT, THERE), (CAT, (70, 0, 10, 10))]
    found = [(CAT, HERE, 0.9), (CAT, AWAY, 0.7), (CAT, THERE, 0.5), (CAT, AWAY, 0.3)]
    scene.add([*cats, (DOG, (70, 30, 10, 10))], [*found, (DOG, AWAY, 0.6)])
    assert trust(scene).best_thresholds() == [(0.49, pytest.approx(4 / 6)), None]


def test_equal_scores_stand_or_fall_together(scene) -> None:
    scene.add([(CAT, HERE)], [(CAT, HERE, 0.5), (CAT, AWAY, 0.5)])
    assert trust(scene).best_thresholds()[0] == (0.49, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 0.20861, 0.2), (0.205, 0.20861, 0.208), (0.25, 0.2501, 0.25), (0.2, 0.25, 0.24), (0, 0.004, 0)],
)
def test_a_threshold_is_written_short_and_parts_the_same_scores(low, high, expected) -> None:
    assert short_between(low, high) == expected


def test_how_often_detections_of_about_a_score_are_right(scene, monkeypatch) -> None:
    """Of each two cats one is right, both and none; the worse pair above raises the first. Crowds do not count."""
    monkeypatch.setattr(analysis, "BLOCK", 2)
    cats = [(CAT, HERE), (CAT, THERE), (CAT, (0, 60, 70, 40), 1, True), (CAT, (20, 0, 10, 10))]
    wrong = [(CAT, AWAY, 0.9), (CAT, (70, 20, 9, 9), 0.4), (CAT, (70, 40, 9, 9), 0.3), (CAT, (20, 70, 9, 9), 0.2)]
    scene.add(cats, [*wrong, (CAT, HERE, 0.8), (CAT, THERE, 0.7), (CAT, (20, 0, 10, 10), 0.6)])
    shares = trust(scene).in_detections()
    assert shares == [{0.9: 1, 0.8: 1, 0.7: 1, 0.6: 1, 0.4: 0, 0.3: 0}, {}]


def test_how_often_objects_of_a_class_and_size_are_found(scene) -> None:
    scene.add([(CAT, HERE), (CAT, THERE), (CAT, (50, 50, 40, 40))], [(CAT, HERE, 0.9), (CAT, THERE, 0.2)])
    shares = trust(scene).in_absence()
    assert shares[0].tolist() == [0, 1 / 3, 0, 0, 0, 0, 0, 0]
    assert shares[1].tolist() == [0] * 8
