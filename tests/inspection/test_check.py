"""A whole inspection: what was planted is found and nothing else, and errors are what training refuses."""

import copy
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from yolact.data.dataset import CocoDataset
from yolact.errors import DatasetError
from yolact.inspection.check import Report, Source, inspect, sources_of
from yolact.inspection.entries import read_set
from yolact.inspection.files import inspect_files
from yolact.inspection.kinds import KINDS, SKIPPABLE


def counts(report: Report) -> dict[tuple[str, str], int]:
    return {(finding.set_name, finding.kind.name): finding.count for finding in report.findings}


def test_every_planted_fault_is_found_and_none_invented(planted, planted_counts) -> None:
    report = inspect(sources_of(planted), planted)
    assert counts(report) == planted_counts
    assert all(len(finding.examples) == finding.count for finding in report.findings)
    levels = [finding.level for finding in report.findings]
    assert levels == sorted(levels)  # errors first


def test_every_kind_is_planted_somewhere(planted_counts) -> None:
    alone = {"no-pictures", "no-categories", "no-objects"}
    assert {name for _, name in planted_counts} | alone == set(KINDS)


def test_examples_name_picture_and_annotation(planted) -> None:
    found = {finding.kind.name: finding.examples for finding in inspect(sources_of(planted), planted).findings}
    assert found["truncated-picture"][0].picture == "cut.jpg"
    assert found["duplicate-picture"][0][:2] == ("the same picture as '1.jpg'", "copy of 1.jpg")
    assert (found["box-unlike-mask"][0].picture, found["box-unlike-mask"][0].annotation) == ("8.jpg", 1016)
    assert "looks like two corners" in found["box-unlike-mask"][0].note
    assert "does not tell" in found["exif-rotation"][0].note
    assert "80 x 60" in found["size-mismatch"][0].note
    assert found["shared-picture"][0].note == "'2.jpg' of the training set"
    assert found["categories-differ"][0].note == "'wolf' (id 17) only in validation"
    assert found["unused-category"][0].note == "'fox' (id 16)"
    assert found["too-many-objects"][0].note == "7 objects, eval.max_detections is 5"


def test_a_clean_set_gives_nothing(clean) -> None:
    config = clean.write()
    report = inspect(sources_of(config), config)
    assert report.findings == []
    assert report.num_errors == 0
    train = report.to_json()["sets"]["train"]
    assert (train["pictures"], train["objects"], train["crowd_regions"], train["left_out"]) == (12, 23, 1, 0)
    assert train["objects_per_class"] == [
        {"id": 3, "name": "cat", "objects": 12, "pictures": 12},
        {"id": 8, "name": "dog", "objects": 11, "pictures": 11},
    ]
    assert train["objects_per_picture"]["1"] == 1
    assert train["objects_per_picture"]["2"] == 11


def test_one_set_alone(clean) -> None:
    config = clean.write()
    report = inspect([Source("data", clean.folder / "train.json", clean.folder / "train")], config)
    assert counts(report) == {}
    assert list(report.to_json()["sets"]) == ["data"]


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (lambda data: data.update(images=[], annotations=[]), {"no-pictures", "unused-category"}),
        (lambda data: data.update(categories=[], annotations=[]), {"no-categories", "no-objects"}),
        (lambda data: data.update(annotations=[]), {"no-objects", "unused-category"}),
    ],
)
def test_empty_sets(clean, change, kinds) -> None:
    change(clean.train)
    config = clean.write()
    report = inspect([sources_of(config)[0]], config)
    assert {name for _, name in counts(report)} == kinds
    assert report.anchors is None
    json.dumps(report.to_json(), allow_nan=False)


def test_unreadable_pictures_that_training_skips_are_warnings_there_and_errors_in_validation(planted, clean) -> None:
    (clean.folder / "val/101.jpg").write_bytes(b"broken")
    config = replace(planted, data=replace(planted.data, unreadable="skip"))
    levels = {(f.set_name, f.kind.name): f.level for f in inspect(sources_of(config), config).findings}
    assert {levels["train", kind] for kind in SKIPPABLE} == {"warning"}
    assert levels["train", "missing-picture"] == "error"
    assert levels["val", "unreadable-picture"] == "error"


def test_only_the_pictures_that_are_trained_on_count(planted) -> None:
    config = replace(planted, data=replace(planted.data, max_train_images=12))
    found = counts(inspect(sources_of(config), config))
    assert ("train", "missing-picture") not in found
    assert ("train", "duplicate-picture") not in found
    assert found["train", "invalid-picture-size"] == 1  # every entry is read, as training does
    assert found["train", "short-polygon"] == 1


@pytest.mark.parametrize("missing", ["train.json", "train"])
def test_what_is_not_there_is_one_sentence(clean, missing) -> None:
    config = clean.write()
    (clean.folder / missing).rename(clean.folder / "moved")
    with pytest.raises(DatasetError, match=missing):
        inspect(sources_of(config), config)


BAD_VALUES: list[Any] = [
    None, -1, 0, 10**30, 1.5, float("nan"), float("inf"), "", "text", "\ud800", "../x", True, [], [None], {}, {"a": 1},
    [[1, 2]], [[1, 2, 3, 4, 5, 6]], [1, 2, 3, 4], [float("nan")] * 4, {"size": [60, 80], "counts": "abc"},
]  # fmt: skip


def damaged(data: dict[str, Any], rng: np.random.Generator) -> None:
    """Replace, remove or repeat something at a random place of an annotation file."""
    entries = data[str(rng.choice(["images", "annotations", "annotations", "categories"]))]
    place = int(rng.integers(len(entries)))
    entry = entries[place]
    value = BAD_VALUES[int(rng.integers(len(BAD_VALUES)))]
    key = str(rng.choice(list(entry)))
    match int(rng.integers(8)):
        case 0:
            del entry[key]
        case 1:
            entries.append(copy.deepcopy(entry))
        case 2:
            entries[place] = value
        case _:
            entry[key] = value


def refuses(source: Source) -> bool:
    """Tell whether training on a set would stop, at its start or at a picture."""
    try:
        dataset = CocoDataset(source.annotation_file, source.image_folder)
        for index in range(len(dataset)):
            dataset.load_image(index)
    except DatasetError:
        return True
    return False


def test_errors_are_exactly_what_the_loader_refuses(clean) -> None:
    """Two hundred damaged files: an inspection never fails, and finds an error where the loader stops, only there."""
    rng = np.random.default_rng(0)
    source = sources_of(clean.write())[0]
    seen = set()
    for number in range(200):
        data = copy.deepcopy(clean.train)
        damaged(data, rng)
        source.annotation_file.write_text(json.dumps(data))
        inspected = read_set(*source)
        inspect_files(inspected)
        found = inspected.findings.by_kind
        levels = {finding.level for finding in found.values()}
        assert ("error" in levels) == refuses(source), (number, list(found))
        seen |= set(found)
    assert len(seen) > 12
