import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yolact.data.coco import CocoDataset
from yolact.data.masks import IDENTITY, Rle, draw_masks
from yolact.errors import DatasetError

WriteSet = Callable[..., tuple[Path, Path]]
Change = Callable[[dict[str, Any]], object]


def test_classes_come_from_the_file_in_order_of_their_ids(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    assert dataset.categories.names == ["dog", "cow", "cat"]
    assert dataset.categories.ids == [7, 20, 42]


def test_pictures_keep_the_order_of_the_file_and_their_objects(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    assert [picture.id for picture in dataset.images] == [9, 4, 5]
    assert len(dataset) == 3
    polygon, crowd = dataset.objects(0)
    assert (polygon.label, polygon.bbox, polygon.iscrowd, polygon.area, polygon.id) == (
        2,
        (10, 5, 30, 20),
        False,
        300,
        1,
    )
    assert isinstance(polygon.segmentation, list)
    np.testing.assert_array_equal(polygon.segmentation[0], [[10, 5], [30, 5], [30, 20], [10, 20]])
    assert (crowd.label, crowd.bbox, crowd.iscrowd, crowd.id) == (0, (0, 0, 5, 40), True, 2)
    assert isinstance(crowd.segmentation, Rle)
    assert [record.id for record in dataset.objects(1)] == [8]
    assert dataset.objects(2) == dataset.objects(-1) == []
    assert [record.id for record in dataset.objects(-3)] == [1, 2]
    with pytest.raises(IndexError):
        dataset.objects(3)


def test_max_images_keeps_the_first_pictures(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set(), max_images=1)
    assert [picture.id for picture in dataset.images] == [9]
    assert len(dataset.objects(0)) == 2


def test_pictures_load_at_the_size_of_the_file(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    for index in range(3):
        picture = dataset.load_picture(index)
        assert picture.shape == (40, 60, 3)
        assert picture.dtype == np.uint8


def test_survives_pickling_for_worker_processes(write_set: WriteSet) -> None:
    copy = pickle.loads(pickle.dumps(CocoDataset(*write_set())))
    assert [record.id for record in copy.objects(0)] == [1, 2]
    assert copy.categories.label(42) == 2


def first(data: dict[str, Any], key: str = "annotations") -> dict[str, Any]:
    return data[key][0]


def crowd(data: dict[str, Any]) -> dict[str, Any]:
    return data["annotations"][1]["segmentation"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: first(d).update(bbox=[10, 5, 0, 15]), "box without area"),
        (lambda d: first(d).update(bbox=[10, 5, 20, -1]), "box without area"),
        (lambda d: first(d).update(bbox=[60, 5, 20, 15]), "box outside the picture"),
        (lambda d: first(d).update(segmentation=[]), "no segmentation"),
        (lambda d: first(d).update(segmentation=[[]]), "no segmentation"),
        (lambda d: first(d).pop("segmentation"), "no segmentation"),
        (lambda d: first(d).update(segmentation={"size": [40, 60], "counts": [2400]}), "no segmentation"),
    ],
)
def test_mild_faults_are_dropped_counted_and_reported(
    write_set: WriteSet, caplog: pytest.LogCaptureFixture, change: Change, reason: str
) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset(*write_set(change))
    assert dict(dataset.dropped) == {reason: 1}
    assert [record.id for record in dataset.objects(0)] == [2]
    assert len(caplog.records) == 1
    assert f"1 with {reason}" in caplog.text


def test_polygons_may_hang_over_the_border(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set(lambda d: first(d).update(segmentation=[[-3, -2, 64, 0, 30, 41.5]])))
    assert not dataset.dropped
    [mask] = draw_masks([dataset.objects(0)[0].segmentation], IDENTITY, (40, 60))
    assert mask[0].all()


def test_a_sound_file_reports_nothing(write_set: WriteSet, caplog: pytest.LogCaptureFixture) -> None:
    assert not CocoDataset(*write_set()).dropped
    assert not caplog.records


NAN, INF = float("nan"), float("inf")

FAULTS: list[tuple[str, Change, str]] = [
    ("no images key", lambda d: d.pop("images"), "has no 'images'"),
    ("no annotations key", lambda d: d.pop("annotations"), "has no 'annotations'"),
    ("no categories key", lambda d: d.pop("categories"), "has no 'categories'"),
    ("images not a list", lambda d: d.update(images={}), "'images' .* must be a list"),
    ("annotation not an object", lambda d: d["annotations"].append(3), "'annotations' .* must be a list of objects"),
    ("no categories", lambda d: d.update(categories=[]), "declares no categories"),
    ("no pictures", lambda d: d.update(images=[]), "lists no images"),
    ("category without name", lambda d: first(d, "categories").pop("name"), r"'name' of categories\[0\].*missing"),
    ("category id is text", lambda d: first(d, "categories").update(id="7"), r"'id' of categories\[0\].*'7'"),
    ("category id repeated", lambda d: first(d, "categories").update(id=7), r"categories\[1\].*repeats the id 7"),
    ("category name repeated", lambda d: first(d, "categories").update(name="cow"), "repeats the name 'cow'"),
    ("picture id repeated", lambda d: first(d, "images").update(id=4), r"images\[1\].*repeats the id 4"),
    ("picture id is true", lambda d: first(d, "images").update(id=True), r"'id' of images\[0\].*True"),
    ("picture without height", lambda d: first(d, "images").pop("height"), r"'height' of images\[0\].*missing"),
    ("picture width is text", lambda d: first(d, "images").update(width="60"), r"'width' of images\[0\].*'60'"),
    ("picture of no size", lambda d: first(d, "images").update(width=0), "0 x 40 pixels"),
    ("picture too large", lambda d: first(d, "images").update(width=30_000, height=30_000), "30000 x 30000"),
    ("file_name empty", lambda d: first(d, "images").update(file_name=""), "'file_name' of"),
    ("file_name absolute", lambda d: first(d, "images").update(file_name="/etc/a.png"), "leaves the picture folder"),
    ("file_name climbs", lambda d: first(d, "images").update(file_name="x/../../a.png"), "leaves the picture folder"),
    ("file_name with drive", lambda d: first(d, "images").update(file_name="C:\\a.png"), "leaves the picture folder"),
    ("picture file absent", lambda d: first(d, "images").update(file_name="gone.png"), "'gone.png' named by"),
    ("picture folder absent", lambda d: first(d, "images").update(file_name="x/gone.png"), "'x/gone.png' named by"),
    ("annotation without id", lambda d: first(d).pop("id"), r"'id' of annotations\[0\]"),
    ("annotation id repeated", lambda d: first(d).update(id=2), r"annotations\[1\] \(id 2\).*repeats the id"),
    ("unknown picture", lambda d: first(d).update(image_id=77), r"annotations\[0\] \(id 1\).*picture id 77"),
    ("picture id a list", lambda d: first(d).update(image_id=[9]), r"annotations\[0\] \(id 1\).*picture id \[9\]"),
    ("no category", lambda d: first(d).pop("category_id"), "'category_id' of .*missing"),
    ("undeclared category", lambda d: first(d).update(category_id=8), "category_id 8, .* declare .*7, 20, 42"),
    ("iscrowd 2", lambda d: first(d).update(iscrowd=2), "'iscrowd' of"),
    ("area NaN", lambda d: first(d).update(area=NAN), "'area' of"),
    ("no box", lambda d: first(d).pop("bbox"), "'bbox' of"),
    ("box of three", lambda d: first(d).update(bbox=[1, 2, 3]), "'bbox' of"),
    ("box NaN", lambda d: first(d).update(bbox=[NAN, 5, 20, 15]), "'bbox' of"),
    ("box infinite", lambda d: first(d).update(bbox=[0, 5, INF, 15]), "'bbox' of"),
    ("box of text", lambda d: first(d).update(bbox=["1", 5, 20, 15]), "'bbox' of"),
    ("segmentation text", lambda d: first(d).update(segmentation="x"), "'segmentation' of .*not a str"),
    ("polygon not nested", lambda d: first(d).update(segmentation=[1, 2, 3, 4, 5, 6]), "must be a flat list"),
    ("polygon of pairs", lambda d: first(d).update(segmentation=[[[1, 2], [3, 4], [5, 6]]]), "must be a flat list"),
    ("polygon of text", lambda d: first(d).update(segmentation=[["1", 2, 3, 4, 5, 6]]), "must be a flat list"),
    ("polygon ragged", lambda d: first(d).update(segmentation=[[1, [2], 3, 4, 5, 6]]), "must be a flat list"),
    ("polygon of 2 points", lambda d: first(d).update(segmentation=[[1, 2, 3, 4]]), "has 4 coordinates"),
    ("polygon odd", lambda d: first(d).update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "has 7 coordinates"),
    ("polygon NaN", lambda d: first(d).update(segmentation=[[1, 2, NAN, 4, 5, 6]]), "or one that is NaN"),
    ("polygon far away", lambda d: first(d).update(segmentation=[[1, 2, 1e9, 4, 5, 6]]), "far outside its 60 x 40"),
    ("RLE without counts", lambda d: crowd(d).pop("counts"), "'counts' of the RLE"),
    ("RLE counts of text", lambda d: crowd(d).update(counts=["a"]), "'counts' of the RLE"),
    ("RLE counts not COCO's", lambda d: crowd(d).update(counts="\x01\x02"), "'counts' of the RLE"),
    ("RLE counts cut off", lambda d: crowd(d).update(counts="o"), "'counts' of the RLE"),
    ("RLE counts endless", lambda d: crowd(d).update(counts="o" * 30 + "0"), "'counts' of the RLE"),
    ("RLE counts huge", lambda d: crowd(d).update(counts=[10**30]), "'counts' of the RLE"),
    ("RLE empty", lambda d: crowd(d).update(counts=[]), "add up to 0, expected .* 2400"),
    ("RLE falls short", lambda d: crowd(d).update(counts=[0, 100, 100]), "add up to 200, expected .* 2400"),
    ("RLE overflows", lambda d: crowd(d).update(counts=[0, *[2**62] * 4, 2400]), "the RLE of"),
    ("RLE negative", lambda d: crowd(d).update(counts=[0, -100, 2500]), "not negative"),
    ("RLE swapped size", lambda d: crowd(d).update(size=[60, 40]), r"has size \[60, 40\], expected .*\[40, 60\]"),
]


@pytest.mark.parametrize(("change", "message"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_faults_are_named_in_one_sentence(write_set: WriteSet, change: Change, message: str) -> None:
    annotation_file, folder = write_set(change)
    with pytest.raises(DatasetError, match=message) as caught:
        CocoDataset(annotation_file, folder)
    assert str(annotation_file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "not json", "[" * 100_000, '{"images": [\xff'])
def test_a_file_that_is_not_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match="is not valid JSON") as caught:
        CocoDataset(path, tmp_path)
    assert str(path) in str(caught.value)


def test_a_file_that_holds_no_object(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps([1, 2]))
    with pytest.raises(DatasetError, match="holds a list"):
        CocoDataset(path, tmp_path)


def test_missing_file_and_folder(write_set: WriteSet, tmp_path: Path) -> None:
    annotation_file, folder = write_set()
    with pytest.raises(DatasetError, match=r"absent\.json: No such file"):
        CocoDataset(tmp_path / "absent.json", folder)
    with pytest.raises(DatasetError, match="Is a directory"):
        CocoDataset(tmp_path, folder)
    with pytest.raises(DatasetError, match=r"absent .* does not exist"):
        CocoDataset(annotation_file, tmp_path / "absent")


def test_pictures_that_are_left_out_need_no_file(write_set: WriteSet) -> None:
    annotation_file, folder = write_set(lambda d: d["images"][2].update(file_name="gone.png"))
    assert len(CocoDataset(annotation_file, folder, max_images=2)) == 2


def test_annotations_of_coco_and_nuclei(shared: Path) -> None:
    """Every mask, of a polygon, crowd or RLE, is the one that pycocotools makes, pixel for pixel."""
    different = 0
    for annotations, pictures in (
        ("coco_tiny/annotations/instances_val2017.json", "coco_tiny/val2017"),
        ("nuclei/instances_val.json", "nuclei/val"),
    ):
        dataset = CocoDataset(shared / annotations, shared / pictures, max_images=40)
        entries = {entry["id"]: entry for entry in json.loads((shared / annotations).read_text())["annotations"]}
        for index, picture in enumerate(dataset.images):
            for record in dataset.objects(index):
                [mask] = draw_masks([record.segmentation], IDENTITY, (picture.height, picture.width))
                expected = reference_mask(entries[record.id]["segmentation"], picture.height, picture.width)
                different += int((mask != expected).sum())
    assert different == 0


def reference_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, list):
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
    if isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(segmentation)
