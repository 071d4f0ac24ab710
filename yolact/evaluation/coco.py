"""COCO's metrics of result records, by pycocotools, and the evaluator that collects the records."""

import contextlib
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolact.data.coco_file import read_content
from yolact.data.dataset import CocoDataset, GroundTruth
from yolact.data.image_folder import ImageFolder
from yolact.errors import UserError
from yolact.evaluation.encoding import MaskEncoder
from yolact.formats import Record, result_records
from yolact.instances import Instances
from yolact.ops.rle import RunLengths

logger = logging.getLogger(__name__)

Engine = Literal["pycocotools", "hotcoco"]
IouType = Literal["segm", "bbox"]

SUMMARY_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
RECALLS = np.linspace(0, 1, 101)
CURVES = ("IoU 0.50", "IoU 0.75", "mean of 0.50 to 0.95")


class Curves(NamedTuple):
    """COCO's precision for each of C classes, in ascending order of category id; NaN where nothing is to be found."""

    precision: NDArray[np.float64]  # [3, 101, C] at each of `RECALLS`, for the thresholds of `CURVES`
    by_size: NDArray[np.float64]  # [C, 3], the AP of small, medium and large objects

    def average(self) -> NDArray[np.float64]:
        """Return the precision [3, 101] averaged over the classes, whose mean over recall is COCO's AP."""
        present = ~np.isnan(self.precision).any((0, 1))
        return self.precision[:, :, present].mean(2) if present.any() else np.full((len(CURVES), len(RECALLS)), np.nan)

    def per_class(self) -> NDArray[np.float64]:
        """Return [C, 3], each class's AP50, AP75 and AP."""
        return self.precision.mean(1).T


@dataclass(frozen=True)
class CocoMetrics:
    """COCO's metrics as plain floats in [0, 1]; None (null in JSON) where no ground truth of that kind exists.

    `summary` has the keys of `SUMMARY_KEYS`. AP, and AR by size, allow `max_detections` detections of an image and
    class, which is more than 100 only where the caller asked for more; "ARmax" is then AR with as many.
    `per_class` maps a class name to its AP; `curves` has what these metrics are the means of.
    """

    summary: dict[str, float | None]
    per_class: dict[str, float | None]
    curves: Curves = field(compare=False)  # arrays do not compare to one truth value


class CocoEvaluator:
    """An evaluator that collects result records and scores them as COCO does.

    Attributes:
        records: of masks ("segm") and boxes ("bbox"), complete when the `MaskEncoder` has closed.
        curves: after `compute`, of both.
    """

    def __init__(self, dataset: CocoDataset, max_detections: int, engine: Engine, encoder: MaskEncoder) -> None:
        self.dataset, self.max_detections, self.engine, self.encoder = dataset, max_detections, engine, encoder
        self.records: dict[IouType, list[Record]] = {"segm": [], "bbox": []}
        self.curves: dict[str, Curves] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Hold, for other ranks, the records alone."""
        return {"records": self.records}

    def update(self, image_id: int, instances: Instances, target: GroundTruth) -> None:
        """Take the records of an image."""

        def take(encoded: list[RunLengths]) -> None:
            masks, boxes = result_records(instances, image_id, encoded)
            self.records["segm"] += masks
            self.records["bbox"] += boxes

        self.encoder.put(instances, take)

    def merge(self, others: Sequence["CocoEvaluator"]) -> None:
        """Add the records of other ranks, in the order that they have where one rank makes them all."""
        order = {image.id: place for place, image in enumerate(self.dataset.images)}
        for kind, records in self.records.items():
            records += [record for other in others for record in other.records[kind]]
            records.sort(key=lambda record: order[record["image_id"]])

    def compute(self) -> dict[str, Any]:
        """Return "segm" and "bbox", COCO's metrics of each, and "per_class", the AP by class name of both."""
        found = {
            kind: compute_metrics(self.dataset, records, kind, self.max_detections, self.engine)
            for kind, records in self.records.items()
        }
        self.curves = {kind: one.curves for kind, one in found.items()}
        summaries: dict[str, Any] = {kind: one.summary for kind, one in found.items()}
        return summaries | {"per_class": {kind: one.per_class for kind, one in found.items()}}


def read_truth(dataset: CocoDataset, iou_type: IouType) -> tuple[COCO, int]:
    """Read the annotation file of a data set anew, and complete it with what COCOeval wants.

    Returns:
        All that the file holds, and the number of annotations that were left out because they have no mask.
    """
    data, _ = read_content(dataset.annotation_file, ImageFolder(dataset.image_folder))
    annotations = [{"iscrowd": 0, **entry} for entry in data["annotations"] if iou_type == "bbox" or _has_mask(entry)]
    # COCOeval marks "unmatched" by 0, so that an object with the id 0 would never count as found.
    free = 1 + max((entry["id"] for entry in annotations), default=0)
    annotations = [{**entry, "id": entry["id"] or free} for entry in annotations]
    truth = _index({**data, "annotations": annotations})
    for entry in annotations:
        if isinstance(entry.get("segmentation"), list):
            entry["segmentation"] = [polygon for polygon in entry["segmentation"] if len(polygon) >= 6]
        if "area" not in entry:
            width, height = entry["bbox"][2:]
            entry["area"] = float(rle_tools.area(truth.annToRLE(entry)) if _has_mask(entry) else width * height)
    return truth, len(data["annotations"]) - len(annotations)


def _has_mask(annotation: Record) -> bool:
    """Tell whether pycocotools can make a mask of this annotation; polygons need three points."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        return any(len(polygon) >= 6 for polygon in segmentation)
    return bool(segmentation)


def compute_metrics(
    dataset: CocoDataset,
    records: Sequence[Record],
    iou_type: IouType,
    max_detections: int = 100,
    engine: Engine = "pycocotools",
) -> CocoMetrics:
    """Score result records against every image of a data set, also those without objects, as `COCOeval` does.

    Args:
        dataset: its annotation file is read anew, as there is more in it than training uses.
        records: result records of one kind; an empty list scores 0.
        iou_type: "segm" compares masks, "bbox" boxes.
        max_detections: of one image and class; below 100 it has no effect, as COCO's metrics allow 100.
        engine: pycocotools is the reference; hotcoco, an optional extra, gives the same metrics many times as fast.

    Raises:
        UserError: hotcoco is asked for and not installed.
    """
    index, evaluator_class = _tools(engine)
    data, without_mask = read_truth(dataset, iou_type)
    if without_mask:
        logger.warning(
            "%s: %d annotations without a mask do not enter the mask metrics.", dataset.annotation_file, without_mask
        )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = index(data.dataset)
        # pycocotools adds keys to the records that it gets, and cannot read an empty list.
        own = [{**record} for record in records] if engine == "pycocotools" else list(records)
        results = truth.loadRes(own) if own else index({**data.dataset, "annotations": []})
        evaluator = evaluator_class(truth, results, iou_type)
        evaluator.params.maxDets = [1, 10, 100, *([max_detections] if max_detections > 100 else [])]
        evaluator.params.imgIds = sorted(image.id for image in dataset.images)
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval["precision"]  # [IoU thresholds, recall points, classes, areas, max detections]
    per_class = {name: _mean(precision[:, :, label, 0, -1]) for label, name in enumerate(dataset.categories.names)}
    return CocoMetrics(_summary(precision, evaluator.eval["recall"]), per_class, curves_of(precision))


def _summary(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> dict[str, float | None]:
    """Take the metrics from COCOeval's tables; areas are (all, small, medium, large), limits (1, 10, 100[, most])."""
    values = [
        _mean(precision[:, :, :, 0, -1]),
        _mean(precision[0, :, :, 0, -1]),  # IoU thresholds .50, .55, ... .95
        _mean(precision[5, :, :, 0, -1]),
        *(_mean(precision[:, :, :, area, -1]) for area in (1, 2, 3)),
        *(_mean(recall[:, :, 0, limit]) for limit in (0, 1, 2)),
        *(_mean(recall[:, :, area, -1]) for area in (1, 2, 3)),
    ]
    summary = dict(zip(SUMMARY_KEYS, values, strict=True))
    return {**summary, "ARmax": _mean(recall[:, :, 0, -1])} if recall.shape[-1] > 3 else summary


def _mean(table: NDArray[np.float64]) -> float | None:
    """Return the mean over the defined cells; COCOeval writes -1 where there is no ground truth."""
    defined = table[table > -1]
    return float(np.mean(defined)) if defined.size else None


def curves_of(precision: NDArray[np.float64]) -> Curves:
    """Take the curves from COCOeval's table of precision."""
    defined = np.where(precision[..., -1] > -1, precision[..., -1], np.nan)
    everything = defined[..., 0]
    return Curves(np.stack([everything[0], everything[5], everything.mean(0)]), defined[..., 1:].mean((0, 1)))


def _tools(engine: Engine) -> tuple[Callable[[dict[str, Any]], Any], Any]:
    """Return an engine's way to index a data set, and its COCOeval."""
    if engine == "pycocotools":
        return _index, COCOeval
    try:
        import hotcoco
    except ImportError:
        raise UserError(
            "eval.engine is hotcoco, which is not installed: run `pip install hotcoco`, or leave the key at "
            "pycocotools, which gives the same metrics."
        ) from None
    return hotcoco.COCO, hotcoco.COCOeval


def _index(content: dict[str, Any]) -> COCO:
    """Return a COCO object over this data, without pycocotools' prints."""
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
