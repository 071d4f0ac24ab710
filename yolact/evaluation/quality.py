"""How well single images went: what the gallery's best and worst are chosen by."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from yolact.data.annotations import ObjectRecord
from yolact.data.dataset import CocoDataset
from yolact.data.masks import Rle
from yolact.evaluation.overlaps import FOUND_IOU
from yolact.formats import Record

# What a person would be shown; AP itself counts detections of every score.
SHOWN_SCORE = 0.3


@dataclass(frozen=True)
class ImageQuality:
    """Result of one image, over detections that score at least `SHOWN_SCORE`.

    Attributes:
        index: of the image in the data set.
        found, missed, wrong: objects with a mask of their class at IoU 0.5 or more, objects without, and masks
            without an object.
        quality: panoptic quality in [0, 1], which is F1 times the mean IoU of the found ones.
    """

    index: int
    found: int
    missed: int
    wrong: int
    quality: float


def image_qualities(dataset: CocoDataset, records: Iterable[Record]) -> list[ImageQuality]:
    """Return the quality of each image that holds an object or a detection, in the order of the data set.

    Crowd regions, and what is detected in them, do not count.
    """
    by_image: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        if record["score"] >= SHOWN_SCORE:
            by_image[record["image_id"]].append(record)
    qualities = []
    for index, image in enumerate(dataset.images):
        objects, shown = dataset.objects(index), by_image[image.id]
        size = (image.height, image.width)
        qualities.append(_quality(index, objects, shown, dataset.categories.ids, size))
    return [one for one in qualities if one.found or one.missed or one.wrong]


def _quality(
    index: int, objects: list[ObjectRecord], shown: list[Record], category_ids: Sequence[int], size: tuple[int, int]
) -> ImageQuality:
    found, wrong, overlap = 0, 0, 0.0
    for label, category_id in enumerate(category_ids):
        truths = [item for item in objects if item.label == label]
        detections = [record for record in shown if record["category_id"] == category_id]
        ious, num_wrong = _match(truths, detections, size)
        found, wrong, overlap = found + len(ious), wrong + num_wrong, overlap + sum(ious)
    missed = sum(not item.iscrowd for item in objects) - found
    return ImageQuality(index, found, missed, wrong, overlap / (found + (missed + wrong) / 2 or 1))


def _match(truths: list[ObjectRecord], detections: list[Record], size: tuple[int, int]) -> tuple[list[float], int]:
    """Match one class greedily by score; return the IoU of each match and the number of wrong detections.

    Detections that lie for the most part in a crowd region are neither right nor wrong.
    """
    if not truths or not detections:
        return [], len(detections)
    detections = sorted(detections, key=lambda record: -record["score"])
    iscrowd = [item.iscrowd for item in truths]
    ious = np.asarray(
        rle_tools.iou(
            [record["segmentation"] for record in detections],
            [encode_segmentation(item, size) for item in truths],
            [int(crowd) for crowd in iscrowd],
        )
    )
    in_crowd = np.any(ious[:, iscrowd] >= FOUND_IOU, axis=1).tolist()
    single = ious[:, np.logical_not(iscrowd)]
    matched, wrong = [], 0
    for row, ignored in zip(single, in_crowd, strict=True):
        best = int(row.argmax()) if row.size else 0
        if row.size and row[best] >= FOUND_IOU:
            matched.append(float(row[best]))
            single[:, best] = -1
        else:
            wrong += not ignored
    return matched, wrong


def encode_segmentation(item: ObjectRecord, size: tuple[int, int]) -> dict[str, Any]:
    """Return the compressed RLE of an object's segmentation in an image of `size` (H, W)."""
    if isinstance(item.segmentation, Rle):
        return rle_tools.frPyObjects({"size": list(size), "counts": item.segmentation.runs.tolist()}, *size)
    polygons = [polygon.ravel().astype(float).tolist() for polygon in item.segmentation]
    return rle_tools.merge(rle_tools.frPyObjects(polygons, *size))
