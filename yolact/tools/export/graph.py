"""What an exported file computes: modules from uint8 images to named outputs, made of what inference uses."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolact.config import EvalConfig
from yolact.errors import UserError
from yolact.models import Yolact
from yolact.models.heads import CENTRE_VARIANCE, SIZE_VARIANCE
from yolact.models.inference import folded
from yolact.postprocess import Detector
from yolact.predictor import LoadedModel
from yolact.structures import Predictions

FORM = 1  # of inputs, outputs and metadata; a higher number would mean that programs that read them must change
INPUT = "images"
RAW = ("class_logits", "box_deltas", "mask_coefficients", "prototypes", "anchors")
MEANINGS = {
    "images": "RGB; the image stretched to these sides",
    "class_logits": "before softmax; 0 is background",
    "box_deltas": "boxes against the anchors, as in SSD",
    "mask_coefficients": "in (-1, 1)",
    "prototypes": "not negative",
    "anchors": "x1 y1 x2 y2, pixels of the input; always the same",
    "boxes": "x1 y1 x2 y2, pixels of the input, not clipped",
    "scores": "class probability, descending",
    "labels": "indices into class_names and category_ids",
    "masks": "probabilities over the whole input; cropped to the boxes if crop is before_resize",
    "counts": "rows that are detections; the others are zero",
    "mask_scores": "score times predicted IoU of the mask",
}


def find(detector: Detector, predictions: Predictions) -> dict[str, Tensor]:
    """Return the outputs of a complete export: detections, and their masks at the size of the prototypes."""
    found = detector.detect(predictions)
    masks = detector.masks(found, predictions.prototypes)
    outputs = {name: getattr(found, name) for name in ("boxes", "scores", "labels")}
    outputs |= {"masks": masks, "counts": found.counts}
    if detector.mask_iou is not None:
        flat = detector.rescore(masks.flatten(0, 1), found.scores.flatten(), found.labels.flatten())
        outputs["mask_scores"] = flat.unflatten(0, found.scores.shape)
    return outputs


class Graph(nn.Module):
    """The network on uint8 images [B, S, S, 3] RGB: its outputs and the anchors, or with settings those of `find`."""

    def __init__(self, model: Yolact, settings: EvalConfig | None):
        super().__init__()
        # A folded copy, so that the caller's model stays as it is, in the plain memory format that other programs want.
        self.model = folded(model).cpu().to(memory_format=torch.contiguous_format)
        self.settings = settings

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        # Floating-point before the transposition, because TensorRT does nothing else with uint8.
        predictions: Predictions = self.model((images.float() / 255).permute(0, 3, 1, 2))
        if self.settings is not None:
            return find(Detector.of(self.model, self.settings), predictions)
        # For each image, because some runtimes take no constant for an output.
        anchors = self.model.anchors.expand(images.shape[0], -1, -1)
        return {name: getattr(predictions, name, anchors) for name in RAW}


class Export(NamedTuple):
    """A graph, what goes in and comes out for one image, and what a program must know to use it."""

    graph: Graph
    image: Tensor
    outputs: dict[str, Tensor]
    metadata: dict[str, Any]  # plain data

    def lines(self) -> list[str]:
        """Describe the input and the outputs for a person."""
        rows = [("in ", INPUT, self.image), *(("out", name, value) for name, value in self.outputs.items())]
        return [
            f"  {way}  {name:18}{str(value.dtype)[6:]:8} {f'[batch, {str([*value.shape[1:]])[1:]}':24} {MEANINGS[name]}"
            for way, name, value in rows
        ]


def make_export(loaded: LoadedModel, raw: bool) -> Export:
    """Compose what to export of a model: its raw outputs, or what it finds.

    Raises:
        UserError: the configured NMS cannot stand in a graph.
    """
    model, settings = loaded.model, loaded.config.eval
    if not raw and settings.nms == "exact":
        raise UserError(
            "eval.nms is exact, which goes box by box and cannot stand in a complete export; add --set eval.nms=fast "
            "(or cross_class), or export the raw outputs."
        )
    side = model.image_size
    metadata: dict[str, Any] = {
        "yolact_export": FORM,
        "contents": "raw" if raw else "complete",
        "config": loaded.config.name,
        "image_size": side,
        "class_names": loaded.class_names,
        "category_ids": loaded.category_ids,
    }
    if raw:
        metadata["box_variances"] = [CENTRE_VARIANCE, SIZE_VARIANCE]
    else:
        keys = ("crop", "score_threshold", "nms", "nms_threshold", "nms_top_k", "max_detections")
        metadata |= {"mask_threshold": 0.5} | {key: getattr(settings, key) for key in keys}
    graph = Graph(model, None if raw else settings)
    image = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    with torch.no_grad():
        return Export(graph, image, graph(image), metadata)
