"""What an exported file computes: modules from uint8 pictures to named outputs, composed of what inference uses."""

import json
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from yolact.config import EvalConfig
from yolact.errors import UserError
from yolact.models import Yolact
from yolact.models.anchors import level_sizes
from yolact.models.inference import folded
from yolact.ops.boxes import CENTRE_VARIANCE, SIZE_VARIANCE
from yolact.postprocess import detection_masks, rescore, select_detections_static
from yolact.predictor import LoadedModel
from yolact.structures import Predictions

Contents = Literal["complete", "raw"]

FORM = 1  # of inputs, outputs and metadata; a higher number would mean that programs that read them must change
INPUT = "images"


class Port(NamedTuple):
    """An input or output of an exported file. A shape has numbers, and "batch" where the number is free."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    meaning: str


class _Graph(nn.Module):
    """The network on uint8 images [B, S, S, 3] RGB: what OpenCV and PIL resize a picture to, in the order of PIL."""

    def __init__(self, model: Yolact):
        super().__init__()
        # A folded copy, so that the caller's model stays as it is, in the plain memory format that other programs want.
        self.model = folded(model).cpu().to(memory_format=torch.contiguous_format)

    def predict(self, images: Tensor) -> Predictions:
        # Floating-point before the transposition, because TensorRT does nothing else with uint8.
        predictions: Predictions = self.model((images.float() / 255).permute(0, 3, 1, 2))
        return predictions


class RawGraph(_Graph):
    """The outputs of the network and the anchors, for programs with a post-processing of their own."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions = self.predict(images)
        return {
            "class_logits": predictions.class_logits,
            "box_deltas": predictions.box_deltas,
            "mask_coefficients": predictions.mask_coefficients,
            "prototypes": predictions.prototypes,
            # For each picture, because some runtimes take no constant for an output.
            "anchors": self.model.anchors.expand(images.shape[0], -1, -1),
        }


class CompleteGraph(_Graph):
    """Detections and their masks at the size of the prototypes, in tensors of a fixed size."""

    def __init__(self, model: Yolact, settings: EvalConfig):
        super().__init__(model)
        self.settings = settings

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        predictions = self.predict(images)
        found = select_detections_static(predictions, self.model.anchors, self.settings)
        masks = detection_masks(found, predictions.prototypes, self.settings, self.model.image_size)
        outputs = {
            "boxes": found.boxes,
            "scores": found.scores,
            "labels": found.labels,
            "masks": masks,
            "counts": found.counts,
        }
        if self.model.mask_iou is not None:
            rows = rescore(self.model.mask_iou, masks.flatten(0, 1), found.scores.flatten(), found.labels.flatten())
            outputs["mask_scores"] = rows.reshape(found.scores.shape)
        return outputs


@dataclass(frozen=True)
class Export:
    """A graph, with the words for what goes in and comes out, and what a program must know to use it."""

    graph: RawGraph | CompleteGraph
    inputs: list[Port]
    outputs: list[Port]
    metadata: dict[str, Any]  # plain data

    def metadata_texts(self) -> dict[str, str]:
        """Return the metadata as ONNX holds them: every value as JSON."""
        return {key: json.dumps(value, ensure_ascii=False) for key, value in self.metadata.items()}


def make_export(loaded: LoadedModel, contents: Contents) -> Export:
    """Compose what to export of a model.

    Raises:
        UserError: the configured NMS cannot stand in a graph.
    """
    model, settings = loaded.model, loaded.config.eval
    if contents == "complete" and settings.nms == "exact":
        raise UserError(
            "eval.nms is exact, which goes box by box and cannot stand in a complete export; add --set eval.nms=fast "
            "(or cross_class), or export the raw outputs."
        )
    side = model.image_size
    images = Port(INPUT, "uint8", ("batch", side, side, 3), "RGB; the picture stretched to these sides")
    metadata: dict[str, Any] = {
        "yolact_export": FORM,
        "contents": contents,
        "config": loaded.config.name,
        "image_size": side,
        "class_names": loaded.class_names,
        "category_ids": loaded.category_ids,
    }
    if contents == "raw":
        metadata["box_variances"] = [CENTRE_VARIANCE, SIZE_VARIANCE]
        return Export(RawGraph(model), [images], _raw_outputs(model), metadata)
    metadata["mask_threshold"] = 0.5
    keys = ("crop", "score_threshold", "nms", "nms_threshold", "nms_top_k", "max_detections")
    metadata.update({key: getattr(settings, key) for key in keys})
    return Export(CompleteGraph(model, settings), [images], _complete_outputs(model, settings), metadata)


def _raw_outputs(model: Yolact) -> list[Port]:
    anchors, side = len(model.anchors), _prototype_side(model)
    prototypes = model.protonet.output.out_channels
    return [
        Port("class_logits", "float32", ("batch", anchors, 1 + model.num_classes), "before softmax; 0 is background"),
        Port("box_deltas", "float32", ("batch", anchors, 4), "boxes against the anchors, as in SSD"),
        Port("mask_coefficients", "float32", ("batch", anchors, prototypes), "in (-1, 1)"),
        Port("prototypes", "float32", ("batch", prototypes, side, side), "not negative"),
        Port("anchors", "float32", ("batch", anchors, 4), "x1 y1 x2 y2, pixels of the input; always the same"),
    ]


def _complete_outputs(model: Yolact, settings: EvalConfig) -> list[Port]:
    rows, side = settings.max_detections, _prototype_side(model)
    cropped = "cropped to the boxes" if settings.crop == "before_resize" else "not cropped"
    outputs = [
        Port("boxes", "float32", ("batch", rows, 4), "x1 y1 x2 y2, pixels of the input, not clipped"),
        Port("scores", "float32", ("batch", rows), "class probability, descending"),
        Port("labels", "int64", ("batch", rows), "places in class_names and category_ids"),
        Port("masks", "float32", ("batch", rows, side, side), f"probabilities over the whole input, {cropped}"),
        Port("counts", "int64", ("batch",), "rows that are detections; the others are zero"),
    ]
    if model.mask_iou is not None:
        outputs.append(Port("mask_scores", "float32", ("batch", rows), "score times predicted IoU of the mask"))
    return outputs


def _prototype_side(model: Yolact) -> int:
    """Return the side of the prototypes in pixels: twice that of P3."""
    return 2 * level_sizes(model.image_size)[0]
