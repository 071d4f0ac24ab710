"""Each image's detections and objects with their IoU, whatever their classes are, and which detection finds which."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle_tools

from yolact.evaluation.truth import IouType, encode_annotation, read_truth
from yolact.formats import Record

FOUND_IOU = 0.5


class Overlaps(NamedTuple):
    """One image with D detections, best first, and G objects, crowd regions left out."""

    scores: NDArray[np.float64]  # [D]
    labels: NDArray[np.int64]  # [D], 0..C-1 in ascending order of category id
    truth_labels: NDArray[np.int64]  # [G]
    truth_areas: NDArray[np.float64]  # [G], square pixels, as the annotation file gives them
    iou: NDArray[np.float64]  # [D, G]
    in_crowd: NDArray[np.bool_]  # [D], at least half of it lies in a crowd region of its class

    def match(self) -> NDArray[np.int64]:
        """Return which object each detection finds, -1 for none: [D].

        The best detections choose first, each the object of its class that it overlaps most, at an IoU of 0.5 or more.
        """
        return greedy(np.where(self.labels[:, None] == self.truth_labels, self.iou, 0.0))


def greedy(iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Let each row, in order, choose the free column of the highest IoU, 0.5 or more: [rows], -1 for none.

    Of equal ones it takes the last, as COCOeval does.
    """
    chosen = np.full(len(iou), -1)
    free = iou.copy()
    for row in np.flatnonzero((iou >= FOUND_IOU).any(1)):
        column = iou.shape[1] - 1 - int(free[row, ::-1].argmax())
        if free[row, column] >= FOUND_IOU:
            chosen[row] = column
            free[:, column] = 0
    return chosen


def image_overlaps(
    annotation_file: str | Path, records: Iterable[Record], iou_type: IouType, image_ids: Iterable[int]
) -> Iterator[Overlaps]:
    """Yield the overlaps of each image that has objects or detections, in ascending order of id, as COCOeval does.

    Args:
        annotation_file: COCO JSON that a `CocoDataset` has accepted.
        records: result records of one kind.
        iou_type: "segm" compares masks, "bbox" boxes.
        image_ids: the images.
    """
    data, _ = read_truth(annotation_file, iou_type)
    sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    labels = {category_id: label for label, category_id in enumerate(sorted(item["id"] for item in data["categories"]))}
    truths, detections = _by_image(data["annotations"]), _by_image(records)
    for image_id in sorted(set(image_ids)):
        found, objects = detections.get(image_id, []), truths.get(image_id, [])
        if found or objects:
            yield _overlaps(found, objects, labels, iou_type, sizes[image_id])


def _by_image(entries: Iterable[Record]) -> dict[int, list[Record]]:
    groups: defaultdict[int, list[Record]] = defaultdict(list)
    for entry in entries:
        groups[entry["image_id"]].append(entry)
    return groups


def _overlaps(
    found: list[Record], objects: list[Record], labels: dict[int, int], iou_type: IouType, size: tuple[int, int]
) -> Overlaps:
    found = sorted(found, key=lambda record: -record["score"])
    crowds = [item for item in objects if item["iscrowd"]]
    single = [item for item in objects if not item["iscrowd"]]
    places = [_place(record, iou_type, size) for record in found]
    own = np.array([labels[record["category_id"]] for record in found], np.int64)
    crowd_labels = np.array([labels[item["category_id"]] for item in crowds], np.int64)
    in_crowds = _iou(places, [_place(item, iou_type, size) for item in crowds], crowd=True) >= FOUND_IOU
    return Overlaps(
        scores=np.array([record["score"] for record in found], float),
        labels=own,
        truth_labels=np.array([labels[item["category_id"]] for item in single], np.int64),
        truth_areas=np.array([item["area"] for item in single], float),
        iou=_iou(places, [_place(item, iou_type, size) for item in single], crowd=False),
        in_crowd=(in_crowds & (own[:, None] == crowd_labels)).any(1),
    )


def _place(entry: Record, iou_type: IouType, size: tuple[int, int]) -> Any:
    """Return where an object or detection is, as pycocotools wants it: xywh or an RLE."""
    return entry["bbox"] if iou_type == "bbox" else encode_annotation(entry["segmentation"], size)


def _iou(first: Sequence[Any], second: Sequence[Any], crowd: bool) -> NDArray[np.float64]:
    """Return the IoU [len(first), len(second)]; of crowd regions, the share of `first` that lies in them."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    return np.asarray(rle_tools.iou(list(first), list(second), [int(crowd)] * len(second)))
