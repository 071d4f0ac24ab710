"""What masks are made of: prototypes, coefficients, signed contributions, and the sum that becomes a mask.

YOLACT section 3 and figure 5. `yolact.explain_figures` draws all of it. Maps are float32 [Hp, Wp] on the CPU: the
square that the network sees, at the size of its prototypes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from yolact.ops import masks as mask_ops
from yolact.predictor import Picture, Predictor
from yolact.structures import Instances

# IoU with the whole sum's mask from which on further contributions only touch up the border.
SETTLED_IOU = 0.95


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The N objects of a picture, and the parts that their masks are sums of. Methods take an object's number."""

    instances: Instances  # as the predictor's call returns them, by descending score
    prototypes: Tensor  # [K, Hp, Wp], not negative
    coefficients: Tensor  # [N, K] in (-1, 1)
    boxes: Tensor  # [N, 4] xyxy in pixels of the prototypes, not clipped

    def __len__(self) -> int:
        return len(self.coefficients)

    def __repr__(self) -> str:
        count, height, width = self.prototypes.shape
        return f"{len(self)} objects, made of {count} prototypes of {height} x {width} pixels"

    @property
    def picture(self) -> np.ndarray:
        """The picture that was explained, uint8 [H, W, 3] BGR."""
        assert self.instances.image is not None
        return self.instances.image

    def contributions(self, index: int) -> Tensor:
        """Return each coefficient times its prototype, [K, Hp, Wp]: what it adds to the mask or takes away."""
        return self.coefficients[index][:, None, None] * self.prototypes

    def mask_logits(self, index: int) -> Tensor:
        """Return the sum of the contributions, [Hp, Wp]; the mask is where its sigmoid exceeds one half."""
        return mask_ops.assemble(self.prototypes, self.coefficients[index : index + 1])[0]

    def window(self, index: int) -> Tensor:
        """Return bool [Hp, Wp], the box and a pixel around it, to which the mask is cropped."""
        height, width = self.prototypes.shape[1:]
        return mask_ops.box_window(self.boxes[index][None], height, width)[0]

    def shares(self, index: int) -> Tensor:
        """Return how much of all that is added and taken away inside the box each contribution is.

        Returns:
            [K] in [0, 1] with sum 1, or zeros where there is nothing.
        """
        amounts = (self.contributions(index).abs() * self.window(index)).sum((1, 2))
        return amounts / amounts.sum().clamp(min=torch.finfo(amounts.dtype).tiny)

    def order(self, index: int) -> list[int]:
        """Return the numbers of the prototypes by their share, the largest first."""
        return self.shares(index).argsort(descending=True, stable=True).tolist()

    def running_sums(self, index: int) -> Tensor:
        """Return the sums of the first 1, 2, ... K contributions in that order, [K, Hp, Wp]; the last is the whole."""
        return self.contributions(index)[self.order(index)].cumsum(0)

    def agreement(self, index: int) -> Tensor:
        """Return the IoU of each running sum's mask with that of the whole sum, inside the box: [K] in [0, 1]."""
        masks = (self.running_sums(index) > 0) & self.window(index)
        common, either = ((masks & masks[-1]).sum((1, 2)), (masks | masks[-1]).sum((1, 2)))
        return torch.where(either > 0, common / either.clamp(min=1), 1.0)

    def num_needed(self, index: int) -> int:
        """Return the number of contributions from which on the agreement stays above `SETTLED_IOU`."""
        below = (self.agreement(index) < SETTLED_IOU).nonzero()
        return int(below[-1]) + 2 if len(below) else 1


def explain(predictor: Predictor, picture: Picture, score_threshold: float = 0.3) -> Explanation:
    """Find the objects of one picture, with what their masks are made of.

    Args:
        picture: a path, or a uint8 [H, W, 3] array in BGR order.
        score_threshold: as in a call of the predictor, in [0, 1].

    Raises:
        DatasetError: the file cannot be read as a picture.
        TypeError, ValueError: the picture or the threshold is not of the form above.
    """
    instances, detections, prototypes = predictor.dissect(picture, score_threshold)
    height, width = prototypes.shape[1:]
    scale = torch.tensor([width, height, width, height]) / predictor.model.image_size
    return Explanation(instances, prototypes, detections.mask_coefficients[0], detections.boxes[0] * scale)
