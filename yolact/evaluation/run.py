"""The evaluation loop: every picture through the network, records in COCO's form, figures and speed."""

import platform
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from yolact.config import EvalConfig
from yolact.data.dataset import CocoDataset
from yolact.data.loader import EvaluationSet, evaluation_loader
from yolact.data.transforms import to_unit
from yolact.device import DTYPES, Precision
from yolact.distributed import ALONE, Processes
from yolact.evaluation.coco import Figures, Record, compute_figures
from yolact.evaluation.curves import Curves
from yolact.evaluation.encoding import RecordMaker
from yolact.evaluation.speed import StageTimer, frames_per_second
from yolact.models.inference import for_inference
from yolact.models.yolact import Yolact
from yolact.postprocess import select_detections, to_instances
from yolact.structures import Detections, Instances, Predictions

NmsKind = Literal["fast", "exact", "cross_class"]
NMS_KINDS: tuple[NmsKind, ...] = ("fast", "exact", "cross_class")

EvaluationBatch = tuple[Tensor, list[tuple[int, int]], list[int]]  # uint8 [B, 3, S, S] RGB, sizes (H, W), picture ids


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: what metrics.json holds: "segm" and "bbox" (the 12 figures each, see `Figures`), "per_class" (AP by
            class name for each of the two), "fps", "milliseconds" (median of each stage per picture), "annotations"
            (name of the file), "images", "batch_size", "nms", "max_detections", "device", "dtype",
            "processes", "versions".
        segm: mask records, as in detections_segm.json.
        bbox: box records, as in detections_bbox.json.
        curves: of both, what the figures are the means of.
    """

    metrics: dict[str, Any]
    segm: list[Record]
    bbox: list[Record]
    curves: dict[str, Curves] = field(default_factory=dict)


def evaluate(
    model: Yolact,
    dataset: CocoDataset,
    settings: EvalConfig,
    device: torch.device,
    precision: Precision = "fp32",
    progress: bool = True,
    processes: Processes = ALONE,
    guard: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Evaluation:
    """Detect on every picture of `dataset` and score the result.

    Args:
        model: on `device`, in float32; a copy of it is evaluated, see `for_inference`.
        precision: of the network. All that follows it is float32.
        progress: show a progress bar on stderr.
        processes: that share out the pictures. All get the metrics, but only the first one records and curves.
        guard: entered around what takes long; what it raises ends the evaluation in all processes.

    Raises:
        GaveUpError: another process did not finish its share.
    """
    (evaluation,) = _evaluate(model, dataset, [settings], device, precision, progress, processes, guard)
    return evaluation


def compare_nms(
    model: Yolact,
    dataset: CocoDataset,
    settings: EvalConfig,
    device: torch.device,
    precision: Precision = "fp32",
    progress: bool = True,
) -> dict[NmsKind, Evaluation]:
    """Evaluate with each kind of NMS; the arguments are those of `evaluate`, and `settings.nms` has no effect.

    The network runs once per picture and every kind works on the same predictions. They take turns at being first, so
    that their times can be compared; "load" and "network" are the same measurement in all of them.
    """
    variants = [replace(settings, nms=kind) for kind in NMS_KINDS]
    evaluations = _evaluate(model, dataset, variants, device, precision, progress)
    return dict(zip(NMS_KINDS, evaluations, strict=True))


def _evaluate(
    model: Yolact,
    dataset: CocoDataset,
    variants: Sequence[EvalConfig],
    device: torch.device,
    precision: Precision,
    progress: bool,
    processes: Processes = ALONE,
    guard: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> list[Evaluation]:
    """Evaluate each of `variants`, which differ in what follows the network only, in one pass over the pictures."""
    with processes.together(), guard(), torch.inference_mode():
        network = for_inference(model, DTYPES[precision])
        run = _Run(network, dataset, [_Variant(one, StageTimer(device)) for one in variants])
        run.all_pictures(progress, processes)
    if processes.count > 1:
        run.collect(processes)
    facts = {
        "annotations": dataset.annotation_file.name,
        "images": len(dataset.images),
        "device": device_name(device),
        "dtype": str(DTYPES[precision]).removeprefix("torch."),
        "processes": processes.count,
        "versions": versions(),
    }
    evaluations: list[Evaluation] = []

    def score() -> list[dict[str, Any]]:
        with guard():
            evaluations.extend(_evaluation(dataset, variant, run.timer, facts) for variant in run.variants)
        return [evaluation.metrics for evaluation in evaluations]

    metrics = processes.from_first(score)
    return evaluations or [Evaluation(one, [], []) for one in metrics]


def _evaluation(dataset: CocoDataset, variant: "_Variant", shared: StageTimer, facts: dict[str, Any]) -> Evaluation:
    """Score one variant's records; `shared` has timed what comes before it."""
    figures = {
        "segm": _figures(dataset, variant.segm, "segm", variant.settings),
        "bbox": _figures(dataset, variant.bbox, "bbox", variant.settings),
    }
    milliseconds = {**shared.milliseconds(), **variant.timer.milliseconds()}
    metrics = {
        **{kind: figure.summary for kind, figure in figures.items()},
        "per_class": {kind: figure.per_class for kind, figure in figures.items()},
        "fps": frames_per_second(milliseconds),
        "milliseconds": milliseconds,
        "batch_size": variant.settings.batch_size,
        "nms": variant.settings.nms,
        "max_detections": variant.settings.max_detections,
        **facts,
    }
    curves = {kind: figure.curves for kind, figure in figures.items()}
    return Evaluation(metrics, variant.segm, variant.bbox, curves)


def device_name(device: torch.device) -> str:
    """Return the device in words, such as "cuda (NVIDIA H200)" or "cpu (AMD EPYC 7763, 2 threads)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return device.type
    threads = torch.get_num_threads()
    return f"cpu ({_processor()}, {threads} thread{'' if threads == 1 else 's'})"


def versions() -> dict[str, str]:
    """Return the versions that figures and speed depend on."""
    found = {name: version(name) for name in ("torchvision", "numpy", "pycocotools")}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **found}


def predict(network: nn.Module, images: Tensor) -> Predictions:
    """Run a network made by `for_inference` on uint8 [B, 3, S, S] RGB images; the predictions are float32."""
    predictions: Predictions = network(to_unit(images).contiguous(memory_format=torch.channels_last))
    return Predictions(*(field.float() for field in predictions))


@dataclass(frozen=True)
class _Variant:
    """One way from predictions to records, with the time that it takes."""

    settings: EvalConfig
    timer: StageTimer
    segm: list[Record] = field(default_factory=list)
    bbox: list[Record] = field(default_factory=list)


class _Run:
    """One pass over a data set. Only records outlive a picture."""

    def __init__(self, model: Yolact, dataset: CocoDataset, variants: list[_Variant]) -> None:
        self.model, self.dataset, self.variants = model, dataset, variants
        self.timer = StageTimer(variants[0].timer.device)  # of what the variants share

    def all_pictures(self, progress: bool, processes: Processes) -> None:
        """Fill the records of every variant with those of this process's pictures."""
        pictures = EvaluationSet(self.dataset, self.model.image_size)
        settings = self.variants[0].settings
        batches = iter(evaluation_loader(pictures, settings.batch_size, settings.num_workers, processes))
        total, turns = -(-len(self.dataset.images) // processes.count), deque(self.variants)
        hidden = not (progress and processes.first)
        bar = tqdm(total=total, desc="evaluate", unit="picture", disable=hidden, dynamic_ncols=True)
        with RecordMaker(settings.num_workers) as maker, bar:
            while batch := self._next(batches):
                images, image_sizes, image_ids = batch
                with self.timer.stage("network"):
                    predictions = predict(self.model, images)
                self.timer.end_batch(len(images))
                for variant in turns:
                    self._one_batch(variant, predictions, image_sizes, image_ids, maker)
                turns.rotate()
                bar.update(len(images))

    def collect(self, processes: Processes) -> None:
        """Give the first process the records of all, in the order that they have where one process makes them all."""
        order = {picture.id: place for place, picture in enumerate(self.dataset.images)}
        for variant in self.variants:
            for records in (variant.segm, variant.bbox):
                parts = processes.collect(records)
                records[:] = [record for part in parts for record in part]
                records.sort(key=lambda record: order[record["image_id"]])

    def _next(self, batches: Iterator[EvaluationBatch]) -> EvaluationBatch | None:
        with self.timer.stage("load"):
            batch = next(batches, None)
            return batch and (batch[0].to(self.timer.device), *batch[1:])

    def _one_batch(
        self,
        variant: _Variant,
        predictions: Predictions,
        image_sizes: list[tuple[int, int]],
        image_ids: list[int],
        maker: RecordMaker,
    ) -> None:
        """Add the records of a batch to those of `variant`."""
        with variant.timer.stage("detect"):
            detections = select_detections(predictions, self.model.anchors, variant.settings)
        for index, (image_size, image_id) in enumerate(zip(image_sizes, image_ids, strict=True)):
            instances = self._instances(variant, detections, predictions.prototypes, index, image_size)
            with variant.timer.stage("encode"):
                maker.put(instances, image_id, variant.segm, variant.bbox)
        variant.timer.end_batch(len(image_ids))

    def _instances(
        self, variant: _Variant, detections: Detections, prototypes: Tensor, index: int, image_size: tuple[int, int]
    ) -> Instances:
        """Return what was found in picture `index` of a batch."""
        with variant.timer.stage("masks"):
            return to_instances(
                detections,
                prototypes,
                index,
                image_size,
                variant.settings,
                input_size=self.model.image_size,
                class_names=self.dataset.categories.names,
                category_ids=self.dataset.categories.ids,
                mask_iou=self.model.mask_iou,
            )


def _figures(
    dataset: CocoDataset, records: list[Record], kind: Literal["segm", "bbox"], settings: EvalConfig
) -> Figures:
    image_ids = [picture.id for picture in dataset.images]
    limit, engine = settings.max_detections, settings.engine
    return compute_figures(dataset.annotation_file, records, kind, limit, image_ids, engine)


def _processor() -> str:
    """Return the CPU's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"
