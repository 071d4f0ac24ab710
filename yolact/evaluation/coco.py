"""COCO's metrics of result records, by pycocotools."""

import contextlib
import io
import logging
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolact.data.dataset import CocoDataset, GroundTruth
from yolact.errors import UserError
from yolact.evaluation.curves import Curves, curves_of
from yolact.evaluation.encoding import RecordMaker
from yolact.evaluation.truth import IouType, read_truth
from yolact.formats import Record
from yolact.instances import Instances

logger = logging.getLogger(__name__)

Engine = Literal["pycocotools", "hotcoco"]

SUMMARY_KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


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
        segm, bbox: the records, complete when the `RecordMaker` has closed.
        curves: after `compute`, of both.
    """

    def __init__(self, dataset: CocoDataset, max_detections: int, engine: Engine, maker: RecordMaker) -> None:
        self.dataset, self.max_detections, self.engine = dataset, max_detections, engine
        self.segm: list[Record] = []
        self.bbox: list[Record] = []
        self.curves: dict[str, Curves] = {}
        self._maker: RecordMaker | None = maker

    def __getstate__(self) -> dict[str, Any]:
        """Hold, for other ranks, the records alone."""
        return {"segm": self.segm, "bbox": self.bbox}

    def update(self, image_id: int, instances: Instances, target: GroundTruth) -> None:
        """Take the records of an image."""
        assert self._maker is not None
        self._maker.put(instances, image_id, self.segm, self.bbox)

    def merge(self, others: Sequence["CocoEvaluator"]) -> None:
        """Add the records of other ranks, in the order that they have where one rank makes them all."""
        order = {image.id: place for place, image in enumerate(self.dataset.images)}
        for kind in ("segm", "bbox"):
            records = getattr(self, kind)
            records += [record for other in others for record in getattr(other, kind)]
            records.sort(key=lambda record: order[record["image_id"]])

    def compute(self) -> dict[str, Any]:
        """Return "segm" and "bbox", COCO's metrics of each, and "per_class", the AP by class name of both."""
        image_ids = [image.id for image in self.dataset.images]
        kinds: dict[IouType, list[Record]] = {"segm": self.segm, "bbox": self.bbox}
        metrics = {
            kind: compute_metrics(
                self.dataset.annotation_file, records, kind, self.max_detections, image_ids, self.engine
            )
            for kind, records in kinds.items()
        }
        self.curves = {kind: one.curves for kind, one in metrics.items()}
        summaries: dict[str, Any] = {kind: one.summary for kind, one in metrics.items()}
        return dict(summaries) | {"per_class": {kind: one.per_class for kind, one in metrics.items()}}


def compute_metrics(
    annotation_file: str | Path,
    records: Sequence[Record],
    iou_type: IouType,
    max_detections: int = 100,
    image_ids: Iterable[int] | None = None,
    engine: Engine = "pycocotools",
) -> CocoMetrics:
    """Score result records against every image of an annotation file, as `COCOeval` does.

    Args:
        annotation_file: COCO JSON that a `CocoDataset` has accepted (pycocotools does not validate it).
        records: result records of one kind; an empty list scores 0.
        iou_type: "segm" compares masks, "bbox" boxes.
        max_detections: of one image and class; below 100 it has no effect, as COCO's metrics allow 100.
        image_ids: evaluate these images only; by default all images of the file, also those without objects.
        engine: pycocotools is the reference; hotcoco, an optional extra, gives the same metrics many times as fast.

    Raises:
        UserError: hotcoco is asked for and not installed.
    """
    index, evaluator_class = _tools(engine)
    data, without_mask = read_truth(annotation_file, iou_type)
    if without_mask:
        logger.warning(
            "%s: %d annotations without a mask do not enter the mask metrics.", annotation_file, without_mask
        )
    truth = index(data)
    with contextlib.redirect_stdout(io.StringIO()):
        results = _results(truth, records, iou_type) if records else index({**truth.dataset, "annotations": []})
        evaluator = evaluator_class(truth, results, iou_type)
        evaluator.params.maxDets = [1, 10, 100, *([max_detections] if max_detections > 100 else [])]
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
    return CocoMetrics(_summary(precision, evaluator.eval["recall"]), per_class, curves_of(precision))


def _summary(precision: np.ndarray, recall: np.ndarray) -> dict[str, float | None]:
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


def _mean(table: np.ndarray) -> float | None:
    """Return the mean over the defined cells; COCOeval writes -1 where there is no ground truth."""
    defined = table[table > -1]
    return float(np.mean(defined)) if defined.size else None


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
