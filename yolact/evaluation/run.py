"""The evaluation loop: every image through the network, and each result to the evaluators."""

import copy
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from tqdm import tqdm

from yolact.config import EvalConfig
from yolact.data.categories import Categories
from yolact.data.dataset import CocoDataset, GroundTruth
from yolact.data.loader import EvaluationSet, Piece, evaluation_loader
from yolact.device import device_name, versions
from yolact.distributed import SINGLE, World
from yolact.errors import CheckpointError, UserError
from yolact.evaluation.coco import CocoEvaluator, Curves
from yolact.evaluation.encoding import MaskEncoder
from yolact.evaluation.speed import SpeedEvaluator
from yolact.formats import Record
from yolact.instances import Instances
from yolact.joining import join_tiles
from yolact.postprocess import Detector
from yolact.runtimes.flips import with_flips
from yolact.structures import Detections, Predictions, Runtime, Tiles, View
from yolact.text import counted

NmsKind = Literal["fast", "exact", "cross_class"]
DTYPE_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}
NMS_KINDS: tuple[NmsKind, ...] = ("fast", "exact", "cross_class")


class Evaluator(Protocol):
    """Something that is measured over a data set."""

    def update(self, image_id: int, instances: Instances, target: GroundTruth) -> None:
        """Take what was found in one image, and what is there."""

    def merge(self, others: Sequence[Any]) -> None:
        """Add what evaluators of this class have taken on other ranks, each on its share of the images."""

    def compute(self) -> dict[str, Any]:
        """Return the metrics by name, none of them COCO's: numbers, None, or lists and dicts of such."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: what metrics.json holds: "segm" and "bbox" (COCO's metrics, see `CocoMetrics`), "per_class" (AP by
            class name for each of the two), "fps", "milliseconds" (median of each stage per image), what further
            evaluators computed, "annotations" (name of the file), "images", "batch_size", "nms", "flips",
            "tiles", "max_detections", "device", "runtime", "dtype", "processes", "versions". `yolact eval` adds
            "errors" (as TIDE sorts them), "weights" (name of the file), "weights_sha256" and "annotations_sha256".
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
    runtime: Runtime,
    dataset: CocoDataset,
    settings: EvalConfig,
    *,
    evaluators: Sequence[Evaluator] = (),
    progress: bool = True,
    world: World = SINGLE,
    guard: Guard = nullcontext,
) -> Evaluation:
    """Detect on every image of `dataset` and score the result.

    Args:
        runtime: that runs the network. All that follows it is float32.
        settings: threshold, NMS and so on, as far as the runtime leaves them open.
        evaluators: beside COCO's metrics and speed; copies of them are filled.
        world: the ranks that share the images. All get the metrics, but only the main process records and curves.
        guard: entered around what takes long; what it raises ends the evaluation on all ranks.

    Raises:
        GaveUpError: another rank did not finish its share.
    """
    (evaluation,) = _evaluate(runtime, dataset, [settings], evaluators, progress, world, guard)
    return evaluation


def compare_nms(
    runtime: Runtime, dataset: CocoDataset, settings: EvalConfig, progress: bool = True
) -> dict[NmsKind, Evaluation]:
    """Evaluate with each kind of NMS; the arguments are those of `evaluate`, and `settings.nms` has no effect.

    The network runs once per image and every kind works on the same predictions. They take turns at being first, so
    that their times can be compared; "load" and "network" are the same measurement in all of them.

    Raises:
        UserError: the runtime's file suppresses itself.
    """
    kinds = [replace(settings, nms=kind) for kind in NMS_KINDS]
    return dict(zip(NMS_KINDS, _evaluate(runtime, dataset, kinds, progress=progress), strict=True))


def check_classes(own: Categories, names_known: bool, dataset: CocoDataset, weights: Path) -> None:
    """Require that a checkpoint's classes are the data set's; metrics of a model on other classes would mean nothing.

    Without names in the checkpoint (`names_known`) the ids alone must agree; `weights` names it in the message.

    Raises:
        CheckpointError: they do not; the message says in what they differ.
    """
    if own == dataset.categories or (not names_known and own.ids == dataset.categories.ids):
        return
    mine, theirs = (
        [f"'{name}' with the id {number}" for name, number in zip(classes.names, classes.ids, strict=True)]
        for classes in (own, dataset.categories)
    )

    def described(here: list[str], there: list[str]) -> str:
        extra = [one for one in here if one not in there]
        listed = ", ".join(extra[:3]) + (", ..." if len(extra) > 3 else "")
        return counted(len(here), "class", "classes") + (f" (only there: {listed})" if extra else "")

    raise CheckpointError(
        f"The classes of '{weights}' are not those of '{dataset.annotation_file}': the checkpoint has "
        f"{described(mine, theirs)}, the file {described(theirs, mine)}; evaluate on the data it was trained for "
        "(--set data.val_annotations=... data.val_images=...), or fine-tune it on these classes."
    )


class _Variant:
    """One way from predictions to metrics, with the time that it takes."""

    def __init__(self, runtime: Runtime, dataset: CocoDataset, settings: EvalConfig, encoder: MaskEncoder) -> None:
        self.settings, self.runtime, self.detector = settings, runtime, Detector.of(runtime, settings)
        self.names, self.ids = dataset.categories.names, dataset.categories.ids
        self._found: list[tuple[View, Instances]] = []  # in the tiles of the present image so far
        self.coco = CocoEvaluator(dataset, _most_detections(dataset, settings), settings.engine, encoder)
        self.speed = SpeedEvaluator(runtime.device)

    def update(
        self, output: Predictions | Detections, pieces: Sequence[Piece], evaluators: Sequence[Evaluator]
    ) -> None:
        """Give what is found in a batch to the evaluators, an image once all of its tiles were seen."""
        with self.speed.stage("detect"):
            detections = self.detector.detect(output)
        for row, (index, view, is_last) in enumerate(pieces):
            target = self.coco.dataset.ground_truth(index)
            size = target.image_size if view is None else (view[3] - view[1], view[2] - view[0])
            with self.speed.stage("masks"):
                instances = self.detector.instances(detections, row, size, self.names, self.ids)
                if view is not None:
                    self._found.append((view, instances))
                    if is_last:
                        instances, self._found = join_tiles(self._found, target.image_size), []
            if is_last:
                with self.speed.stage("encode"):
                    self.coco.update(target.image_id, instances, target)
                for evaluator in evaluators:
                    evaluator.update(target.image_id, instances, target)
        if finished := sum(piece.is_last for piece in pieces):
            self.speed.end_batch(finished)

    def evaluation(self, further: dict[str, Any], num_ranks: int) -> Evaluation:
        """Score what was collected; `further` are the metrics of other evaluators."""
        coco, dataset, tiles = self.coco, self.coco.dataset, Tiles.of(self.settings)
        measured = coco.compute() | self.speed.compute()
        circumstances = {
            "batch_size": self.settings.batch_size,
            "nms": self.settings.nms,
            "flips": list(self.settings.flips),
            "tiles": tiles and {"size": list(tiles.size), "overlap": tiles.overlap},
            "max_detections": self.settings.max_detections,
            "annotations": dataset.annotation_file.name,
            "images": len(dataset),
            "device": device_name(self.speed.device),
            "runtime": self.runtime.name,
            "dtype": DTYPE_NAMES[self.runtime.precision],
            "processes": num_ranks,
            "versions": versions(),
        }
        if taken := further.keys() & (measured.keys() | circumstances.keys()):
            raise ValueError(f"The evaluators give a metric '{min(taken)}', as COCO's evaluation does: rename theirs.")
        return Evaluation(
            measured | further | circumstances, coco.records["segm"], coco.records["bbox"], coco.curves, further
        )


def _most_detections(dataset: CocoDataset, settings: EvalConfig) -> int:
    """Return how many detections of an image there can be; `max_detections` are of what the network sees at once."""
    tiles = Tiles.of(settings)
    if tiles is None:
        return settings.max_detections
    return settings.max_detections * max(len(tiles.views((one.height, one.width))) for one in dataset.images)


def _evaluate(
    runtime: Runtime, dataset: CocoDataset, settings: Sequence[EvalConfig], evaluators: Sequence[Evaluator] = (),
    progress: bool = True, world: World = SINGLE, guard: Guard = nullcontext,
) -> list[Evaluation]:  # fmt: skip
    """Evaluate in one pass over a data set with several settings, which differ in what follows the network only."""
    evaluators = copy.deepcopy(list(evaluators))  # so that each evaluation starts anew
    runtime, tiles = with_flips(runtime, settings[0].flips), Tiles.of(settings[0])
    batch_size, num_workers = settings[0].batch_size, settings[0].num_workers
    samples = EvaluationSet(dataset, runtime.resize, tiles)
    total = sum(map(len, samples.batches(batch_size, world)))
    hidden, unit = not (progress and world.is_main_process), "tile" if tiles else "image"
    with (
        world.raising_on_all(),
        guard(),
        torch.inference_mode(),
        MaskEncoder(num_workers) as encoder,
        tqdm(total=total, desc="evaluate", unit=unit, disable=hidden, dynamic_ncols=True) as bar,
    ):
        variants = [_Variant(runtime, dataset, one, encoder) for one in settings]
        speed, *others = (variant.speed for variant in variants)
        batches = iter(evaluation_loader(samples, batch_size, num_workers, world))
        turns = deque(variants)
        while True:
            with speed.stage("load", *others):
                inputs, pieces = next(batches, (torch.empty(0), []))
                inputs = inputs.to(runtime.device)
            if not pieces:
                break
            with speed.stage("network", *others):
                output = runtime(inputs)
            if isinstance(output, Detections) and len(settings) > 1:
                raise UserError(
                    "Kinds of NMS can be compared where it is left open, but this file has its NMS inside: give the "
                    "checkpoint, or a file with the raw outputs."
                )
            for variant in turns:
                variant.update(output, pieces, evaluators)
            turns.rotate()
            bar.update(len(pieces))
    for evaluator in (*(variant.coco for variant in variants), *evaluators):
        evaluator.merge(world.gather(evaluator)[1:])
    evaluations: list[Evaluation] = []

    def score() -> list[dict[str, Any]]:
        with guard():
            further = _plain({name: value for one in evaluators for name, value in one.compute().items()})
            evaluations.extend(variant.evaluation(further, world.size) for variant in variants)
        return [evaluation.metrics for evaluation in evaluations]

    metrics = world.broadcast(score)
    return evaluations or [Evaluation(one, [], []) for one in metrics]


def _plain(value: Any) -> Any:
    """Return a metric as JSON has it: numbers of NumPy and PyTorch as Python's, None for those that are not finite."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
