"""Instances as COCO result records, and the COCO figures of such records by pycocotools."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolact.errors import UserError
from yolact.evaluation.curves import Curves, curves_of
from yolact.evaluation.truth import IouType, Record, read_truth
from yolact.ops.regions import MaskRegion
from yolact.structures import Instances

logger = logging.getLogger(__name__)

Engine = Literal["pycocotools", "hotcoco"]
RunLengths = dict[str, Any]  # {"size": [H, W], "counts": str}, COCO's compressed form

SUMMARY_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class Figures:
    """COCO's figures as plain floats in [0, 1]; None (null in JSON) where no ground truth of that kind exists.

    `summary` has the keys of `SUMMARY_KEYS`. AR100 and ARs, ARm, ARl allow `max_detections` detections of a picture
    (so does AP), which is more than 100 only where the caller asked for more; the key's name stays.
    `per_class` maps a class name to its AP; `curves` has what these figures are the means of.
    """

    summary: dict[str, float | None]
    per_class: dict[str, float | None]
    curves: Curves = field(compare=False)  # arrays do not compare to one truth value


def encode_mask(mask: np.ndarray) -> RunLengths:
    """Return the compressed RLE of a bool [H, W] mask: {"size": [H, W], "counts": str}, as pycocotools encodes it."""
    return encode_region(MaskRegion.of(mask), (mask.shape[0], mask.shape[1]))


def encode_region(region: MaskRegion, image_size: tuple[int, int]) -> RunLengths:
    """Return the compressed RLE of a mask of a picture of `image_size` (H, W), as pycocotools encodes the whole mask.

    Only the columns that hold the object are scanned, which makes it many times as fast as `mask.encode`.
    """
    height, width = image_size
    if region.height == 0:
        counts = [height * width]
    else:
        columns = np.zeros((region.width, height), bool)
        columns[:, region.window[0]] = region.mask.T
        runs = columns.reshape(-1)
        borders = np.flatnonzero(runs[1:] != runs[:-1]) + 1
        borders = np.concatenate([[0], borders, [len(runs)]])
        lengths = np.diff(borders).tolist()
        # RLE starts with a run of zeros and alternates.
        counts = lengths if not runs[0] else [0, *lengths]
        counts[0] += region.left * height
        if after := (width - region.left - region.width) * height:
            if len(counts) % 2:
                counts[-1] += after
            else:
                counts.append(after)
    encoded = rle_tools.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def decode_mask(rle: RunLengths) -> np.ndarray:
    """Return the bool [H, W] mask of a compressed RLE."""
    mask: np.ndarray = rle_tools.decode(rle).astype(bool)
    return mask


def encode_regions(regions: Sequence[MaskRegion], image_size: tuple[int, int]) -> list[RunLengths]:
    """Return the compressed RLEs of the masks of a picture of `image_size` (H, W)."""
    return [encode_region(region, image_size) for region in regions]


def coco_records(instances: Instances, image_id: int, encoded: Sequence[RunLengths] | None = None) -> list[Record]:
    """Return one COCO result record per instance: image_id, category_id, bbox (xywh), score, segmentation (RLE).

    The score is the mask's (class probability times predicted mask IoU in YOLACT++, else the class probability).
    `encoded` are the masks as `encode_regions` makes them, where that is done already.
    """
    if encoded is None:
        encoded = encode_regions(instances.regions, instances.image_size)
    boxes, scores, labels = instances.boxes.tolist(), instances.mask_scores.tolist(), instances.labels.tolist()
    return [
        {
            "image_id": image_id,
            "category_id": instances.category_ids[label],
            "bbox": _xywh(box),
            "score": score,
            "segmentation": rle,
        }
        for box, score, label, rle in zip(boxes, scores, labels, encoded, strict=True)
    ]


def result_records(
    instances: Instances, image_id: int, encoded: Sequence[RunLengths] | None = None
) -> tuple[list[Record], list[Record]]:
    """Return (mask records, box records) as COCO's two result files hold them; `encoded` as for `coco_records`.

    Mask records carry no bbox: pycocotools would take an object's size from it instead of from the mask. Box records
    carry the class probability, which YOLACT++ does not rescore.
    """
    both = coco_records(instances, image_id, encoded)
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
    engine: Engine = "pycocotools",
) -> Figures:
    """Score result records against every picture of an annotation file, as `COCOeval` does.

    Args:
        annotation_file: COCO JSON that a `CocoDataset` has accepted (pycocotools does not validate it).
        records: result records of one kind; an empty list scores 0.
        iou_type: "segm" compares masks, "bbox" boxes.
        max_detections: of one picture and class; below 100 it has no effect, as COCO's figures allow 100.
        image_ids: evaluate these pictures only; by default all pictures of the file, also those without objects.
        engine: pycocotools is the reference; hotcoco, an optional extra, gives the same figures many times as fast.

    Raises:
        UserError: hotcoco is asked for and not installed.
    """
    index, evaluator_class = _tools(engine)
    data, without_mask = read_truth(annotation_file, iou_type)
    if without_mask:
        logger.warning(
            "%s: %d annotations without a mask do not enter the mask figures.", annotation_file, without_mask
        )
    truth = index(data)
    with contextlib.redirect_stdout(io.StringIO()):
        results = _results(truth, records, iou_type) if records else index({**truth.dataset, "annotations": []})
        evaluator = evaluator_class(truth, results, iou_type)
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
    return Figures(_summary(precision, evaluator.eval["recall"]), per_class, curves_of(precision))


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


def _tools(engine: Engine) -> tuple[Callable[[dict[str, Any]], Any], Any]:
    """Return an engine's way to index a data set, and its COCOeval."""
    if engine == "pycocotools":
        return _index, COCOeval
    try:
        import hotcoco
    except ImportError:
        raise UserError(
            "eval.engine is hotcoco, which is not installed: run `pip install hotcoco`, or leave the key at "
            "pycocotools, which gives the same figures."
        ) from None
    return hotcoco.COCO, hotcoco.COCOeval


def _results(truth: Any, records: Sequence[Record], iou_type: IouType) -> Any:
    """Wrap records as pycocotools does; it adds keys to them and cannot read an empty list."""
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
