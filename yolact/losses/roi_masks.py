"""Each object's mask and prototypes on a grid of its own, for losses and assigners that look at masks."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from yolact.ops import masks as mask_ops
from yolact.structures import Objects, Predictions, Target


class RoiMasks:
    """The grids of the T objects of a batch, M x M points around each box; see `yolact.ops.masks.align`."""

    def __init__(
        self, predictions: Predictions, targets: Sequence[Target], objects: Objects, image_size: int, size: int
    ) -> None:
        self._predictions, self._targets, self._objects = predictions, targets, objects
        self._image_size, self._size = image_size, size

    @cached_property
    def masks(self) -> Tensor:
        """The true masks, float32 [T, M, M] in [0, 1]: those of the loader, or of whole masks."""
        crops = [
            target["mask_crops"]
            if "mask_crops" in target
            else mask_ops.align_masks(target["masks"], target["boxes"], self._size)
            for target in self._targets
        ]
        return torch.cat(crops).float() / 255

    @cached_property
    def _prototypes(self) -> Tensor:
        objects = self._objects
        with torch.enable_grad():  # an assigner may be the first to ask
            return mask_ops.align(
                self._predictions.prototypes, objects.image_index, objects.boxes / self._image_size, self._size
            )

    def logits(self, index: Tensor) -> Tensor:
        """Return the mask logits [T, R, M, M] of R candidates of each object, by their numbers int64 [T, R]."""
        coefficients = self._predictions.mask_coefficients[self._objects.image_index[:, None], index]
        return mask_ops.assemble(self._prototypes, coefficients)

    def iou(self, index: Tensor) -> Tensor:
        """Return the IoU [T, R] of the predicted masks of such candidates with the true one, on the grid."""
        found, real = self.logits(index) > 0, self.masks[:, None] > 0.5
        union = (found | real).sum((-2, -1)).clamp(min=1)
        return (found & real).sum((-2, -1)) / union
