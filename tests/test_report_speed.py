import itertools
import json
from pathlib import Path

import cv2
import pytest
from matplotlib.transforms import Bbox

from yolact.compat.published import MODELS
from yolact.errors import UserError
from yolact.report_speed import LONGEST_LABEL, WARNING, Measured, draw_speed, labels_of, read_measured, write_speed

METRICS = {
    "segm": {"AP": 0.25},
    "fps": 12.5,
    "annotations": "instances_val.json",
    "images": 150,
    "batch_size": 1,
    "device": "cpu (some CPU, 2 threads)",
    "dtype": "float32",
}
GROUP = "150 pictures of instances_val.json, cpu (some CPU, 2 threads), float32, batch 1"


def written(folder: Path, content: object) -> Path:
    path = folder / "metrics.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_point_is_read_in_percent_with_what_it_was_measured_on(tmp_path: Path) -> None:
    assert read_measured(written(tmp_path, METRICS), "mine") == Measured("mine", 12.5, 25.0, GROUP)


def test_what_one_of_several_processes_measured_is_a_group_of_its_own(tmp_path: Path) -> None:
    shared = read_measured(written(tmp_path, {**METRICS, "processes": 2}), "shared")
    assert shared.group == f"{GROUP}, one of 2 processes"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[1, 2]", "not an object with figures"),
        ("7", "not an object with figures"),
        ({}, "it has no 'images'"),
        ({**METRICS, "segm": None}, "not an object with figures"),
        ({**METRICS, "segm": {}}, "it has no 'AP'"),
        ({key: value for key, value in METRICS.items() if key != "annotations"}, "it has no 'annotations'"),
        ({**METRICS, "segm": {"AP": None}}, "nothing to plot.*got None and 12.5"),
        ({**METRICS, "fps": None}, "nothing to plot.*got 0.25 and None"),
        ({**METRICS, "fps": 0}, "nothing to plot"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: object, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(UserError, match=rf"metrics\.json.*{message}"):
        read_measured(path, "mine")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json' cannot be read \(No such file"):
        read_measured(tmp_path / "none.json", "mine")


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["/runs/shapes/quickstart/eval/metrics.json"], ["shapes/quickstart"]),
        (["/results/half/metrics.json", "/results/yolact_base.json"], ["half", "yolact_base"]),
        (["/a/half/metrics.json", "/b/half/metrics.json"], ["a/half", "b/half"]),
        (["/x/runs/shapes/1/eval/metrics.json", "/y/runs/shapes/1/eval/metrics.json"],
         ["x/runs/shapes/1", "y/runs/shapes/1"]),
        ([], []),
    ],
)  # fmt: skip
def test_files_are_named_after_their_runs(paths: list[str], labels: list[str]) -> None:
    assert labels_of([Path(path) for path in paths]) == labels


def test_a_file_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="given twice"):
        labels_of([Path("/a/metrics.json"), Path("/b/metrics.json"), Path("/a/../b/metrics.json")])


def points_of(axis, legend: str) -> list[tuple[float, float]]:
    (line,) = [line for line in axis.get_lines() if str(line.get_label()).startswith(legend)]
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def test_the_published_models_stand_beside_the_measured_ones() -> None:
    measured = [Measured("a", 100.0, 30.0, GROUP), Measured("b", 0.5, 20.0, "other"), Measured("c", 90.0, 31.0, GROUP)]
    figure = draw_speed(measured)
    (axis,) = figure.axes
    assert points_of(axis, f"measured: {GROUP}") == [(100.0, 30.0), (90.0, 31.0)]
    assert points_of(axis, "measured: other") == [(0.5, 20.0)]
    old, new = points_of(axis, "YOLACT: published, COCO test-dev, one Titan Xp"), points_of(axis, "YOLACT++: published")
    assert set(old + new) == {(model.fps, model.mask_ap) for model in MODELS.values()}
    assert new == [(33.5, 34.1), (27.3, 34.6)]
    shown = [text.get_text() for text in axis.texts]
    assert sorted(shown) == sorted([WARNING, "a", "b", "c", *(model.title for model in MODELS.values())])
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 4
    assert axis.get_xscale() == "log"


CASES = {
    "none": [],
    "a CPU and a GPU": [Measured("shapes/quickstart", 34.6, 64.0, "cpu"), Measured("nuclei/n2", 0.8, 40.2, "cpu"),
                        Measured("yolact_base/2026-11-21_07-51-33", 300.0, 29.9, "gpu")],
    "on a published point": [Measured(name, 33.5, 29.8, "gpu") for name in ("yolact_base/x", "yolact_base/y")],
    "a crowd with long names": [Measured(f"{n} " + "a long name " * 6, 30.0 + n / 10, 29.0, "gpu") for n in range(6)],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_no_label_covers_another_or_is_cut_off(case: str) -> None:
    figure = draw_speed(CASES[case])
    figure.draw_without_rendering()
    (axis,) = figure.axes
    labels = [text for text in axis.texts if text.get_text() != WARNING]
    boxes = [text.get_window_extent() for text in labels]
    assert len(boxes) == len(MODELS) + len(CASES[case])
    assert max(len(text.get_text()) for text in labels) <= LONGEST_LABEL
    for (one, left), (two, right) in itertools.combinations(zip(labels, boxes, strict=True), 2):
        assert Bbox.intersection(left, right) is None, (one.get_text(), two.get_text())
    for box in boxes:
        assert axis.bbox.x0 <= box.x0 < box.x1 <= axis.bbox.x1
        assert axis.bbox.y0 <= box.y0 < box.y1 <= axis.bbox.y1
    (legend,) = figure.legends
    assert legend.get_window_extent().y1 <= axis.xaxis.label.get_window_extent().y0
    for text in (axis._left_title, axis.xaxis.label, axis.yaxis.label, *legend.get_texts()):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1


def test_a_dollar_sign_in_a_name_is_no_formula() -> None:
    (axis,) = draw_speed([Measured("$1 and $2", 30.0, 20.0, "gpu")]).axes
    (label,) = [text for text in axis.texts if text.get_text() == "$1 and $2"]
    assert not label.get_parse_math()


def test_the_file_is_a_picture(tmp_path: Path) -> None:
    write_speed([Measured("a", 10.0, 30.0, GROUP)], tmp_path / "speed.png")
    assert cv2.imread(str(tmp_path / "speed.png")).shape == (840, 1140, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["speed.png"]
