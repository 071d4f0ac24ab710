from typing import Any

import torch

from yolact.config import LossConfig
from yolact.losses.assigners import Assignment
from yolact.losses.criterion import LossInputs
from yolact.models.heads import AnchorCoder
from yolact.structures import Predictions, Target, join_targets


def make_inputs(
    targets: list[Target], object_index: list[list[int]], weight: Any = None, config: Any = None, **fields: Any
) -> LossInputs:
    """Return what a term looks at, of a 16-pixel input, from targets and object numbers [B, A].

    Fields of the predictions may be given; the others are zero, for two classes and one prototype of 8 x 8.
    """
    index = torch.tensor(object_index)
    shape = tuple(index.shape)
    zeros = {
        "class_logits": torch.zeros(*shape, 3),
        "box_deltas": torch.zeros(*shape, 4),
        "mask_coefficients": torch.ones(*shape, 1),
        "prototypes": torch.zeros(shape[0], 1, 8, 8),
        "semantic_logits": torch.zeros(shape[0], 2, 2, 2),
    }
    coder = AnchorCoder(torch.tensor([[4.0, 4, 12, 12]]).expand(shape[1], 4), (16, 16))
    weights = torch.ones(shape) if weight is None else torch.tensor(weight)
    config = config or LossConfig(masks_to_train=1000)
    predictions, assignment = Predictions(**{**zeros, **fields}), Assignment(index, weights)
    return LossInputs(predictions, targets, assignment, join_targets(targets), coder, config)
