"""The way of one picture, part by part.

A file given by --compare builds its own of them by a function of this name:

    parts(weights: str, precision: str) -> {part: stage}, with those parts that it has, of
        "decode": stage(path of a picture)
        "prepare": stage(picture uint8 [H, W, 3] BGR)
        "backbone", "FPN", "protonet", "head": stage(images float32 [1, 3, S, S], RGB in [0, 1])
        "NMS": stage(predictions, anchors)
        "masks": stage(predictions, anchors, (height, width) of the picture)
        "encode": stage(instances): their masks as run lengths

What goes into a part from the part before it is made in the first call, which is not timed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yolact.benchmark.synthetic import make_images, make_predictions
from yolact.benchmark.timing import Stage, Times, always, over, take_turns
from yolact.data.images import read_image
from yolact.data.transforms import prepare_image, to_unit
from yolact.device import DTYPES, Precision
from yolact.evaluation.coco import result_records
from yolact.models import Yolact
from yolact.models.inference import for_inference
from yolact.postprocess import select_detections, to_instances
from yolact.predictor import LoadedModel
from yolact.structures import Instances, Predictions

Stages = dict[str, Stage]
CANDIDATES, PICTURE_SIZE = 1000, (480, 640)
CPU = torch.device("cpu")


def measure_parts(
    loaded: LoadedModel, weights: Path, builder: Callable[..., Mapping[str, Callable[..., Any]]] | None,
    precisions: list[Precision], pictures: list[Path], repeats: int
) -> dict[str, Times]:  # fmt: skip
    """Time each part at batch 1; what follows the network works on made-up predictions."""
    model = loaded.model
    images = make_images(1, model.image_size)
    predictions = make_predictions(CANDIDATES, model.anchors, model.image_size, model.num_classes, 32)
    stages = _before(pictures, model.image_size)
    for precision in precisions:
        stages |= _network(model, precision, images)
    after, instances = _after(loaded, predictions)
    stages |= after
    if builder is not None:
        others = builder(str(weights), "fp32")
        stages |= _compared(others, pictures, images, predictions, model.anchors, instances)
    with torch.inference_mode():
        return take_turns(stages, repeats, 3, CPU, "parts")


def _before(pictures: Sequence[Path], side: int) -> Stages:
    def prepare(picture: np.ndarray) -> torch.Tensor:
        image = prepare_image(picture, side)[None]
        return to_unit(image).contiguous(memory_format=torch.channels_last)

    return {"decode": over(read_image, pictures), "prepare": over(prepare, [read_image(path) for path in pictures])}


def _network(model: Yolact, precision: Precision, images: torch.Tensor) -> Stages:
    network, dtype = for_inference(model, DTYPES[precision]), DTYPES[precision]
    normalised = ((images - network.pixel_mean) / network.pixel_std).to(dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        features = network.backbone(normalised)
        levels = network.fpn(features)
    return {
        f"backbone {precision}": always(network.backbone, normalised),
        f"FPN {precision}": always(network.fpn, features),
        f"protonet {precision}": always(network.protonet, levels[0]),
        f"head {precision}": always(network.head, levels),
    }


def _after(loaded: LoadedModel, predictions: Predictions) -> tuple[Stages, Instances]:
    """Return the parts that follow the network, and what the last of them works on."""
    model, settings = loaded.model, replace(loaded.config.eval, nms="fast")
    detections = select_detections(predictions, model.anchors, settings)
    masks = partial(
        to_instances, detections, predictions.prototypes, 0, PICTURE_SIZE, settings, input_size=model.image_size,
        class_names=loaded.class_names, category_ids=loaded.category_ids,
    )  # fmt: skip
    instances = masks()
    stages = {
        "NMS": always(select_detections, predictions, model.anchors, settings),
        "masks": always(masks),
        "encode": always(result_records, instances, 1),
    }
    return stages, instances


def _compared(
    others: Mapping[str, Callable[..., Any]], pictures: Sequence[Path], images: torch.Tensor,
    predictions: Predictions, anchors: torch.Tensor, instances: Instances,
) -> Stages:  # fmt: skip
    stages = {}
    for part, work in others.items():
        if part in ("decode", "prepare"):
            stage = over(work, pictures if part == "decode" else [read_image(path) for path in pictures])
        elif part == "NMS":
            stage = always(work, predictions, anchors)
        elif part == "masks":
            stage = always(work, predictions, anchors, PICTURE_SIZE)
        else:
            stage = always(work, instances if part == "encode" else images)
        stages[f"{part}, compared"] = stage
    return stages
