"""Instances as COCO result records, and the COCO figures of such records by pycocotools."""

import contextlib
import io
import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolact.structures import Instances

logger = logging.getLogger(__name__)

IouType = Literal["segm", "bbox"]
Record = dict[str, Any]

SUMMARY_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class Figures:
    """COCO's figures as plain floats in [0, 1]; None (null in JSON) where no ground truth of that kind exists.

    `summary` has the keys of `SUMMARY_KEYS`. AR100 and ARs, ARm, ARl allow `max_detections` detections of a picture
    (so does AP), which is more than 100 only where the caller asked for more; the key's name stays.
    `per_class` maps a class name to its AP.
    """

    summary: dict[str, float | None]
    per_class: dict[str, float | None]


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Return the compressed RLE of a bool [H, W] mask: {"size": [H, W], "counts": str}, as pycocotools encodes it.

    Only the columns that hold the object are scanned, which makes it several times as fast as `mask.encode`.
    """
    height, width = mask.shape
    columns = np.flatnonzero(mask.any(axis=0))
    if len(columns) == 0:
        counts = [height * width]
    else:
        first, last = int(columns[0]), int(columns[-1]) + 1
        runs = mask[:, first:last].ravel(order="F")
        borders = np.flatnonzero(runs[1:] != runs[:-1]) + 1
        borders = np.concatenate([[0], borders, [len(runs)]])
        lengths = np.diff(borders).tolist()
        # RLE starts with a run of zeros and alternates.
        counts = lengths if not runs[0] else [0, *lengths]
        counts[0] += first * height
        if after := (width - last) * height:
            if len(counts) % 2:
                counts[-1] += after
            else:
                counts.append(after)
    encoded = rle_tools.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def decode_mask(rle: dict[str, Any]) -> np.ndarray:
    """Return the bool [H, W] mask of a compressed RLE."""
    mask: np.ndarray = rle_tools.decode(rle).astype(bool)
    return mask


def coco_records(instances: Instances, image_id: int) -> list[Record]:
    """Return one COCO result record per instance: image_id, category_id, bbox (xywh), score, segmentation (RLE).

    The score is the mask's (class probability times predicted mask IoU in YOLACT++, else the class probability).
    """
    boxes, scores, labels = instances.boxes.tolist(), instances.mask_scores.tolist(), instances.labels.tolist()
    return [
        {
            "image_id": image_id,
            "category_id": instances.category_ids[label],
            "bbox": _xywh(box),
            "score": score,
            "segmentation": encode_mask(mask.numpy()),
        }
        for box, score, label, mask in zip(boxes, scores, labels, instances.masks, strict=True)
    ]


def result_records(instances: Instances, image_id: int) -> tuple[list[Record], list[Record]]:
    """Return (mask records, box records) as COCO's two result files hold them.

    Mask records carry no bbox: pycocotools would take an object's size from it instead of from the mask. Box records
    carry the class probability, which YOLACT++ does not rescore.
    """
    both = coco_records(instances, image_id)
    masks = [{key: value for key, value in record.items() if key != "bbox"} for record in both]
    keys = ("image_id", "category_id", "bbox")
    boxes = [
        {**{key: record[key] for key in keys}, "score": score}
        for record, score in zip(both, instances.scores.tolist(), strict=True)
    ]
    return masks, boxes


def compute_figures(
    annotation_file: str | Path,
    records: Sequence[Record],
    iou_type: IouType,
    max_detections: int = 100,
    image_ids: Iterable[int] | None = None,
) -> Figures:
    """Score result records against every picture of an annotation file, as `COCOeval` does.

    Args:
        annotation_file: COCO JSON that a `CocoDataset` has accepted (pycocotools does not validate it).
        records: result records of one kind; an empty list scores 0.
        iou_type: "segm" compares masks, "bbox" boxes.
        max_detections: of one picture and class; below 100 it has no effect, as COCO's figures allow 100.
        image_ids: evaluate these pictures only; by default all pictures of the file, also those without objects.
    """
    truth = _ground_truth(Path(annotation_file), iou_type)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(truth, _results(truth, records, iou_type), iou_type)
        evaluator.params.maxDets = [1, 10, max(100, max_detections)]
        if image_ids is not None:
            evaluator.params.imgIds = sorted(set(image_ids))
        evaluator.evaluate()
        evaluator.accumulate()
    names = {category["id"]: category["name"] for category in truth.dataset["categories"]}
    precision = evaluator.eval["precision"]  # [IoU thresholds, recall points, classes, areas, max detections]
    per_class = {
        names[category_id]: _mean(precision[:, :, index, 0, -1])
        for index, category_id in enumerate(evaluator.params.catIds)
    }
    return Figures(_summary(precision, evaluator.eval["recall"]), per_class)


def _summary(precision: np.ndarray, recall: np.ndarray) -> dict[str, float | None]:
    """Take the 12 figures from COCOeval's tables; areas are (all, small, medium, large), last axis (1, 10, most)."""
    values = [
        _mean(precision[:, :, :, 0, -1]),
        _mean(precision[0, :, :, 0, -1]),  # IoU thresholds .50, .55, ... .95
        _mean(precision[5, :, :, 0, -1]),
        *(_mean(precision[:, :, :, area, -1]) for area in (1, 2, 3)),
        *(_mean(recall[:, :, 0, limit]) for limit in (0, 1, 2)),
        *(_mean(recall[:, :, area, -1]) for area in (1, 2, 3)),
    ]
    return dict(zip(SUMMARY_KEYS, values, strict=True))


def _mean(table: np.ndarray) -> float | None:
    """Return the mean over the defined cells; COCOeval writes -1 where there is no ground truth."""
    defined = table[table > -1]
    return float(np.mean(defined)) if defined.size else None


def _xywh(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]


def _ground_truth(annotation_file: Path, iou_type: IouType) -> COCO:
    """Read an annotation file for COCOeval, which wants fields that training can do without."""
    data = json.loads(annotation_file.read_text(encoding="utf-8"))
    sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    dropped: Counter[str] = Counter()
    annotations = []
    for annotation in data["annotations"]:
        if iou_type == "segm" and not _has_mask(annotation):
            dropped["without a mask"] += 1
            continue
        annotations.append(_completed(annotation, sizes[annotation["image_id"]]))
    # COCOeval marks "unmatched" by 0, so that an object with the id 0 would never count as found.
    if any(annotation["id"] == 0 for annotation in annotations):
        for index, annotation in enumerate(annotations, start=1):
            annotation["id"] = index
    for reason, count in dropped.items():
        logger.warning("%s: %d annotations %s do not enter the mask figures.", annotation_file, count, reason)
    return _index({**data, "annotations": annotations})


def _has_mask(annotation: Record) -> bool:
    """Tell whether pycocotools can make a mask of this annotation; polygons need three points."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        return any(len(polygon) >= 6 for polygon in segmentation)
    return bool(segmentation)


def _completed(annotation: Record, size: tuple[int, int]) -> Record:
    """Return a copy with id, iscrowd, area and polygons in the form that pycocotools needs."""
    completed = {"iscrowd": 0, **annotation}
    segmentation = completed.get("segmentation")
    if isinstance(segmentation, list):
        completed["segmentation"] = [polygon for polygon in segmentation if len(polygon) >= 6]
    if "area" not in completed:
        completed["area"] = _area(completed, size)
    return completed


def _area(annotation: Record, size: tuple[int, int]) -> float:
    """Return the mask's area in pixels, or the box's where there is no mask."""
    if not _has_mask(annotation):
        return float(annotation["bbox"][2] * annotation["bbox"][3])
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str | bytes):
        return float(rle_tools.area(segmentation))
    rles = rle_tools.frPyObjects(segmentation, *size)
    return float(rle_tools.area(rle_tools.merge(rles) if isinstance(rles, list) else rles))


def _results(truth: COCO, records: Sequence[Record], iou_type: IouType) -> COCO:
    """Wrap records as pycocotools does; it adds keys to them and cannot read an empty list."""
    if not records:
        return _index({**truth.dataset, "annotations": []})
    copies = [copy(record) for record in records]
    if iou_type == "segm":
        for record in copies:
            record.pop("bbox", None)
    return truth.loadRes(copies)


def _index(dataset: dict[str, Any]) -> COCO:
    """Return a COCO object over this data, without pycocotools' prints."""
    coco = COCO()
    coco.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
