"""What an exported file computes: from uint8 images to named outputs, made of what inference uses."""

from typing import Any

import torch
from torch import Tensor, nn

import yolact
from yolact.config import config_to_dict
from yolact.errors import UserError
from yolact.loaded import LoadedModel
from yolact.models.heads import CENTRE_VARIANCE, SIZE_VARIANCE
from yolact.models.inference import cast, folded
from yolact.postprocess import Detector
from yolact.runtimes.exported import COMPLETE, FORM, INPUT, RAW
from yolact.structures import Predictions

MEANINGS = {
    "images": "RGB, or all bands; the image stretched to this height and width, or padded to it right and below",
    "class_logits": "before softmax, 0 is background; with points before sigmoid, no background",
    "box_deltas": "boxes against the anchors, as in SSD; with points softplus of them are left, top, right, bottom",
    "mask_coefficients": "in (-1, 1)",
    "prototypes": "not negative",
    "anchors": "x1 y1 x2 y2, pixels of the input; always the same",
    "points": "x y stride, pixels of the input; distances are in strides; always the same",
    "boxes": "x1 y1 x2 y2, pixels of the input, not clipped",
    "scores": "class probability, descending",
    "labels": "indices into class_names and category_ids",
    "masks": "of the whole input: cropped probabilities if crop is before_resize, else logits",
    "counts": "rows that are detections; the others are zero",
    "mask_scores": "score times predicted IoU of the mask",
}


def find(detector: Detector, predictions: Predictions) -> dict[str, Tensor]:
    """Return the outputs of a complete export: detections, and their masks at the size of the prototypes."""
    found = detector.detect(predictions)
    masks = detector.masks(found)
    outputs = {name: getattr(found, name) for name in COMPLETE} | {"masks": masks}
    if detector.mask_iou is not None:
        soft = masks if detector.settings.crop == "before_resize" else masks.sigmoid()
        flat = detector.rescore(soft.flatten(0, 1), found.scores.flatten(), found.labels.flatten())
        outputs["mask_scores"] = flat.unflatten(0, found.scores.shape)
    return outputs


class Export(nn.Module):
    """The network on uint8 images [B, H, W, C], RGB if C is 3, with its raw outputs or with what it finds.

    Attributes:
        image: an input, of one image.
        outputs: what comes out for it.
        metadata: what a program must know to use the outputs, as plain data.
    """

    def __init__(self, loaded: LoadedModel, raw: bool, precision: str = "fp32", dtype: torch.dtype = torch.float32):
        """Raise a UserError where the configured NMS or flips cannot stand in a graph.

        Args:
            loaded: the model, which stays as it is.
            raw: whether the outputs of the network are those of the file.
            precision: of the file, for its metadata.
            dtype: that the network computes in; all that follows it is float32.
        """
        super().__init__()
        self.settings, self.raw = loaded.config.eval, raw
        if not raw and self.settings.nms == "exact":
            raise UserError(
                "eval.nms is exact, which goes box by box and cannot stand in a complete export; add --set "
                "eval.nms=fast (or cross_class), or export the raw outputs."
            )
        if not raw and self.settings.flips:
            raise UserError(
                f"eval.flips is [{', '.join(self.settings.flips)}], which adds candidates before the NMS of a complete "
                "export; add --set eval.flips=[], or export the raw outputs."
            )
        # A folded copy, so that the caller's model stays as it is, in the plain memory format that other programs want.
        self.model = folded(loaded.model).cpu().to(memory_format=torch.contiguous_format)
        cast(self.model, dtype)
        self.metadata: dict[str, Any] = {
            "yolact_export": FORM,
            "version": yolact.__version__,
            "contents": "raw" if raw else "complete",
            "precision": precision,
            "config": config_to_dict(loaded.config),
            "image_size": list(self.model.image_size),
            "resize": loaded.config.model.resize,
            "class_names": loaded.class_names,
            "category_ids": loaded.category_ids,
            "names_known": loaded.names_known,
        }
        if raw and loaded.config.model.head == "anchors":
            self.metadata["box_variances"] = [CENTRE_VARIANCE, SIZE_VARIANCE]
        elif not raw:
            keys = ("crop", "score_threshold", "nms", "nms_threshold", "nms_top_k", "max_detections")
            self.metadata |= {"mask_threshold": Detector.of(self.model, self.settings).mask_threshold} | {
                key: getattr(self.settings, key) for key in keys
            }
        self.image = torch.zeros(1, *self.model.image_size, self.model.channels, dtype=torch.uint8)
        with torch.no_grad():
            self.outputs = self(self.image)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        # Floating-point before the transposition, because TensorRT does nothing else with uint8.
        predictions = Predictions(*(value.float() for value in self.model((images.float() / 255).permute(0, 3, 1, 2))))
        if not self.raw:
            return find(Detector.of(self.model, self.settings), predictions)
        # For each image, because some runtimes take no constant for an output.
        constants = self.model.head.coder(self.model.image_size).constants
        outputs = {name: getattr(predictions, name) for name in RAW}
        return outputs | {name: value.expand(images.shape[0], -1, -1) for name, value in constants.items()}

    def lines(self) -> list[str]:
        """Describe the input and the outputs for a person."""
        rows = [("in ", INPUT, self.image), *(("out", name, value) for name, value in self.outputs.items())]
        return [
            f"  {way}  {name:18}{str(value.dtype)[6:]:8} {f'[batch, {str([*value.shape[1:]])[1:]}':24} {MEANINGS[name]}"
            for way, name, value in rows
        ]
