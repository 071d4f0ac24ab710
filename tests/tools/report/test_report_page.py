"""The files that an evaluation leaves behind: everything is on the page, and no text is more than text."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.tools.report.conftest import PageChecker
from yolact.data.dataset import CocoDataset
from yolact.evaluation.analysis import Shown, Trust
from yolact.evaluation.coco import Curves
from yolact.tools.report.evaluation_page import _class_section, _confusion_section, _matrix, terminal_text
from yolact.tools.report.sections import ERRORS, METRICS

EVIL = "<script>alert('\"&')</script>"


def mixed(index, number, label):
    """Leave out the objects of one image, and take one of another for the other class."""
    return None if index == 1 else 1 - label if (index, number) == (2, 0) else label


def changed(dataset, tmp_path, image_folder=None, **changes):
    """Return the data set with other content of its annotation file."""
    content = {**json.loads(Path(dataset.annotation_file).read_text()), **changes}
    (tmp_path / "changed.json").write_text(json.dumps(content))
    return CocoDataset(tmp_path / "changed.json", image_folder or dataset.image_folder)


def test_all_files_are_written_and_the_page_shows_everything(write_evaluation):
    folder = write_evaluation("out", mixed)
    files = {"metrics.json", "detections_segm.json", "detections_bbox.json", "config.yaml", "report.html", "gallery"}
    files.add("odd_labels.json")
    assert {path.name for path in folder.iterdir()} == files
    metrics, page = json.loads((folder / "metrics.json").read_text()), (folder / "report.html").read_text()
    checker = PageChecker(page)
    for kind in ("segm", "bbox"):
        for key in METRICS:
            assert key in checker.texts
            assert metrics[kind][key] is None or f"{metrics[kind][key]:.3f}" in checker.texts
    errors = metrics["errors"]["segm"]
    assert errors["count"]["class"] == 1
    assert f"{errors['dAP']['missed']:.3f}" in checker.texts
    titles = ["Metrics", "Errors", "Precision and recall", "Object size", "Classes", "Speed", "Confusion", "Images"]
    titles += ["Odd labels", "How this was made"]
    for text in (*titles, *ERRORS, "disc", "square", "a <b>.pth", "yolact eval --x '<y>'"):
        assert text in checker.texts
    assert "image_size: 64" in page
    assert "Measured on cpu (test), PyTorch, float32, batch 1" in page
    assert sorted(re.findall(r'alt="(picture \d)', page)) == [f"picture {i}" for i in range(5)]  # 5 has no objects
    assert "40.0 frames per second" in page
    assert not re.search(r"\bnan\b|\binf\b|None", re.sub(r'src="data:[^"]*"', "", page))


def test_cells_of_the_confusion_matrix_say_what_they_count(write_evaluation):
    page = (write_evaluation("out", mixed) / "report.html").read_text()
    titles = re.findall(r'title="([^"]*)"', page)
    # Of 4 discs and 5 squares, those of image 1 (one each) are missed and one of image 2 is taken for the other.
    assert sorted(titles) == [
        "disc / disc: 3, 75.0 % of the row",
        "disc / not found: 1, 25.0 % of the row",
        "square / disc: 1, 20.0 % of the row",
        "square / not found: 1, 20.0 % of the row",
        "square / square: 3, 60.0 % of the row",
    ]


@pytest.mark.parametrize("found", [lambda *_: None, lambda *_: 0])
def test_evaluations_that_find_nothing_or_the_wrong_have_a_page(write_evaluation, found):
    PageChecker((write_evaluation("out", found) / "report.html").read_text())


def test_data_without_objects_has_a_page(write_evaluation, dataset, tmp_path):
    folder = write_evaluation("out", dataset=changed(dataset, tmp_path, annotations=[]))
    page = (folder / "report.html").read_text()
    PageChecker(page)
    assert "There are no objects to find." in page
    assert "Precision and recall" not in page
    assert "There is none: the model contradicts no label" in page
    assert "There are no objects to find." in terminal_text(json.loads((folder / "metrics.json").read_text()))


def test_one_class_needs_no_curves_of_its_own(write_evaluation, dataset, tmp_path):
    annotations = json.loads(Path(dataset.annotation_file).read_text())["annotations"]
    for annotation in annotations:
        annotation["category_id"] = 3
    one = changed(dataset, tmp_path, categories=[{"id": 3, "name": "thing"}], annotations=annotations)
    folder = write_evaluation("out", dataset=one)
    page = (folder / "report.html").read_text()
    assert "Classes" in PageChecker(page).texts
    assert "for each class" not in page
    assert "AP per class" not in terminal_text(json.loads((folder / "metrics.json").read_text()))


def test_hostile_names_stay_text(write_evaluation, dataset, tmp_path):
    images = json.loads(Path(dataset.annotation_file).read_text())["images"]
    for number, image in enumerate(images):
        name = f"<img src=x onerror=alert({number})>.png"
        (tmp_path / "images").mkdir(exist_ok=True)
        shutil.copy(Path(dataset.image_folder) / image["file_name"], tmp_path / "images" / name)
        image["file_name"] = name
    categories = [{"id": 3, "name": EVIL}, {"id": 7, "name": "</svg>$x_1$\ud800\n" + "x" * 5000}]
    evil = changed(dataset, tmp_path, tmp_path / "images", images=images, categories=categories)
    folder = write_evaluation("out", mixed, dataset=evil, device=EVIL)
    checker = PageChecker((folder / "report.html").read_text())
    odd_labels = json.loads((folder / "odd_labels.json").read_text())
    assert checker.tags.count("img") == 5 + len(odd_labels)
    assert EVIL in checker.texts
    assert "</svg>$x_1$\N{REPLACEMENT CHARACTER}…xxxxxxxxxx…" in checker.texts  # both ends, where there is little room
    terminal_text(json.loads((folder / "metrics.json").read_text())).encode()


def test_classes_without_objects_stand_last_and_have_no_curve():
    precision = np.full((3, 101, 3), 0.5)
    precision[:, :, 0] = np.nan
    precision[:, :, 2] = 0.25
    curves = dict.fromkeys(("segm", "bbox"), Curves(precision, np.full((3, 3), np.nan)))
    rows = _class_section(curves, Shown(3), Trust(3), ["none", "good", "bad"]).rows
    assert [[cell.text for cell in row[:4]] for row in rows] == [
        ["bad", "0", "0.250", "0.250"],
        ["good", "0", "0.500", "0.500"],
        ["none", "0", "-", "-"],
    ]


def test_of_very_many_classes_the_most_confused_are_drawn():
    shown = Shown(300)
    shown.confusion[np.arange(300), np.arange(300)] = 5
    shown.confusion[250, 260], shown.confusion[20, 10] = 3, 1
    names = [f"class-{number}" for number in range(300)]
    rows, columns, counts = _matrix(shown.confusion, names).values()
    assert {"class-250", "class-260", "class-10", "class-20"} <= set(rows)
    assert (len(rows), rows[-1], columns[-1]) == (101, "no free object", "not found")
    assert counts[rows.index("class-250")][columns.index("class-260")] == 3
    section = _confusion_section(shown, names)
    assert [[cell.text for cell in row] for row in section.rows] == [
        ["class-250", "class-260", "3", "37.5 %"],
        ["class-20", "class-10", "1", "16.7 %"],
    ]
    assert section.notes[-1] == "The matrix has the 100 classes that are confused most."


def test_the_terminal_shows_metrics_classes_errors_and_speed(write_evaluation):
    metrics = json.loads((write_evaluation("out", mixed, processes=3) / "metrics.json").read_text())
    metrics["segm"]["BoundaryAP"] = 0.125  # one of a user's own
    metrics["per_class"]["segm"]["none"] = None
    lines = terminal_text(metrics).splitlines()
    words = {line.split()[0]: line.split() for line in lines if line.startswith("  ")}
    assert words["AP"][1:3] == [f"{metrics[kind]['AP']:.3f}" for kind in ("segm", "bbox")]
    assert words["AP50"][3:] == ["IoU", "0.50"]
    assert words["BoundaryAP"] == ["BoundaryAP", "0.125", "-"]
    order = [line.split()[0] for line in lines if line.startswith(("  disc", "  square"))]
    assert order == sorted(order, key=lambda name: metrics["per_class"]["segm"][name])
    assert "  1 class has no objects here." in lines
    errors = metrics["errors"]
    assert words["missed"][1:5] == [
        *(f"{errors[kind]['dAP']['missed']:.3f}" for kind in ("segm", "bbox")),
        *(f"{errors[kind]['count']['missed']}" for kind in ("segm", "bbox")),
    ]
    assert words["network"] == ["network", "20.0"]
    assert any("40.0 frames per second: network + detection + masks" in line for line in lines)
    assert any("size, 1 image at a time" in line for line in lines)
    assert "size, 8 tiles at a time" in terminal_text({**metrics, "batch_size": 8, "tiles": {"size": [9, 9]}})
    assert any("one of 3 processes" in line for line in lines)
    assert "frames per second" not in terminal_text({**metrics, "fps": None})


def test_of_more_than_a_hundred_classes_the_terminal_shows_the_worst(write_evaluation):
    metrics = json.loads((write_evaluation("out") / "metrics.json").read_text())
    many = {f"class-{number}": number / 150 for number in range(150)}
    shown = terminal_text({**metrics, "per_class": {"segm": many, "bbox": many}})
    assert "class-99 " in shown
    assert "class-100" not in shown
    assert "and 50 more: see metrics.json" in shown
