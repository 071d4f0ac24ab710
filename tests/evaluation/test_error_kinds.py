"""One image for each kind of error, with what it costs computed by hand, and properties of random scenes."""

import json

import numpy as np
import pytest

from tests.evaluation.conftest import AWAY, CAT, DOG, HERE, THERE
from yolact.evaluation.coco import compute_metrics
from yolact.evaluation.error_kinds import KINDS, image_errors, total_errors

THERE_LITTLE = (40, 40, 10, 4)  # IoU 0.4 with THERE
# A class of two objects of which one is found, without errors before it: precision is 1 at 51 of 101 recalls.
ONE_OF_TWO = 51 / 101


def errors_of(scene, kind="bbox"):
    return total_errors([image_errors(image) for image in scene.matchings(kind)], 2)


def expect(errors, ap50, gains, counts) -> None:
    """Require these values, and zeros for the kinds that are not named."""
    assert errors["AP50"] == pytest.approx(ap50)
    named = {kind: errors["dAP"][kind] for kind in KINDS}
    assert named == pytest.approx(dict.fromkeys(KINDS, 0.0) | gains)
    assert errors["count"] == dict.fromkeys(KINDS, 0) | counts


# Objects, detections, and what they come to: AP, its gains and the counts of the errors.
BY_HAND = {
    "class": (
        [(CAT, HERE), (CAT, THERE)], [(CAT, HERE, 0.9), (DOG, THERE, 0.8)],
        ONE_OF_TWO, {"class": 1 - ONE_OF_TWO}, {"class": 1},
    ),
    # Wrong, right: a precision of 1/2 up to a recall of 1/2.
    "localisation": (
        [(CAT, HERE), (CAT, THERE)], [(CAT, THERE_LITTLE, 0.9), (CAT, HERE, 0.8)],
        ONE_OF_TWO / 2, {"localisation": 1 - ONE_OF_TWO / 2}, {"localisation": 1},
    ),
    # The cat has a precision of 1/2 at every recall, the dog of 1.
    "both": (
        [(CAT, HERE), (DOG, THERE)], [(CAT, THERE_LITTLE, 0.9), (CAT, HERE, 0.8), (DOG, THERE, 0.7)],
        0.75, {"both": 0.25}, {"both": 1},
    ),
    # Right, wrong, right: 1 up to a recall of 1/2, then 2/3.
    "duplicate": (
        [(CAT, HERE), (CAT, THERE)], [(CAT, HERE, 0.9), (CAT, HERE, 0.8), (CAT, THERE, 0.7)],
        (51 + 50 * 2 / 3) / 101, {"duplicate": 1 - (51 + 50 * 2 / 3) / 101}, {"duplicate": 1},
    ),
    # Wrong, right: 1/2 up to a recall of 1/2; without the wrong one 1; without the missed object 1/2.
    "background and missed": (
        [(CAT, HERE), (CAT, THERE)], [(CAT, AWAY, 0.9), (CAT, HERE, 0.8)],
        ONE_OF_TWO / 2, {"background": ONE_OF_TWO / 2, "missed": (1 - ONE_OF_TWO) / 2}, {"background": 1, "missed": 1},
    ),
    "missed": (
        [(CAT, HERE), (CAT, THERE)], [(CAT, HERE, 0.9)], ONE_OF_TWO, {"missed": 1 - ONE_OF_TWO}, {"missed": 1},
    ),
    "a bad place counts before a wrong class": (
        [(CAT, (0, 0, 10, 4)), (DOG, HERE)], [(CAT, HERE, 0.9)],
        0.0, {"localisation": 0.5, "missed": 0.0}, {"localisation": 1, "missed": 1},
    ),
    # The badly placed one at 0.8 would find it; the other one and the one of the wrong class would be gone.
    "the best of those that mean one object gets it": (
        [(CAT, HERE), (CAT, THERE)],
        [(CAT, HERE, 0.9), (CAT, THERE_LITTLE, 0.8), (CAT, THERE_LITTLE, 0.7), (DOG, THERE, 0.6)],
        ONE_OF_TWO, {"localisation": 1 - ONE_OF_TWO}, {"localisation": 2, "class": 1},
    ),
    # Both are gone when mended, and the dog's does the cats no harm.
    "mended detections do not find what is found": (
        [(CAT, HERE)], [(DOG, HERE, 0.9), (CAT, (0, 0, 10, 4), 0.8), (CAT, HERE, 0.7)],
        0.5, {"localisation": 0.5}, {"localisation": 1, "class": 1},
    ),
    "classes without objects have no part in the mean": (
        [(CAT, HERE)], [(CAT, HERE, 0.9), (DOG, AWAY, 0.9)], 1.0, {}, {"background": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(scene, name) -> None:
    objects, detections, *expected = BY_HAND[name]
    expect(errors_of(scene.add(objects, detections)), *expected)


@pytest.mark.parametrize(
    ("size", "kinds"),
    [
        ((10, 5), []), ((10, 4), ["localisation"]), ((10, 1), ["localisation"]), ((9, 1), ["background", "missed"]),
        ((10, 20), []), ((10, 100), ["localisation"]),
    ],
)  # fmt: skip
def test_the_borders_belong_to_the_better_side(scene, size, kinds) -> None:
    errors = errors_of(scene.add([(CAT, HERE)], [(CAT, (0, 0, *size), 0.9)]))
    assert errors["count"] == dict.fromkeys(KINDS, 0) | dict.fromkeys(kinds, 1)


def test_what_lies_in_a_crowd_is_no_error_and_a_crowd_is_not_missed(scene) -> None:
    scene.add([(CAT, (20, 20, 80, 80), 1, True), (CAT, HERE)], [(CAT, THERE, 0.9), (CAT, HERE, 0.8)])
    expect(errors_of(scene), 1.0, {}, {})
    scene.detection(DOG, THERE, 0.9)  # is of another class than the crowd
    assert errors_of(scene)["count"]["background"] == 1


def test_nothing_to_find_and_nothing_found(scene) -> None:
    nothing = errors_of(scene)
    scene.detection(CAT, HERE, 0.9)
    only_false = errors_of(scene)
    for errors, background in ((nothing, 0), (only_false, 1)):
        assert (errors["AP50"], set(errors["dAP"].values())) == (None, {None})
        assert errors["count"] == dict.fromkeys(KINDS, 0) | {"background": background}
    scene.detections.clear()
    scene.object(CAT, HERE)
    expect(errors_of(scene), 0.0, {"missed": 1.0}, {"missed": 1})
    json.dumps([nothing, only_false, errors_of(scene)], allow_nan=False)


def fill(scene, rng) -> None:
    """Fill a scene with objects, crowds, and detections that are moved, of wrong classes, doubled or anywhere."""
    for image_id in range(1, scene.num_images + 1):
        for _ in range(rng.integers(0, 6)):
            width, height = (int(side) for side in rng.integers(8, 30, 2))
            x, y = (int(place) for place in rng.integers(0, 70, 2))
            category_id = int(rng.choice((CAT, DOG)))
            scene.object(category_id, (x, y, width, height), image_id, crowd=bool(rng.random() < 0.1))
            for _ in range(rng.integers(0, 4)):
                moved = (np.array((x, y)) + rng.integers(-7, 8, 2)).clip(0, 70).tolist()
                other = CAT if rng.random() < 0.3 else category_id
                scene.detection(other, (*moved, width, height), float(rng.integers(1, 20)) / 20, image_id)
        if rng.random() < 0.5:
            scene.detection(DOG, (5, 5, 20, 20), float(rng.random()), image_id)


@pytest.mark.parametrize("seed", range(8))
def test_properties_of_random_scenes(scene, seed) -> None:
    scene.num_images = 12
    fill(scene, np.random.default_rng(seed))
    errors = errors_of(scene, "segm")
    assert errors == errors_of(scene, "bbox")  # rectangles
    ap50, gains, counts = errors.values()
    assert ap50 == pytest.approx(compute_metrics(scene.dataset(), scene.detections, "bbox").summary["AP50"], abs=1e-9)
    assert all(0 <= gain <= 1 - ap50 + 1e-9 for gain in gains.values())
    images = scene.matchings()
    right = sum((image.matches >= 0).sum() for image in images)
    ignored = sum((image.in_crowd & (image.matches < 0)).sum() for image in images)
    *wrong, missed = (counts[kind] for kind in KINDS)
    assert right + ignored + sum(wrong) == len(scene.detections)
    assert missed <= sum(len(image.truth_labels) for image in images) - right
    for kind in KINDS:
        assert counts[kind] > 0 or gains[kind] == 0
