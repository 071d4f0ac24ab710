import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yolact.data.dataset import CocoDataset
from yolact.data.masks import IDENTITY, Rle, draw_masks
from yolact.errors import DatasetError

WriteSet = Callable[..., tuple[Path, Path]]
Change = Callable[[dict[str, Any]], object]


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


def first(data: dict[str, Any], key: str = "annotations") -> dict[str, Any]:
    return data[key][0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: first(d).update(bbox=[10, 5, 0, 15]), "box without area"),
        (lambda d: first(d).update(bbox=[10, 5, 20, -1]), "box without area"),
        (lambda d: first(d).update(bbox=[60, 5, 20, 15]), "box outside the image"),
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
