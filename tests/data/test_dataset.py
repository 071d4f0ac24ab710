import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yolact.data.annotations import ObjectRecord
from yolact.data.dataset import CocoDataset, PackedObjects
from yolact.data.segmentations import IDENTITY, Rle, draw_masks
from yolact.errors import DatasetError

WriteSet = Callable[..., tuple[Path, Path]]


def test_classes_and_images_keep_the_order_of_the_file_and_their_objects(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    assert (dataset.categories.names, dataset.categories.ids) == (["dog", "cow", "cat"], [7, 20, 42])
    assert dataset.class_counts.tolist() == [1, 0, 1]  # without the crowd region
    assert [image.id for image in dataset.images] == [9, 4, 5]
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


def test_ground_truth_is_the_objects_as_tensors(write_set: WriteSet) -> None:
    dataset = CocoDataset(*write_set())
    truth = dataset.ground_truth(0)
    assert (truth.image_id, truth.image_size) == (9, (40, 60))
    assert truth.boxes.tolist() == [[10, 5, 30, 20], [0, 0, 5, 40]]
    assert (truth.labels.tolist(), truth.iscrowd.tolist()) == ([2, 0], [False, True])
    assert truth.masks.sum((1, 2)).tolist() == [300, 200]
    empty = dataset.ground_truth(2)
    assert (tuple(empty.boxes.shape), tuple(empty.masks.shape)) == ((0, 4), (0, 40, 60))


def test_survives_pickling_for_worker_processes(write_set: WriteSet) -> None:
    copy = pickle.loads(pickle.dumps(CocoDataset(*write_set())))
    assert [record.id for record in copy.objects(0)] == [1, 2]
    assert copy.categories.label(42) == 2


def first(data: dict[str, Any]) -> dict[str, Any]:
    return data["annotations"][0]


def test_what_is_left_out_is_reported(write_set: WriteSet, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset(*write_set(lambda d: first(d).update(bbox=[10, 5, 0, 15], segmentation=[])))
    assert dict(dataset.dropped) == {"box without area": 1}
    assert [record.id for record in dataset.objects(0)] == [2]
    assert "left 1 annotations out of training: 1 with box without area" in caplog.text


def test_missing_file_and_folder(write_set: WriteSet, tmp_path: Path) -> None:
    annotation_file, folder = write_set()
    with pytest.raises(DatasetError, match=r"absent\.json: No such file"):
        CocoDataset(tmp_path / "absent.json", folder)
    with pytest.raises(DatasetError, match="Is a directory"):
        CocoDataset(tmp_path, folder)
    with pytest.raises(DatasetError, match=r"absent .* does not exist"):
        CocoDataset(annotation_file, tmp_path / "absent")


def test_images_that_are_left_out_need_no_file(write_set: WriteSet) -> None:
    annotation_file, folder = write_set(lambda d: d["images"][2].update(file_name="gone.png"))
    dataset = CocoDataset(annotation_file, folder, max_images=2)
    assert [image.id for image in dataset.images] == [9, 4]
    assert len(dataset.objects(0)) == 2


def test_annotations_of_coco_and_nuclei(shared: Path) -> None:
    """Every mask, of a polygon, crowd or RLE, is the one that pycocotools makes, pixel for pixel."""
    different = 0
    for annotations, images in (
        ("coco_tiny/annotations/instances_val2017.json", "coco_tiny/val2017"),
        ("nuclei/instances_val.json", "nuclei/val"),
    ):
        dataset = CocoDataset(shared / annotations, shared / images, max_images=40)
        entries = {entry["id"]: entry for entry in json.loads((shared / annotations).read_text())["annotations"]}
        for index, image in enumerate(dataset.images):
            for record in dataset.objects(index):
                [mask] = draw_masks([record.segmentation], IDENTITY, (image.height, image.width))
                expected = reference_mask(entries[record.id]["segmentation"], image.height, image.width)
                different += int((mask != expected).sum())
    assert different == 0


def reference_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    if isinstance(segmentation, list):
        return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width)))
    if isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(segmentation)


SQUARE = np.array([[1, 1], [9, 1], [9, 9], [1, 9]], np.float32)
TRIANGLE = np.array([[0.1, 0.2], [30.3, 0.4], [5.5, 20.6]], np.float32)
POLYGONS = ObjectRecord(2, (0.1, 0.2, 30.3, 20.6), True, [SQUARE, TRIANGLE], 1 / 3, 2**63 - 1)
RUNS = ObjectRecord(1, (0.0, 0.0, 4.0, 3.0), False, Rle(3, 4, np.array([3, 2, 7], np.uint32)), 2.0, -(2**53) - 1)


def plain(item: ObjectRecord) -> tuple[ObjectRecord, str]:
    parts = item.segmentation
    return item._replace(segmentation=[]), repr(parts.runs if isinstance(parts, Rle) else parts)  # with their dtypes


@pytest.mark.parametrize("images", [[[POLYGONS, RUNS], [], [RUNS]], [[], [RUNS, POLYGONS, POLYGONS]], []])
def test_objects_come_back_as_they_were(images: list[list[ObjectRecord]]) -> None:
    packed = PackedObjects(images)
    for place, objects in enumerate(images):
        assert [plain(item) for item in packed.of(place)] == [plain(item) for item in objects]


def test_nobody_can_write_into_the_shared_arrays() -> None:
    with pytest.raises(ValueError, match="read-only"):
        PackedObjects([[POLYGONS]]).of(0)[0].segmentation[0][0, 0] = 5.0
