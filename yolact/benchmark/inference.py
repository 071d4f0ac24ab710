"""Stages of inference: the network, what follows it, and everything from a file to masks of its picture.

A file given by --compare builds its own of them by functions of these names:

    network(weights: str, precision: str)        -> stage(images float32 [1, 3, S, S], RGB in [0, 1])
    throughput(weights: str, precision: str)     -> stage(images float32 [B, 3, S, S]): masks as large as prototypes
    file_to_masks(weights: str, precision: str)  -> stage(path of a picture)
    paper(weights: str, precision: str)          -> stage(picture uint8 [H, W, 3] BGR): see `measure_paper`
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
from yolact.benchmark.synthetic import make_images, make_predictions
from yolact.benchmark.timing import Stage, Times, always, over, take_turns
from yolact.config import Config, EvalConfig
from yolact.data.images import read_image
from yolact.data.transforms import prepare_image
from yolact.device import DTYPES, Precision, keep_freed_memory
from yolact.evaluation.run import predict
from yolact.models import Yolact, build_model
from yolact.models.inference import for_inference
from yolact.ops.nms import fast_nms
from yolact.postprocess import detection_masks, select_detections, to_instances
from yolact.predictor import LoadedModel, Predictor, load_model
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
        f"network {precision}": over(for_inference(model, DTYPES[precision]), packed) for precision in precisions
    }
    if builder is not None:
        stages["network, compared"] = over(builder(str(weights), "fp32"), images)
    with torch.inference_mode():
        return take_turns(stages, repeats, 3, CPU, "network")


def measure_throughput(
    model: Yolact, config: Config, weights: Path, builder: Builder | None, precisions: list[Precision], repeats: int,
    batch_sizes: Sequence[int]
) -> dict[str, Times]:  # fmt: skip
    """Time batches from the images to masks as large as the prototypes; the times are those of one picture."""
    settings = replace(config.eval, nms="fast")
    times = {}
    for size in batch_sizes:
        images = make_images(size, model.image_size)
        packed = images.contiguous(memory_format=torch.channels_last)
        stages: dict[str, Stage] = {
            f"batch of {size} {p}": always(_to_masks, for_inference(model, DTYPES[p]), packed, settings)
            for p in precisions
        }
        if builder is not None:
            stages[f"batch of {size}, compared"] = always(builder(str(weights), "fp32"), images)
        with torch.inference_mode():
            taken = take_turns(stages, repeats, 2, CPU, f"batches of {size}")
        times.update({name: Times([value / size for value in own.values]) for name, own in taken.items()})
    return times


def _to_masks(network: Yolact, images: Tensor, settings: EvalConfig) -> Tensor:
    predictions = Predictions(*(field.float() for field in network(images)))
    detections = select_detections(predictions, network.anchors, settings)
    return detection_masks(detections, predictions.prototypes, settings, network.image_size)


def measure_paper(
    loaded: LoadedModel, weights: Path, builder: Builder | None, precisions: list[Precision], pictures: list[Path],
    repeats: int
) -> dict[str, Times]:  # fmt: skip
    """Time what the paper's frames per second count, picture by picture.

    That is the network, detection and the masks of all detections at the picture's size, of which the first five are
    handed over; not what comes before: reading, resizing and normalising. A compared stage does that for each of at
    most 8 pictures in its first call with it, which is not timed.
    """
    model, settings = loaded.model, replace(loaded.config.eval, nms="fast")
    read = [read_image(path) for path in pictures[:8]]
    prepared = [(prepare_image(picture, model.image_size)[None], picture.shape[:2]) for picture in read]

    def stage(network: Yolact, number: int) -> Tensor:
        image, size = prepared[number % len(prepared)]
        predictions = predict(network, image)
        detections = select_detections(predictions, model.anchors, settings)
        found = to_instances(
            detections, predictions.prototypes, 0, size, settings, input_size=model.image_size,
            class_names=loaded.class_names, category_ids=loaded.category_ids, mask_iou=network.mask_iou,
        )  # fmt: skip
        return found[:5].masks

    stages: dict[str, Stage] = {
        f"paper's scope {p}": partial(stage, for_inference(model, DTYPES[p])) for p in precisions
    }
    if builder is not None:
        stages["paper's scope, compared"] = over(builder(str(weights), "fp32"), read)
    with torch.inference_mode():
        return take_turns(stages, repeats, len(read), CPU, "paper")


def build_files(config: Config, precision: Precision, compare: Path | None, weights: Path, picture: Path) -> Stage:
    """Return file to masks of one picture, of this project without `compare`."""
    if compare is None:
        loaded = load_model(weights, "cpu", config)
        return always(partial(Predictor(loaded, precision), score_threshold=config.eval.score_threshold), picture)
    builder = load_builder(compare, "file_to_masks")
    assert builder is not None
    return always(builder(str(weights), precision), picture)


def measure_files(
    loaded: LoadedModel, weights: Path, builder: Builder | None, precisions: list[Precision], pictures: list[Path],
    repeats: int
) -> dict[str, Times]:  # fmt: skip
    """Time everything from a picture file to the masks of all detections at the picture's size."""
    threshold = loaded.config.eval.score_threshold
    stages: dict[str, Stage] = {
        f"file to masks {precision}": over(partial(Predictor(loaded, precision), score_threshold=threshold), pictures)
        for precision in precisions
    }
    if builder is not None:
        stages["file to masks, compared"] = over(builder(str(weights), "fp32"), pictures)
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
            stages[f"detect and masks {size[1]} x {size[0]}, compared"] = always(
                other, predictions, model.anchors, size
            )
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
    return always(builder(model.image_size), predictions, model.anchors, size)


def _detect(
    model: Yolact, settings: EvalConfig, predictions: Predictions, size: tuple[int, int]
) -> Callable[[int], object]:
    keep_freed_memory()  # as `for_inference` does
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
        stages: dict[str, Stage] = {f"Fast NMS {count}": always(fast_nms, boxes, scores, *limits)}
        if builder is not None:
            other = builder()
            stages[f"Fast NMS {count}, compared"] = always(other, boxes, scores)
            _require_equal(fast_nms(boxes, scores, *limits), other(boxes, scores), boxes)
        times.update(take_turns(stages, repeats, 3, CPU, f"NMS {count}"))
    return times


def _require_equal(own: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor], boxes: Tensor) -> None:
    """Compare (index, label, score) with another implementation's (boxes, label, score)."""
    index, label, score = own
    if not (torch.equal(boxes[index], other[0]) and torch.equal(label, other[1]) and torch.equal(score, other[2])):
        raise ValueError("The compared NMS finds other boxes, labels or scores.")
