"""The ground truth of a batch as one list of objects, so that the losses need no loop over them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from yolact.structures import Target


class Objects(NamedTuple):
    """The T objects of a batch of B pictures, picture after picture, crowd regions among them."""

    boxes: Tensor  # float32 [T, 4] xyxy
    labels: Tensor  # int64 [T]
    iscrowd: Tensor  # bool [T]
    picture: Tensor  # int64 [T], ascending
    counts: list[int]  # B numbers that add up to T


def join(targets: Sequence[Target]) -> Objects:
    """Put the objects of all pictures into one list; nothing here waits for the device."""
    counts = [len(target["labels"]) for target in targets]
    device = targets[0]["labels"].device
    return Objects(
        boxes=torch.cat([target["boxes"] for target in targets]),
        labels=torch.cat([target["labels"] for target in targets]),
        iscrowd=torch.cat([target["iscrowd"] for target in targets]),
        picture=torch.cat([torch.full((count,), i, device=device) for i, count in enumerate(counts)]),
        counts=counts,
    )
