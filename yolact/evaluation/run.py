"""The evaluation loop: every picture through the network, records in COCO's form, figures and speed."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from tqdm import tqdm

from yolact.config import EvalConfig
from yolact.data.coco import CocoDataset
from yolact.data.loader import EvaluationSet, evaluation_loader
from yolact.data.transforms import to_unit
from yolact.device import DTYPES, Precision
from yolact.evaluation.coco import Figures, Record, compute_figures, result_records
from yolact.evaluation.speed import StageTimer
from yolact.models.yolact import Yolact
from yolact.postprocess import select_detections, to_instances
from yolact.structures import Detections, Predictions

# Full-size boolean masks that are held at once, in pixels: memory stays bounded whatever the size of the pictures.
MASK_PIXELS = 2**26

EvaluationBatch = tuple[Tensor, list[tuple[int, int]], list[int]]  # uint8 [B, 3, S, S] RGB, sizes (H, W), picture ids


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: what metrics.json holds: "segm" and "bbox" (the 12 figures each, see `Figures`), "per_class" (AP by
            class name for each of the two), "fps", "milliseconds" (median of each stage per picture), "images",
            "batch_size", "max_detections", "device", "dtype", "versions".
        segm: mask records, as in detections_segm.json.
        bbox: box records, as in detections_bbox.json.
    """

    metrics: dict[str, Any]
    segm: list[Record]
    bbox: list[Record]


def evaluate(
    model: Yolact,
    dataset: CocoDataset,
    settings: EvalConfig,
    device: torch.device,
    precision: Precision = "fp32",
    channels_last: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Detect on every picture of `dataset` and score the result with pycocotools.

    Args:
        model: on `device`, in float32; its train or eval mode is restored afterwards.
        precision: of the network's forward, by autocast. All that follows is float32.
        channels_last: give the network its images in this memory format.
        progress: show a progress bar on stderr.
    """
    timer = StageTimer(device)
    run = _Run(model, dataset, settings, timer, precision, channels_last)
    with _inference(model):
        segm, bbox = run.all_pictures(progress)
    figures = {
        "segm": _figures(dataset, segm, "segm", settings.max_detections),
        "bbox": _figures(dataset, bbox, "bbox", settings.max_detections),
    }
    metrics = {
        **{kind: figure.summary for kind, figure in figures.items()},
        "per_class": {kind: figure.per_class for kind, figure in figures.items()},
        "fps": timer.fps(),
        "milliseconds": timer.milliseconds(),
        "images": len(dataset.images),
        "batch_size": settings.batch_size,
        "max_detections": settings.max_detections,
        "device": device_name(device),
        "dtype": str(DTYPES[precision]).removeprefix("torch."),
        "versions": versions(),
    }
    return Evaluation(metrics, segm, bbox)


def device_name(device: torch.device) -> str:
    """Return the device in words, such as "cuda (NVIDIA H200)" or "cpu (AMD EPYC 7763, 2 threads)"."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    if device.type != "cpu":
        return device.type
    return f"cpu ({_processor()}, {torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """Return the versions that figures and speed depend on."""
    found = {name: version(name) for name in ("torchvision", "numpy", "pycocotools")}
    return {"python": platform.python_version(), "torch": str(torch.__version__), **found}


def predict(
    model: nn.Module, images: Tensor, precision: Precision = "fp32", channels_last: bool = False
) -> Predictions:
    """Run the network on uint8 [B, 3, S, S] RGB images; the predictions are float32 whatever the precision."""
    unit = to_unit(images)
    if channels_last:
        unit = unit.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype=DTYPES[precision], enabled=precision != "fp32"):
        predictions: Predictions = model(unit)
    return Predictions(*(field.float() for field in predictions))


@dataclass(frozen=True)
class _Run:
    """One pass over a data set. Only records outlive a picture."""

    model: Yolact
    dataset: CocoDataset
    settings: EvalConfig
    timer: StageTimer
    precision: Precision
    channels_last: bool

    def all_pictures(self, progress: bool) -> tuple[list[Record], list[Record]]:
        """Return the mask and the box records of every picture."""
        segm: list[Record] = []
        bbox: list[Record] = []
        pictures = EvaluationSet(self.dataset, self.model.image_size)
        batches = iter(evaluation_loader(pictures, self.settings.batch_size, self.settings.num_workers))
        total = len(self.dataset.images)
        with tqdm(total=total, desc="evaluate", unit="picture", disable=not progress, dynamic_ncols=True) as bar:
            while batch := self._next(batches):
                images, image_sizes, image_ids = batch
                detections, prototypes = self._detect(images)
                for index, (image_size, image_id) in enumerate(zip(image_sizes, image_ids, strict=True)):
                    masks, boxes = self._one_picture(detections, prototypes, index, image_size, image_id)
                    segm += masks
                    bbox += boxes
                self.timer.end_batch(len(images))
                bar.update(len(images))
        return segm, bbox

    def _next(self, batches: Iterator[EvaluationBatch]) -> EvaluationBatch | None:
        with self.timer.stage("load"):
            batch = next(batches, None)
            return batch and (batch[0].to(self.timer.device), *batch[1:])

    def _detect(self, images: Tensor) -> tuple[Detections, Tensor]:
        with self.timer.stage("network"):
            predictions = predict(self.model, images, self.precision, self.channels_last)
        with self.timer.stage("detect"):
            detections = select_detections(predictions, self.model.anchors, self.settings)
        return detections, predictions.prototypes

    def _one_picture(
        self, detections: Detections, prototypes: Tensor, index: int, image_size: tuple[int, int], image_id: int
    ) -> tuple[list[Record], list[Record]]:
        """Return one picture's records, making at most `MASK_PIXELS` pixels of masks at a time."""
        segm: list[Record] = []
        bbox: list[Record] = []
        step = max(1, MASK_PIXELS // (image_size[0] * image_size[1]))
        for start in range(0, int(detections.counts[index]), step):
            with self.timer.stage("masks"):
                instances = to_instances(
                    detections,
                    prototypes,
                    index,
                    image_size,
                    self.settings,
                    input_size=self.model.image_size,
                    class_names=self.dataset.categories.names,
                    category_ids=self.dataset.categories.ids,
                    mask_iou=self.model.mask_iou,
                    rows=slice(start, start + step),
                )
            with self.timer.stage("encode"):
                masks, boxes = result_records(instances, image_id)
            segm += masks
            bbox += boxes
        return segm, bbox


def _figures(dataset: CocoDataset, records: list[Record], kind: Literal["segm", "bbox"], limit: int) -> Figures:
    image_ids = [picture.id for picture in dataset.images]
    return compute_figures(dataset.annotation_file, records, kind, limit, image_ids)


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; each module gets its own mode back, as frozen batch norms differ."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _processor() -> str:
    """Return the CPU's name where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"
