"""Test-time augmentation: the network sees flipped copies of an image too, and NMS chooses among all candidates."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from yolact.errors import UserError
from yolact.structures import BoxCoder, Detections, Predictions, Runtime

DIMENSIONS = {"horizontal": -1, "vertical": -2}


def with_flips(runtime: Runtime, flips: Sequence[str]) -> Runtime:
    """Return a runtime that also sees each image flipped in these ways, or the same one where there are none."""
    return FlippedRuntime(runtime, flips) if flips else runtime


class DecodedCoder:
    """The code of boxes that are decoded already; scores are those of another code."""

    def __init__(self, coder: BoxCoder) -> None:
        self.image_size, self.scores = coder.image_size, coder.scores
        self.constants: dict[str, Tensor] = {}

    def decode(self, box_deltas: Tensor) -> Tensor:
        return box_deltas

    def encode(self, boxes: Tensor) -> Tensor:
        return boxes


class FlippedRuntime:
    """A `Runtime` whose predictions are those of the image and of its flipped copies, one after the other.

    Each copy has candidates and prototypes of its own, so that the coefficients of others' are zero.
    """

    def __init__(self, runtime: Runtime, flips: Sequence[str]) -> None:
        self._runtime, self._dimensions = runtime, [None, *(DIMENSIONS[flip] for flip in flips)]
        self.name, self.precision, self.device = runtime.name, runtime.precision, runtime.device
        self.resize, self.mask_iou = runtime.resize, runtime.mask_iou
        self.coder: BoxCoder = DecodedCoder(runtime.coder)

    def __call__(self, images: Tensor) -> Predictions:
        parts = [self._predict(images, dimension) for dimension in self._dimensions]
        width = parts[0].mask_coefficients.shape[-1]
        coefficients = [
            F.pad(part.mask_coefficients, (place * width, (len(parts) - 1 - place) * width))
            for place, part in enumerate(parts)
        ]
        return Predictions(
            class_logits=torch.cat([part.class_logits for part in parts], 1),
            box_deltas=torch.cat([part.box_deltas for part in parts], 1),
            mask_coefficients=torch.cat(coefficients, 1),
            prototypes=torch.cat([part.prototypes for part in parts], 1),
            semantic_logits=parts[0].semantic_logits,
        )

    def _predict(self, images: Tensor, dimension: int | None) -> Predictions:
        """Flip along a dimension, predict, and return predictions for the images as they were, boxes decoded."""
        output = self._runtime(images if dimension is None else images.flip(dimension))
        if isinstance(output, Detections):
            raise UserError(
                "eval.flips adds candidates before NMS, which is inside of what runs here: set it to [], export the "
                "raw outputs, or leave compilation out."
            )
        output = Predictions(*(field.clone() for field in output))  # the next call may overwrite those of a graph
        boxes = self._runtime.coder.decode(output.box_deltas)
        if dimension is None:
            return output._replace(box_deltas=boxes)
        side, axis = self.resize.size[dimension], 0 if dimension == -1 else 1
        boxes[..., [axis, axis + 2]] = side - boxes[..., [axis + 2, axis]]
        return output._replace(box_deltas=boxes, prototypes=output.prototypes.flip(dimension))
