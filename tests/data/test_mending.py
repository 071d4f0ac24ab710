"""What other tools write is read as what it means, and counted."""

import logging
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.conftest import content, inspect
from yolact.data.annotations import ImageRecord
from yolact.data.dataset import CocoDataset
from yolact.data.json_values import as_whole, nested_well
from yolact.errors import DatasetError
from yolact.evaluation.coco import compute_metrics, read_truth
from yolact.evaluation.matching import match_images

Content = dict[str, Any]
WriteSet = Callable[..., tuple[Path, Path]]
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]
HOLES = [[[0, 0], [9, 0], [9, 9], [0, 9]], [[2, 2], [4, 2], [4, 4]]]  # as GeoJSON has them


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3), ("3", 3), (" 3 ", 3), ("-3", -3), (3.0, 3), (3.5, None), ("3.0", None), (True, None), (None, None),
     ("", None), ("٣", None), (float("nan"), None), (float("inf"), None), ("1" * 30, None), ([3], None)],
)  # fmt: skip
def test_whole_numbers(value: object, expected: int | None) -> None:
    assert as_whole(value) == expected
    assert type(as_whole(value)) is type(expected)


@pytest.mark.parametrize(
    "value", [[SQUARE], SQUARE, [[SQUARE]], [[1, 1], [5, 1], [5, 5], [1, 5]], [[[1, 1], [5, 1], [5, 5], [1, 5]]],
     [[[1, 1]], [[5, 1]], [[5, 5]], [[1, 5]]]],
)  # fmt: skip
def test_polygons_of_any_depth(value: object) -> None:
    assert nested_well(value) == [SQUARE]


def test_several_polygons_and_what_means_nothing() -> None:
    assert nested_well([[SQUARE, SQUARE]]) == nested_well([SQUARE, [], SQUARE]) == [SQUARE, SQUARE]
    assert nested_well([SQUARE, [[1, 1], [5, 1], [5, 5]]]) == [SQUARE, [1, 1, 5, 1, 5, 5]]
    assert nested_well([[[1, 1], [5, 1], [5, 5]], SQUARE]) == [[1, 1, 5, 1, 5, 5], SQUARE]
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    for nothing in (HOLES, [1, 2, 3, 4], [[1, 2], [3, 4]], [[SQUARE[:4]]], [[[SQUARE]]], [None], deep):
        assert nested_well(nothing) is nothing


def renamed(data: Content, key: str, names: dict[int, object]) -> None:
    """Give images or categories other ids, and annotations with them."""
    field = {"images": "image_id", "categories": "category_id"}[key]
    for entry in data[key]:
        entry["id"] = names[entry["id"]]
    for entry in data["annotations"]:
        entry[field] = names[entry[field]]


@pytest.mark.parametrize("names", [{9: "9", 4: "4", 5: "5"}, {9: 9.0, 4: 4.0, 5: 5.0}, {9: "9", 4: 4, 5: 5.0}])
def test_ids_of_images_written_as_text_or_with_decimals(write_set: WriteSet, names: dict[int, object]) -> None:
    dataset = CocoDataset(*write_set(lambda data: renamed(data, "images", names)))
    assert [image.id for image in dataset.images] == [9, 4, 5]
    assert [len(dataset.objects(index)) for index in range(3)] == [2, 1, 0]


@pytest.mark.parametrize("names", [{9: "a", 4: "b", 5: "c"}, {9: "1", 4: "01", 5: "001"}, {9: "5e-3", 4: "7", 5: "8"}])
def test_ids_of_images_that_are_names(write_set: WriteSet, names: dict[int, object]) -> None:
    dataset = CocoDataset(*write_set(lambda data: renamed(data, "images", names)))
    order = sorted(names.values())
    assert [image.id for image in dataset.images] == [1 + order.index(names[number]) for number in (9, 4, 5)]
    assert [len(dataset.objects(index)) for index in range(3)] == [2, 1, 0]


def test_numbers_where_ids_are_names_lead_nowhere(write_set: WriteSet) -> None:
    def change(data: Content) -> None:
        renamed(data, "images", {9: "a", 4: "b", 5: "c"})
        data["annotations"][0]["image_id"] = 2

    with pytest.raises(DatasetError, match=r"'image_id' of annotations\[0\].* but it is '2'"):
        CocoDataset(*write_set(change))


@pytest.mark.parametrize(("key", "name"), [("categories", "name"), ("images", "file_name")])
def test_an_id_of_one_and_the_name_of_another_is_refused(write_set: WriteSet, key: str, name: str) -> None:
    """Where the class 7 is called 20, and the class 20 is there too, "20" may be either."""
    field = {"categories": "category_id", "images": "image_id"}[key]
    first, second = (7, 20) if key == "categories" else (4, 9)

    def change(data: Content) -> None:
        next(entry for entry in data[key] if entry["id"] == first)[name] = str(second)
        data["annotations"][2][field] = str(second)

    annotation_file, folder = write_set(change)
    with pytest.raises(DatasetError, match=rf"'{field}' of .* must be a whole number of 64 bits, but it is '{second}'"):
        CocoDataset(annotation_file, folder)


def test_a_file_that_another_entry_names_is_not_taken(write_set: WriteSet) -> None:
    """A.PNG is no file, and a.png that of another image, whose objects must not be mixed with its own."""
    annotation_file, folder = write_set(lambda data: data["images"][2].update(file_name="A.PNG"))
    (folder / "c.png").unlink()
    with pytest.raises(DatasetError, match=r"'A\.PNG' .* cannot be found"):
        CocoDataset(annotation_file, folder)


def test_a_pipe_is_no_image(write_set: WriteSet) -> None:
    annotation_file, folder = write_set(lambda data: [entry.pop("width") for entry in data["images"][:1]])
    (folder / "a.png").unlink()
    os.mkfifo(folder / "a.png")
    with pytest.raises(DatasetError, match="'width' of"):
        CocoDataset(annotation_file, folder)
    assert {one.kind for one in inspect(annotation_file, folder)} == {"invalid-field"}
    text = annotation_file.read_text().replace('"height": 40}', '"height": 40, "width": 60}', 1)
    annotation_file.write_text(text)
    assert "missing-picture" in {one.kind for one in inspect(annotation_file, folder)}


def test_zero_as_text(write_set: WriteSet) -> None:
    def change(data: Content) -> None:
        renamed(data, "images", {9: 0, 4: 4, 5: 5})
        data["annotations"][0]["image_id"] = "0"

    assert len(CocoDataset(*write_set(change)).objects(0)) == 2


def test_ids_of_categories_that_are_names(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set(lambda data: renamed(data, "categories", {42: "C", 7: "D", 20: "W"})))
    assert dataset.categories.names == ["cat", "dog", "cow"]
    assert dataset.categories.ids == [1, 2, 3]
    assert [record.label for record in dataset.objects(0)] == [0, 1]


def test_ids_both_as_number_and_as_another_name_are_refused(write_set: WriteSet) -> None:
    with pytest.raises(DatasetError, match=r"'id' of images\[1\]"):
        CocoDataset(*write_set(lambda data: renamed(data, "images", {9: 9, 4: "four", 5: 5})))
    with pytest.raises(DatasetError, match=r"images\[1\] .*repeats the id 9"):
        CocoDataset(*write_set(lambda data: renamed(data, "images", {9: 9, 4: "9", 5: 5})))


def test_entries_that_are_repeated_in_the_same_words(write_set: WriteSet) -> None:
    def change(data: Content) -> None:
        data["images"].append(dict(data["images"][0]))
        data["categories"].append(dict(data["categories"][0]))

    dataset = CocoDataset(*write_set(change))
    assert len(dataset) == 3
    assert dataset.categories.names == ["dog", "cow", "cat"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("below/b.png", "below\\b.png"),
        ("below/b.png", ".\\below\\b.png"),
        ("below/b.png", "below/B.PNG"),
        ("below/b 1.png", "below/b%201.png"),
        ("below/é.png", unicodedata.normalize("NFD", "below/é.png")),
    ],
)
def test_file_names_of_other_systems(write_set: WriteSet, name: str, written: str) -> None:
    annotation_file, folder = write_set(lambda data: data["images"][1].update(file_name=written))
    for path in (folder / "below/b.png", folder / written):
        if path.exists():
            path.rename(folder / name)
    dataset = CocoDataset(annotation_file, folder)
    assert dataset.images[1].file_name == name
    assert dataset.load_image(1).shape == (40, 60, 3)


def test_a_file_of_the_same_name_is_proposed_and_not_taken(write_set: WriteSet) -> None:
    for written, fault in (("..\\media\\4\\b.png", "leaves the image folder"), ("train/b.png", "cannot be found")):
        annotation_file, folder = write_set(lambda data, written=written: data["images"][1].update(file_name=written))
        shutil.rmtree(folder / "media", ignore_errors=True)
        for path in (folder / written, folder.parent / "media/4/b.png"):
            path.unlink(missing_ok=True)
        (folder / "below").mkdir(exist_ok=True)
        shutil.copy(folder / "a.png", folder / "below/b.png")
        with pytest.raises(DatasetError, match=rf"{fault}.*the only file of that name there is 'below/b.png'"):
            CocoDataset(annotation_file, folder)
        (folder / "b.png").write_bytes(b"another")
        with pytest.raises(DatasetError, match=fault) as caught:
            CocoDataset(annotation_file, folder)
        assert "only file" not in str(caught.value)
        (folder / "b.png").unlink()


def test_addresses_of_lvis(write_set: WriteSet) -> None:
    names = ["a.png", "below/b.png", "c.png"]

    def change(data: Content) -> None:
        for entry in data["images"]:
            entry["coco_url"] = f"http://images.example/{entry.pop('file_name')}"

    assert [image.file_name for image in CocoDataset(*write_set(change)).images] == names


@pytest.mark.parametrize("change", [{"width": None}, {"width": 0, "height": 0}, {"width": "60", "height": 40.0}])
def test_sizes_that_are_missing_or_text(write_set: WriteSet, change: dict[str, object]) -> None:
    dataset = CocoDataset(*write_set(lambda data: data["images"][0].update(change)))
    assert dataset.images[0] == ImageRecord(9, "a.png", 40, 60)


def test_a_size_that_contradicts_its_file_is_not_completed(write_set: WriteSet) -> None:
    with pytest.raises(DatasetError, match=r"'width' of images\[0\]"):
        CocoDataset(*write_set(lambda data: data["images"][0].update(width=None, height=41)))


def test_boxes_and_areas_from_masks(write_set: WriteSet) -> None:
    def change(data: Content) -> None:
        for entry in data["annotations"]:
            entry.update(bbox=[], area=0)
        data["annotations"][2]["segmentation"] = [[40, 20, 50, 20, 50, 30]]  # a triangle

    dataset = CocoDataset(*write_set(change))
    objects = [record for index in range(2) for record in dataset.objects(index)]
    assert [record.bbox for record in objects] == [(10, 5, 30, 20), (0, 0, 5, 40), (40, 20, 50, 30)]
    assert [record.area for record in objects] == [300, 200, 45]
    assert [entry["area"] for entry in read_truth(dataset, "segm")[0].dataset["annotations"]] == [300, 200, 45]


@pytest.mark.parametrize(
    ("area", "expected"), [(450, 450), (400, 400), (1800, 915), (880, 880), (300, 915), (900.5, 900.5)]
)
def test_which_areas_are_believed(write_set: WriteSet, area: float, expected: float) -> None:
    def change(data: Content) -> None:  # a triangle in a box of 60 x 30 pixels
        data["annotations"][0].update(bbox=[0, 0, 60, 30], area=area, segmentation=[[0, 0, 60, 0, 60, 30]])

    found = CocoDataset(*write_set(change)).objects(0)[0].area
    assert found == pytest.approx(expected, abs=20)


def test_everything_mended_is_told_once(write_set: WriteSet, caplog: pytest.LogCaptureFixture) -> None:
    def change(data: Content) -> None:
        renamed(data, "categories", {42: "42", 7: "7", 20: "20"})
        data["annotations"][0]["segmentation"] = data["annotations"][0]["segmentation"][0]

    with caplog.at_level(logging.WARNING):
        CocoDataset(*write_set(change))
    [message] = [record.message for record in caplog.records if ": mended " in record.message]
    assert "mended 6 ids written as text or with decimals (the first: categories[0])" in message
    assert "1 segmentations one list too flat or too deep (the first: annotations[0])" in message


def test_a_good_file_is_not_touched(write_set: WriteSet, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset(*write_set())
    assert "mended" not in caplog.text
    assert read_truth(dataset, "segm")[0].dataset["annotations"] == content()["annotations"]


def test_evaluation_sees_the_mended_file(write_set: WriteSet) -> None:
    def change(data: Content) -> None:
        renamed(data, "categories", {42: "C", 7: "D", 20: "W"})
        renamed(data, "images", {9: "x", 4: "y", 5: "z"})
        for entry in data["annotations"]:
            entry.update(id=3, bbox=None, area=None)
        data["annotations"][1]["iscrowd"] = False
        data["annotations"][0]["segmentation"] = [data["annotations"][0]["segmentation"]]

    dataset = CocoDataset(*write_set(change))
    truth, without_mask = read_truth(dataset, "segm")
    assert without_mask == 0
    records = [
        {key: entry[key] for key in ("image_id", "category_id")} | {"score": 1.0, "segmentation": truth.annToRLE(entry)}
        for entry in truth.dataset["annotations"]
    ]
    metrics = compute_metrics(dataset, records, "segm")
    assert metrics.summary["AP"] == pytest.approx(1)
    assert metrics.per_class == {"cat": pytest.approx(1), "dog": pytest.approx(1), "cow": None}
    matched = [one.matches.tolist() for one in match_images(dataset, records, "segm")]
    assert matched == [[0, 1], [0], []]
    masks = dataset.ground_truth(0).masks
    assert torch.equal(masks.sum((1, 2)), torch.tensor([300, 200]))
    assert np.array_equal(truth.annToMask(truth.dataset["annotations"][0]), masks[0].numpy())
