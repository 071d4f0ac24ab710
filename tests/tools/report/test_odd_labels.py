"""Labels that a model disagrees with: which of them, how much, where it is drawn, and what the file says."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.evaluation.conftest import AWAY, CAT, DOG, HERE, SIDE, THERE, Scene
from yolact.data.dataset import CocoDataset
from yolact.evaluation.run import Evaluation
from yolact.tools.report.evaluation_page import Analysis
from yolact.tools.report.odd_labels import OddLabel, _view, _visible, draw_odd_labels, write_odd_labels

NEAR = (3, 0, 10, 10)  # of HERE, IoU 7 / 13


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def ranked(scene: Scene) -> tuple[list[OddLabel], CocoDataset]:
    dataset = scene.dataset()
    return Analysis.of(dataset, Evaluation({}, scene.detections, scene.detections)).odd_labels, dataset


def short(odd: list[OddLabel]) -> list[tuple[str, float, int | None]]:
    return [(one.kind, round(one.doubt, 3), one.annotation_id) for one in odd if one.doubt > 0]


def test_a_model_that_agrees_finds_nothing_odd(scene: Scene) -> None:
    scene.add([(CAT, HERE), (DOG, THERE)], [(CAT, HERE, 0.9), (DOG, THERE, 0.8)])
    assert short(ranked(scene)[0]) == []


def test_an_object_without_a_label(scene: Scene) -> None:
    """Of the three cats found two are right."""
    scene.add([(CAT, HERE), (CAT, THERE)], [(CAT, HERE, 0.9), (CAT, AWAY, 0.7), (CAT, THERE, 0.6)])
    [one] = [one for one in ranked(scene)[0] if one.doubt]
    assert one == ("not labelled", pytest.approx(2 / 3), 0, AWAY, None, None, "cat", 0.7)
    assert one.text() == "no label, the model finds cat, score 0.70"


def test_an_object_without_a_label_that_is_found_as_two_classes_is_one(scene: Scene) -> None:
    scene.add([(CAT, HERE), (DOG, THERE)], [(CAT, HERE, 0.9), (DOG, THERE, 0.8), (CAT, AWAY, 0.7), (DOG, AWAY, 0.6)])
    assert [(one.kind, one.found) for one in ranked(scene)[0]] == [("not labelled", "cat")]


def test_objects_smaller_than_usual_come_later(scene: Scene) -> None:
    small = (60, 0, 5, 5)
    scene.add([(CAT, HERE), (CAT, THERE)], [(CAT, HERE, 0.9), (CAT, small, 0.8), (CAT, AWAY, 0.7), (CAT, THERE, 0.6)])
    assert [(one.box, one.doubt) for one in ranked(scene)[0]] == [(AWAY, 0.5), (small, 0.5)]


def test_what_is_hardly_seen_is_no_object_without_a_label(scene: Scene) -> None:
    scene.add([(CAT, HERE)], [(CAT, HERE, 0.9), (CAT, AWAY, 0.29)])
    assert short(ranked(scene)[0]) == []


def test_another_class_and_another_outline(scene: Scene) -> None:
    scene.add(
        [(CAT, HERE), (DOG, THERE), (DOG, (60, 0, 10, 10))],
        [(CAT, NEAR, 0.9), (CAT, THERE, 0.8), (DOG, (60, 0, 10, 10), 0.9), (DOG, THERE, 0.7)],
    )
    odd = ranked(scene)[0]
    assert short(odd) == [("another class", 0.5, 2), ("another outline", 0.231, 1)]  # 0.5 (1 - 7 / 13)
    assert odd[0].text() == "labelled dog, the model finds cat, score 0.80"


def test_an_outline_that_is_far_off(scene: Scene) -> None:
    """IoU 5 / 15 is no find; another cat is found, so that half of the cats found are right."""
    scene.add([(CAT, HERE), (CAT, THERE)], [(CAT, (5, 0, 10, 10), 0.9), (CAT, THERE, 0.8)])
    assert short(ranked(scene)[0]) == [("another outline", round(0.5 * (1 - 5 / 15), 3), 1)]


def test_a_part_of_an_object_is_less_odd_than_an_object_elsewhere(scene: Scene) -> None:
    """IoU 0.4 with 40 of 100 pixels, and IoU 5 / 15 with as many; one of three cats found is right."""
    labels = [(CAT, HERE), (CAT, THERE), (CAT, AWAY)]
    scene.add(labels, [(CAT, (0, 0, 4, 10), 0.9), (CAT, (THERE[0] + 5, *THERE[1:]), 0.8), (CAT, AWAY, 0.7)])
    expected = [("another outline", round(1 / 3 * 10 / 15, 3), 2)]
    assert short(ranked(scene)[0]) == expected  # the other one's, 1 / 3 * 0.6 * 0.4, is below 0.1


def test_what_hardly_touches_a_label_is_another_object(scene: Scene) -> None:
    """IoU 3 / 17; one of two such objects is found, with one more that was not seen."""
    scene.add([(CAT, HERE), (CAT, THERE)], [(CAT, (7, 0, 10, 10), 0.9), (CAT, THERE, 0.8)])
    assert short(ranked(scene)[0]) == [("nothing there", round(1 / 3 * (1 - 3 / 17), 3), 1)]


def test_kinds_take_turns(scene: Scene) -> None:
    labels = [(CAT, HERE), (CAT, THERE), (CAT, (0, 30, 10, 10)), (CAT, (0, 50, 10, 10))]
    found = [(CAT, (1, 0, 10, 10), 0.9), (CAT, (42, 40, 10, 10), 0.8), (CAT, AWAY, 0.7), (CAT, (60, 0, 10, 10), 0.6)]
    odd = ranked(scene.add(labels, found))[0]
    assert [one.kind for one in odd] == [
        "not labelled", "nothing there", "another outline", "not labelled", "nothing there"
    ]  # fmt: skip
    doubts = [one.doubt for one in odd if one.kind == "another outline"]
    assert doubts == pytest.approx([0.5 * 1 / 3])  # the other one's, 0.5 * 2 / 11, is below 0.1


def test_a_label_on_nothing(scene: Scene) -> None:
    """Two of three such objects are found; a large one never is, so that it says nothing."""
    labels = [(CAT, HERE), (CAT, THERE), (CAT, AWAY), (CAT, (0, 50, 40, 40))]
    scene.add(labels, [(CAT, HERE, 0.9), (CAT, THERE, 0.9)])
    assert short(ranked(scene)[0]) == [("nothing there", 0.5, 3)]


def test_crowd_regions_are_not_looked_at(scene: Scene) -> None:
    scene.add([(CAT, HERE), (DOG, (30, 30, 60, 60), 1, True)], [(CAT, HERE, 0.9), (DOG, THERE, 0.9)])
    assert short(ranked(scene)[0]) == []


def test_a_box_unlike_its_mask_needs_no_model(scene: Scene) -> None:
    scene.add([(CAT, HERE), (CAT, THERE)], [(CAT, HERE, 0.9)])
    scene.objects[0]["bbox"] = [0, 0, 20, 20]
    assert short(ranked(scene)[0])[0] == ("box unlike mask", 1, 1)


def test_file_and_pictures(scene: Scene, tmp_path: Path) -> None:
    scene.add([(CAT, HERE)], [(CAT, HERE, 0.9), (DOG, AWAY, 0.8), (DOG, THERE, 0.9)])
    scene.object(DOG, THERE)
    odd, dataset = ranked(scene)
    cv2.imwrite(str(tmp_path / "1.png"), np.full((SIDE, SIDE, 3), 90, np.uint8))
    odd = [one for one in odd if one.doubt]
    write_odd_labels(tmp_path / "odd.json", odd, dataset)
    [record] = json.loads((tmp_path / "odd.json").read_text())
    assert record["kind"] == "not labelled"
    assert (record["file_name"], record["box"], record["found"]) == ("1.png", list(AWAY), "dog")
    [(kind, text, jpeg)] = draw_odd_labels(odd, dataset, {"segm": scene.detections, "bbox": scene.detections})
    assert (kind, text) == ("not labelled", "1.png: no label, the model finds dog, score 0.80")
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)
    red = (picture[..., 2] > 150) & (picture[..., :2].max(-1) < 90)
    columns = np.flatnonzero(red.any(0))
    assert red.sum() > 500
    assert columns[-1] > picture.shape[1] // 2 > columns[0]  # on both sides


@pytest.mark.parametrize(
    ("box", "expected"),
    [((40, 40, 20, 20), (26, 26, 75, 75)), ((90, 0, 20, 10), (76, 0, 100, 30)), ((0, 0, 0, 0), (0, 0, 25, 25))],
)
def test_parts_of_images(box: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert _view(box, (SIDE, SIDE)) == expected


def test_dark_parts_are_shown_brighter() -> None:
    assert _visible(np.array([0, 10, 100], np.uint8)).tolist() == [0, 26, 255]
    assert _visible(np.array([0, 10, 128], np.uint8)).tolist() == [0, 10, 128]
    assert _visible(np.zeros(2, np.uint8)).tolist() == [0, 0]
