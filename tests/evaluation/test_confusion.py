import numpy as np
import pytest

from yolact.evaluation.confusion import SIZE_BORDERS, Pair, add_image, most_confused, no_images

CAT, DOG = 2, 5
HERE, THERE, AWAY = (0, 0, 10, 10), (40, 40, 10, 10), (80, 80, 10, 10)


def shown(scene):
    total = no_images(2)
    for image in scene.overlaps():
        add_image(total, image, image.match(), 0.3)
    return total


# Objects, detections, and how often which class is taken for which; the last ones are the background.
BY_HAND = {
    "rows are objects and columns detections": (
        [(CAT, HERE), (CAT, THERE), (DOG, (70, 0, 10, 10))],
        [(CAT, HERE, 0.9), (DOG, THERE, 0.8), (DOG, AWAY, 0.7)], [[1, 1, 0], [0, 0, 1], [0, 1, 0]],
    ),
    "a score of 0.3 is shown": ([(CAT, HERE)], [(CAT, HERE, 0.3)], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
    "a lower one is not": ([(CAT, HERE)], [(CAT, HERE, 0.29)], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
    "the right class comes before the better score": (
        [(CAT, HERE)], [(DOG, HERE, 0.9), (CAT, HERE, 0.5)], [[1, 0, 0], [0, 0, 0], [0, 1, 0]],
    ),
    "a second detection finds no free object and crowds do not count": (
        [(CAT, HERE), (DOG, (30, 30, 60, 60), 1, True)],
        [(CAT, HERE, 0.9), (CAT, HERE, 0.8), (DOG, THERE, 0.9)], [[1, 0, 0], [0, 0, 0], [1, 0, 0]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(scene, name) -> None:
    objects, detections, expected = BY_HAND[name]
    for item in objects:
        scene.object(*item)
    for item in detections:
        scene.detection(*item)
    assert shown(scene).confusion.tolist() == expected


def test_sizes_are_square_roots_of_areas(scene) -> None:
    scene.object(CAT, (0, 0, 8, 8))
    scene.object(CAT, (20, 0, 7, 9))
    scene.object(CAT, (0, 20, 32, 32))
    scene.object(DOG, (50, 50, 40, 40))
    scene.detection(CAT, (0, 20, 32, 32), 0.9)
    scene.detection(CAT, (50, 50, 40, 40), 0.9)
    total = shown(scene)
    assert SIZE_BORDERS[:4] == (8, 16, 32, 64)
    assert total.objects.tolist() == [1, 1, 0, 2, 0, 0, 0, 0]
    assert total.found.tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pairs_come_most_frequent_first_and_of_equal_ones_the_larger_share(count) -> None:
    confusion = np.array([[5, 2, 1, 4], [0, 9, 1, 0], [3, 0, 0, 0], [9, 9, 9, 0]])
    pairs = [Pair("c", "a", 3, 1.0), Pair("a", "b", 2, 2 / 12), Pair("b", "c", 1, 0.1), Pair("a", "c", 1, 1 / 12)]
    assert most_confused(confusion, ["a", "b", "c"], count) == pairs[:count]
