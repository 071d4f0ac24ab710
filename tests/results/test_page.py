"""The page of an evaluation: everything is in it, nothing comes from elsewhere, no text is more than text."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from yolact.evaluation.confusion import no_pictures
from yolact.results.page import render
from yolact.results.page_classes import GRID_CLASSES, class_section, confusion_section, curve_section
from yolact.results.wording import ERRORS_EXPLAINED, EXPLAINED

EVIL = "<script>alert('\"&')</script>"


def everything(index, place, label):
    return label


def mixed(index, place, label):
    """Leave out the objects of one picture, and take one of another for the other class."""
    return None if index == 1 else 1 - label if (index, place) == (2, 0) else label


def test_the_page_shows_everything(make_report, parse_page) -> None:
    report = make_report(mixed)
    page = render(report)
    checker = parse_page(page)
    texts = checker.texts
    metrics = report.evaluation.metrics
    for kind in ("segm", "bbox"):
        for key in EXPLAINED:
            assert key in texts
            assert metrics[kind][key] is None or f"{metrics[kind][key]:.3f}" in texts
    for kind in ERRORS_EXPLAINED:
        assert kind in texts
    errors = report.analysis.errors["segm"]
    assert errors.counts["class"] == 1
    assert f"{errors.gains['missed']:.3f}" in texts
    titles = "Figures Errors Precision_and_recall Object_size Classes Confusion Worst_pictures Speed How_this_was_made"
    for title in titles.split():
        assert f"<h2>{title.replace('_', ' ')}</h2>" in page
    for name in ("disc", "square", "a <b>.pth", "python eval.py --x '<y>'", "cpu (test)", "picture 1.png"):
        assert any(name in shown for shown in texts)
    assert "image_size: 64" in page
    assert page.count("<img") == 4
    assert checker.tags.count("polyline") == 6


@pytest.mark.parametrize("found", [everything, mixed, lambda index, place, label: None])
def test_nothing_is_asked_of_other_hosts(make_report, parse_page, found) -> None:
    page = render(make_report(found))
    assert all(source.startswith("data:image/jpeg;base64,") for source in parse_page(page).sources)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r'src="data:[^"]*"', "", page))
    assert "default-src 'none'" in page
    assert not re.search(r"\bnan\b|\binf\b|None", re.sub(r'src="data:[^"]*"', "", page))


def test_hostile_names_stay_text(make_report, evil_data, parse_page) -> None:
    page = render(make_report(mixed, *evil_data))
    checker = parse_page(page)
    assert checker.tags.count("script") == 2  # the data of the curves, and ours
    assert checker.tags.count("img") == 4
    assert all(source.startswith("data:") for source in checker.sources)
    assert EVIL in checker.texts
    page.encode()


def test_data_without_objects_or_detections_has_a_page(make_report, sample_data, tmp_path, parse_page) -> None:
    content = json.loads((sample_data / "annotations.json").read_text())
    content["annotations"] = []
    (tmp_path / "empty.json").write_text(json.dumps(content))
    page = render(make_report(everything, tmp_path / "empty.json"))
    parse_page(page)
    assert "There are no objects to find." in page
    assert "<h2>Precision" not in page


def test_one_class_needs_no_table_of_classes(make_report, sample_data, tmp_path, parse_page) -> None:
    content = json.loads((sample_data / "annotations.json").read_text())
    content["categories"] = [{"id": 3, "name": "thing"}]
    for annotation in content["annotations"]:
        annotation["category_id"] = 3
    (tmp_path / "one.json").write_text(json.dumps(content))
    page = render(make_report(everything, tmp_path / "one.json"))
    assert parse_page(page).tags.count("script") == 1
    assert "<h2>Classes</h2>" not in page
    assert 'id="curve-class"' not in page.split("<script>")[0]


def test_curves_of_each_class_are_in_the_page(make_report) -> None:
    report = make_report(mixed)
    page = render(report)
    data = json.loads(re.search(r'id="curves">([^<]*)<', page)[1])
    for kind, curves in report.evaluation.curves.items():
        assert np.array(data[kind]) / 1000 == pytest.approx(curves.precision.transpose(2, 0, 1), abs=5e-4)
    assert re.findall(r'<option value="(\d*)">([^<]*)<', page)[1:] == [("0", "disc"), ("1", "square")]


def test_classes_without_objects_are_not_offered_and_stand_last(make_report, parse_page) -> None:
    report = make_report(everything)
    curves = {
        kind: one._replace(precision=np.where([True, False], np.nan, one.precision))
        for kind, one in report.evaluation.curves.items()
    }
    shown, names = report.analysis.shown, report.categories.names
    assert curve_section(curves, shown, names).count("<option") == 0
    rows = re.findall(r"<tr><td>(\w+)</td>", class_section(curves, shown, names))
    assert rows == ["square", "disc"]


def test_of_very_many_classes_the_most_confused_are_drawn(parse_page) -> None:
    shown = no_pictures(300)
    shown.confusion[np.arange(300), np.arange(300)] = 5
    shown.confusion[250, 260], shown.confusion[20, 10] = 3, 1
    names = [f"class-{number}" for number in range(300)]
    page = confusion_section(shown, names)
    texts = parse_page(page).texts
    assert texts.count("class-250") == 3  # in the list, as a row and as a column
    assert {"class-260", "class-10", "class-20"} <= set(texts)
    assert "class-299" not in texts
    assert f"The {GRID_CLASSES} classes that are confused most, of 300:" in texts


def test_without_frames_per_second_none_are_said(make_report) -> None:
    report = make_report(everything)
    metrics = {**report.evaluation.metrics, "fps": None}
    page = render(replace(report, evaluation=replace(report.evaluation, metrics=metrics)))
    assert "frames per second" not in page


def test_what_the_speed_was_measured_on_is_said(make_report) -> None:
    report = make_report(everything)
    assert "Measured on cpu (test), float32, batch 1." in render(report)
    metrics = {**report.evaluation.metrics, "processes": 3}
    page = render(replace(report, evaluation=replace(report.evaluation, metrics=metrics)))
    assert "Measured on cpu (test), float32, batch 1, one of 3 processes." in page
