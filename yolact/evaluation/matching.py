"""Which detection finds which object of an image, and how much all of them overlap, whatever their classes are."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle_tools

from yolact.data.dataset import CocoDataset
from yolact.evaluation.coco import IouType, read_truth
from yolact.formats import Record

FOUND_IOU = 0.5


@dataclass(frozen=True)
class Matching:
    """One image with D detections, best first, and G objects, crowd regions left out."""

    index: int  # of the image in the data set
    records: list[Record]  # [D]
    truth: list[Record]  # [G], the annotations
    scores: NDArray[np.float64]  # [D]
    labels: NDArray[np.int64]  # [D]
    truth_labels: NDArray[np.int64]  # [G]
    truth_areas: NDArray[np.float64]  # [G], square pixels, as the annotation file gives them
    iou: NDArray[np.float64]  # [D, G]
    in_crowd: NDArray[np.bool_]  # [D], at least half of it lies in a crowd region of its class
    matches: NDArray[np.int64]  # [D], the object that a detection finds, -1 for none


def match_images(dataset: CocoDataset, records: Iterable[Record], iou_type: IouType) -> Iterator[Matching]:
    """Match one image after another, in ascending order of id, as COCOeval does.

    The best detections choose first, each the object of its class that it overlaps most, at an IoU of 0.5 or more.

    Args:
        dataset: its annotation file is read anew, as there is more in it than training uses.
        records: result records of one kind.
        iou_type: "segm" compares masks, "bbox" boxes.
    """
    truth, _ = read_truth(dataset, iou_type)
    by_image: defaultdict[int, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: -record["score"]):
        by_image[record["image_id"]].append(record)

    def place(entry: Record) -> Any:
        return entry["bbox"] if iou_type == "bbox" else truth.annToRLE(entry)

    def labels(entries: Sequence[Record]) -> NDArray[np.int64]:
        return np.array([dataset.categories.label(entry["category_id"]) for entry in entries], np.int64)

    for index, image in sorted(enumerate(dataset.images), key=lambda item: item[1].id):
        found, objects = by_image[image.id], truth.imgToAnns[image.id]
        is_crowd = np.array([item["iscrowd"] for item in objects], bool)
        # Of a crowd region, it is the share of the detection that lies in it; nothing at all comes back as [].
        iou = rle_tools.iou(list(map(place, found)), list(map(place, objects)), is_crowd.astype(int).tolist())
        iou = np.reshape(iou, (len(found), len(objects)))
        same = labels(found)[:, None] == labels(objects)
        # Of an image in tiles these tables are large, so that nothing is copied which need not be.
        own, single = np.where(same, iou, 0.0), ~is_crowd if is_crowd.any() else slice(None)
        in_crowd, matches = np.any(own[:, is_crowd] >= FOUND_IOU, axis=1), greedy(own[:, single])
        del own
        yield Matching(
            index=index,
            records=found,
            truth=[item for item in objects if not item["iscrowd"]],
            scores=np.array([record["score"] for record in found], float),
            labels=labels(found),
            truth_labels=labels(objects)[single],
            truth_areas=np.array([item["area"] for item in objects], float)[single],
            iou=iou[:, single],
            in_crowd=in_crowd,
            matches=matches,
        )


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
