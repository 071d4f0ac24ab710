"""The evaluation loop: every image through the network, and each result to the evaluators."""

import copy
import platform
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from yolact.config import EvalConfig
from yolact.data.dataset import CocoDataset, GroundTruth
from yolact.data.loader import EvaluationSet, evaluation_loader
from yolact.data.transforms import to_unit
from yolact.device import DTYPES, Precision
from yolact.distributed import SINGLE, World
from yolact.evaluation.coco import CocoEvaluator
from yolact.evaluation.curves import Curves
from yolact.evaluation.encoding import RecordMaker
from yolact.evaluation.speed import SpeedEvaluator
from yolact.formats import Record
from yolact.instances import Instances
from yolact.models.inference import for_inference
from yolact.models.yolact import Yolact
from yolact.postprocess import Detector
from yolact.structures import Predictions

NmsKind = Literal["fast", "exact", "cross_class"]
NMS_KINDS: tuple[NmsKind, ...] = ("fast", "exact", "cross_class")


class Evaluator(Protocol):
    """Something that is measured over a data set."""

    def update(self, image_id: int, instances: Instances, target: GroundTruth) -> None:
        """Take what was found in one image, and what is there."""

    def merge(self, others: Sequence[Any]) -> None:
        """Add what evaluators of this class have taken on other ranks, each on its share of the images."""

    def compute(self) -> dict[str, Any]:
        """Return the metrics by name: numbers, None or dicts of such."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: what metrics.json holds: "segm" and "bbox" (COCO's metrics, see `CocoMetrics`), "per_class" (AP by
            class name for each of the two), "fps", "milliseconds" (median of each stage per image), what further
            evaluators computed, "annotations" (name of the file), "images", "batch_size", "nms", "max_detections",
            "device", "dtype", "processes", "versions".
        segm: mask records, as in detections_segm.json.
        bbox: box records, as in detections_bbox.json.
        curves: of both, what the metrics are the means of.
        further: those of the metrics that further evaluators computed.
    """

    metrics: dict[str, Any]
    segm: list[Record]
    bbox: list[Record]
    curves: dict[str, Curves] = field(default_factory=dict)
    further: dict[str, Any] = field(default_factory=dict)


Guard = Callable[[], AbstractContextManager[None]]


def evaluate(
    model: Yolact,
    dataset: CocoDataset,
    settings: EvalConfig,
    precision: Precision = "fp32",
    *,
    evaluators: Sequence[Evaluator] = (),
    progress: bool = True,
    world: World = SINGLE,
    guard: Guard = nullcontext,
) -> Evaluation:
    """Detect on every image of `dataset` and score the result.

    Args:
        model: in float32; a copy of it is evaluated, see `for_inference`.
        precision: of the network. All that follows it is float32.
        evaluators: beside COCO's metrics and speed, which are always there; copies of them are filled.
        progress: show a progress bar on stderr.
        world: the ranks that share the images. All get the metrics, but only the main process records and curves.
        guard: entered around what takes long; what it raises ends the evaluation on all ranks.

    Raises:
        GaveUpError: another rank did not finish its share.
    """
    run = _Run(model, dataset, [settings], precision, evaluators)
    (evaluation,) = run.evaluate(progress, world, guard)
    return evaluation


def compare_nms(
    model: Yolact, dataset: CocoDataset, settings: EvalConfig, precision: Precision = "fp32", progress: bool = True
) -> dict[NmsKind, Evaluation]:
    """Evaluate with each kind of NMS; the arguments are those of `evaluate`, and `settings.nms` has no effect.

    The network runs once per image and every kind works on the same predictions. They take turns at being first, so
    that their times can be compared; "load" and "network" are the same measurement in all of them.
    """
    run = _Run(model, dataset, [replace(settings, nms=kind) for kind in NMS_KINDS], precision)
    return dict(zip(NMS_KINDS, run.evaluate(progress, SINGLE, nullcontext), strict=True))


def device_name(device: torch.device) -> str:
    """Return the device in words, such as "cuda (NVIDIA H200)" or "cpu (AMD EPYC 7763, 2 threads)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return device.type
    threads = torch.get_num_threads()
    return f"cpu ({_processor()}, {threads} thread{'' if threads == 1 else 's'})"


def versions() -> dict[str, str]:
    """Return the versions that metrics and speed depend on."""
    found = {name: version(name) for name in ("torchvision", "numpy", "pycocotools")}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **found}


def predict(network: nn.Module, images: Tensor) -> Predictions:
    """Run a network made by `for_inference` on uint8 [B, 3, S, S] RGB images; the predictions are float32."""
    predictions: Predictions = network(to_unit(images).contiguous(memory_format=torch.channels_last))
    return Predictions(*(value.float() for value in predictions))


@dataclass(frozen=True)
class _Variant:
    """One way from predictions to metrics, with the time that it takes."""

    detector: Detector
    coco: CocoEvaluator
    speed: SpeedEvaluator


class _Run:
    """One pass over a data set, with variants that differ in what follows the network only."""

    def __init__(
        self,
        model: Yolact,
        dataset: CocoDataset,
        settings: Sequence[EvalConfig],
        precision: Precision,
        evaluators: Sequence[Evaluator] = (),
    ) -> None:
        self.model, self.dataset, self.settings, self.precision = model, dataset, settings, precision
        self.evaluators = copy.deepcopy(list(evaluators))  # so that each evaluation starts anew

    def evaluate(self, progress: bool, world: World, guard: Guard) -> list[Evaluation]:
        """Return the evaluation of each variant."""
        self.timer = SpeedEvaluator(self.model.device)  # of what the variants share
        with (
            world.raising_on_all(),
            guard(),
            torch.inference_mode(),
            RecordMaker(self.settings[0].num_workers) as maker,
        ):
            variants = [
                _Variant(
                    Detector.of(self.model, one),
                    CocoEvaluator(self.dataset, one.max_detections, one.engine, maker),
                    SpeedEvaluator(self.model.device),
                )
                for one in self.settings
            ]
            self._all_images(for_inference(self.model, DTYPES[self.precision]), variants, progress, world)
        for evaluator in (*(variant.coco for variant in variants), *self.evaluators):
            evaluator.merge(world.gather(evaluator)[1:])
        evaluations: list[Evaluation] = []

        def score() -> list[dict[str, Any]]:
            with guard():
                evaluations.extend(self._scored(variant, world) for variant in variants)
            return [evaluation.metrics for evaluation in evaluations]

        metrics = world.broadcast(score)
        return evaluations or [Evaluation(one, [], []) for one in metrics]

    def _all_images(self, network: Yolact, variants: list[_Variant], progress: bool, world: World) -> None:
        settings = self.settings[0]
        images = EvaluationSet(self.dataset, network.image_size)
        batches = iter(evaluation_loader(images, settings.batch_size, settings.num_workers, world))
        total, turns = -(-len(self.dataset) // world.size), deque(variants)
        hidden = not (progress and world.is_main_process)
        with tqdm(total=total, desc="evaluate", unit="image", disable=hidden, dynamic_ncols=True) as bar:
            while batch := self._next(batches):
                inputs, indices = batch
                with self.timer.stage("network"):
                    predictions = predict(network, inputs)
                self.timer.end_batch(len(indices))
                for variant in turns:
                    self._one_batch(variant, predictions, indices)
                turns.rotate()
                bar.update(len(indices))

    def _next(self, batches: Any) -> tuple[Tensor, list[int]] | None:
        with self.timer.stage("load"):
            batch = next(batches, None)
            return batch and (batch[0].to(self.model.device), batch[1])

    def _one_batch(self, variant: _Variant, predictions: Predictions, indices: list[int]) -> None:
        """Give what is found in a batch to the evaluators."""
        stage, categories = variant.speed.stage, self.dataset.categories
        with stage("detect"):
            detections = variant.detector.detect(predictions)
        for row, index in enumerate(indices):
            target = self.dataset.ground_truth(index)
            with stage("masks"):
                instances = variant.detector.instances(
                    detections, predictions.prototypes, row, target.image_size, categories.names, categories.ids
                )
            with stage("encode"):
                variant.coco.update(target.image_id, instances, target)
            for evaluator in self.evaluators:
                evaluator.update(target.image_id, instances, target)
        variant.speed.end_batch(len(indices))

    def _scored(self, variant: _Variant, world: World) -> Evaluation:
        settings, coco = variant.detector.settings, variant.coco
        variant.speed.merge([self.timer])
        metrics = coco.compute() | variant.speed.compute()
        further: dict[str, Any] = {}
        for evaluator in self.evaluators:
            further |= evaluator.compute()
        metrics |= further | {
            "batch_size": settings.batch_size,
            "nms": settings.nms,
            "max_detections": settings.max_detections,
            "annotations": self.dataset.annotation_file.name,
            "images": len(self.dataset),
            "device": device_name(self.model.device),
            "dtype": str(DTYPES[self.precision]).removeprefix("torch."),
            "processes": world.size,
            "versions": versions(),
        }
        return Evaluation(metrics, coco.segm, coco.bbox, coco.curves, further)


def _processor() -> str:
    """Return the CPU's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"
