"""Stages of inference: the network, what follows it, and everything from a file to masks of its picture.

A file given by --compare builds its own of them by functions of these names:

    network(weights: str, precision: str)        -> stage(images float32 [1, 3, S, S], RGB in [0, 1])
    file_to_masks(weights: str, precision: str)  -> stage(path of a picture)
    detect_and_masks(side: int)                  -> stage(predictions, (height, width) of the picture)
    nms()                                        -> stage(boxes [N, 4] xyxy, scores [N, C])

`weights` is a state dict as the authors name its tensors; `predictions` and `anchors` are those of `Yolact`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolact.benchmark.other import load_builder
from yolact.benchmark.synthetic import make_predictions
from yolact.benchmark.timing import Stage, Times, take_turns
from yolact.config import Config, EvalConfig
from yolact.device import DTYPES, Precision
from yolact.models import Yolact, build_model
from yolact.models.inference import for_inference
from yolact.ops.nms import fast_nms
from yolact.postprocess import select_detections, to_instances
from yolact.predictor import LoadedModel, Predictor
from yolact.structures import Predictions

CANDIDATES = (50, 300, 1000, 5000, 19248)
PICTURE_SIZES = ((480, 640), (1080, 1920))
Builder = Callable[..., Callable[..., Any]]
CPU = torch.device("cpu")


def measure_network(
    model: Yolact, weights: Path, builder: Builder | None, precisions: list[Precision], repeats: int
) -> dict[str, Times]:
    """Time one forward of a picture at each precision; a compared network runs in float32."""
    images = [torch.rand(1, 3, model.image_size, model.image_size) for _ in range(4)]
    packed = [image.contiguous(memory_format=torch.channels_last) for image in images]
    stages: dict[str, Stage] = {
        f"network {precision}": _over(for_inference(model, DTYPES[precision]), packed) for precision in precisions
    }
    if builder is not None:
        stages["network, compared"] = _over(builder(str(weights), "fp32"), images)
    with torch.inference_mode():
        return take_turns(stages, repeats, 3, CPU, "network")


def measure_files(
    loaded: LoadedModel, weights: Path, builder: Builder | None, precisions: list[Precision], pictures: list[Path],
    repeats: int
) -> dict[str, Times]:  # fmt: skip
    """Time everything from a picture file to the masks of all detections at the picture's size."""
    threshold = loaded.config.eval.score_threshold
    stages: dict[str, Stage] = {
        f"file to masks {precision}": _over(partial(Predictor(loaded, precision), score_threshold=threshold), pictures)
        for precision in precisions
    }
    if builder is not None:
        stages["file to masks, compared"] = _over(builder(str(weights), "fp32"), pictures)
    return take_turns(stages, repeats, 3, CPU, "files")


def measure_detection(
    model: Yolact, config: Config, builder: Builder | None, repeats: int, candidates: int = 1000
) -> dict[str, Times]:
    """Time detection and masks of 100 objects on made-up predictions, for two sizes of the picture."""
    settings = replace(config.eval, nms="fast")
    predictions = make_predictions(candidates, model.anchors, model.image_size, model.num_classes, 32)
    times = {}
    for size in PICTURE_SIZES:
        stages: dict[str, Stage] = {
            f"detect and masks {size[1]} x {size[0]}": _detect(model, settings, predictions, size)
        }
        if builder is not None:
            other = builder(model.image_size)
            stages[f"detect and masks {size[1]} x {size[0]}, compared"] = _call(other, predictions, model.anchors, size)
        with torch.inference_mode():
            times.update(take_turns(stages, repeats, 3, CPU, "detection"))
    return times


def build_detection(config: Config, compare: Path | None, size: tuple[int, int]) -> Stage:
    """Return detection and masks of 100 objects on a picture of `size` (H, W), of this project without `compare`."""
    model = build_model(config)
    predictions = make_predictions(1000, model.anchors, model.image_size, model.num_classes, 32)
    if compare is None:
        return _detect(model, config.eval, predictions, size)
    builder = load_builder(compare, "detect_and_masks")
    assert builder is not None
    return _call(builder(model.image_size), predictions, model.anchors, size)


def _detect(
    model: Yolact, settings: EvalConfig, predictions: Predictions, size: tuple[int, int]
) -> Callable[[int], object]:
    names = [str(number) for number in range(model.num_classes)]

    def stage(_: int) -> object:
        detections = select_detections(predictions, model.anchors, settings)
        return to_instances(
            detections, predictions.prototypes, 0, size, settings, input_size=model.image_size, class_names=names,
            category_ids=range(model.num_classes),
        )  # fmt: skip

    return stage


def measure_nms(model: Yolact, config: Config, builder: Builder | None, repeats: int) -> dict[str, Times]:
    """Time Fast NMS for each number of candidates, and require that a compared one finds the same.

    Raises:
        ValueError: it finds something else.
    """
    settings = config.eval
    times = {}
    for count in CANDIDATES:
        count = min(count, len(model.anchors))
        predictions = make_predictions(count, model.anchors, model.image_size, model.num_classes, 32)
        probabilities = predictions.class_logits[0].softmax(-1)[:, 1:]
        rows = probabilities.amax(1) > settings.score_threshold
        boxes, scores = model.anchors[rows], probabilities[rows]
        limits = (settings.nms_threshold, settings.nms_top_k, settings.max_detections)
        stages: dict[str, Stage] = {f"Fast NMS {count}": _call(fast_nms, boxes, scores, *limits)}
        if builder is not None:
            other = builder()
            stages[f"Fast NMS {count}, compared"] = _call(other, boxes, scores)
            _require_equal(fast_nms(boxes, scores, *limits), other(boxes, scores), boxes)
        times.update(take_turns(stages, repeats, 3, CPU, f"NMS {count}"))
    return times


def _over(work: Callable[..., object], inputs: Sequence[object]) -> Stage:
    """Return a stage that takes one input after the other."""
    return lambda number: work(inputs[number % len(inputs)])


def _call(work: Callable[..., object], *arguments: object) -> Stage:
    """Return a stage that always does the same."""
    return lambda number: work(*arguments)


def _require_equal(own: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor], boxes: Tensor) -> None:
    """Compare (index, label, score) with another implementation's (boxes, label, score)."""
    index, label, score = own
    if not (torch.equal(boxes[index], other[0]) and torch.equal(label, other[1]) and torch.equal(score, other[2])):
        raise ValueError("The compared NMS finds other boxes, labels or scores.")
