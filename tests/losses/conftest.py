from collections.abc import Callable
from typing import Any

import pytest
import torch

from yolact.config import LossConfig
from yolact.losses.assigners import Assignment
from yolact.losses.criterion import LossInputs
from yolact.models.heads import AnchorCoder
from yolact.structures import Predictions, Target, join_targets


@pytest.fixture(scope="session")
def make_target() -> Callable[..., Target]:
    """Return a function that makes a target of full boxes as masks: (boxes, labels, numbers of crowds, side)."""

    def make(boxes: list[list[float]], labels: list[int], crowds: tuple[int, ...] = (), side: int = 64) -> Target:
        corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        masks = torch.zeros(len(corners), side, side, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, corners.int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
        iscrowd = torch.zeros(len(corners), dtype=torch.bool)
        iscrowd[list(crowds)] = True
        return Target(boxes=corners, labels=torch.tensor(labels).long(), masks=masks, iscrowd=iscrowd, image_id=1)

    return make


@pytest.fixture(scope="session")
def make_inputs() -> Callable[..., LossInputs]:
    """Return a function that makes what a term looks at, of a 16-pixel input, from targets and object numbers [B, A].

    Fields of the predictions may be given; the others are zero, for two classes and one prototype of 8 x 8.
    """

    def make(
        targets: list[Target], object_index: list[list[int]], weight: Any = None, config: Any = None, **fields: Any
    ) -> LossInputs:
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

    return make
