"""Which anchor answers for which object (SSD section 2.2, with RetinaNet's neutral band)."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from yolact.config import LossConfig
from yolact.losses.objects import Objects
from yolact.ops.boxes import box_iou, covered_share

NEGATIVE, NEUTRAL = -1, -2
# Rounds of forced matching on a device that must not be waited for. Each settles all objects but those that want the
# anchor of a better pair; more rounds than this need a chain of as many objects that all want each other's anchors.
ROUNDS = 6


class Matches(NamedTuple):
    """The matching of A anchors of each picture to objects, crowd regions left out."""

    object_index: Tensor  # int64 [..., A]: number of the object an anchor is positive for, or NEGATIVE or NEUTRAL

    @property
    def positive(self) -> Tensor:
        return self.object_index >= 0

    @property
    def neutral(self) -> Tensor:
        return self.object_index == NEUTRAL


def match(anchors: Tensor, objects: Objects, config: LossConfig, static: bool = False) -> Matches:
    """Match the anchors [A, 4] of each of B pictures to its objects; anchors in crowd regions are not negative.

    Every object is first forced onto one anchor of its own, best pairs first; then each anchor takes its best object
    if their IoU reaches `positive_iou`, and is negative if it stays below `negative_iou`.

    Several anchors often overlap a large object equally but for rounding. To force the same one as the authors' code,
    boxes are given in its unit, as shares of the picture's side.

    Args:
        anchors: xyxy, in the unit of the objects' boxes.
        static: never wait for the device, see `force_match`.

    Returns:
        Matches [B, A], whose numbers count through the objects of the batch.
    """
    iou = box_iou(objects.boxes, anchors).masked_fill_(objects.iscrowd[:, None], -1)
    best, index = _best_objects(iou, objects)
    # A column more takes what is not to be written: crowd regions have no anchor.
    place = (objects.picture, force_match(iou, objects.picture, ~objects.iscrowd, static))
    best, index = F.pad(best, (0, 1)), F.pad(index, (0, 1))
    best[place], index[place] = 2.0, torch.arange(len(objects.picture), device=index.device)
    best, index = best[:, :-1], index[:, :-1]
    index = index.masked_fill(best < config.positive_iou, NEUTRAL).masked_fill(best < config.negative_iou, NEGATIVE)
    if static or objects.iscrowd.any():
        covered = covered_share(anchors, objects.boxes) > config.crowd_overlap
        in_crowd = [part.any(1) for part in (covered & objects.iscrowd).split(objects.counts, 1)]
        index = index.masked_fill(torch.stack(in_crowd) & (index < 0), NEUTRAL)
    return Matches(index)


def _best_objects(iou: Tensor, objects: Objects) -> tuple[Tensor, Tensor]:
    """Return each anchor's best IoU, [B, A], and the number of that object; without objects the IoU is -1."""
    best, index = [], []
    first = 0
    for part in iou.split(objects.counts):
        if len(part):
            values, numbers = part.max(0)
        else:
            values, numbers = iou.new_full(iou.shape[1:], -1), objects.picture.new_zeros(iou.shape[1:])
        best.append(values)
        index.append(numbers + first)
        first += len(part)
    return torch.stack(best), torch.stack(index)


def force_match(iou: Tensor, picture: Tensor, wanted: Tensor, static: bool = False) -> Tensor:
    """Give each object an anchor of its own by taking the best remaining pair of its picture again and again.

    A pair that is the best both of its object's row and of its anchor's column is one that this order would take, so
    each round takes all such pairs together: a few rounds instead of one for each object.

    Args:
        iou: [T, A], of every object with the anchors of its picture. It is overwritten.
        picture: int64 [T].
        wanted: bool [T]; other objects get no anchor.
        static: run a fixed number of rounds, so that a GPU need not be waited for. An object that is not settled by
            then takes the best anchor that remains to it, shared or not.

    Returns:
        int64 [T], the anchor of each object, and A for objects that are not wanted.
    """
    if not len(iou):
        return torch.zeros_like(picture)
    if not static:
        return torch.from_numpy(_force_on_host(iou.numpy(), picture.numpy(), wanted.numpy()))
    anchor_of = torch.full_like(picture, iou.shape[1])
    waiting, same, numbers = wanted, picture[:, None] == picture, torch.arange(len(iou), device=iou.device)
    best_anchor = iou.argmax(1)
    for _ in range(ROUNDS):
        rivals = iou[:, best_anchor].masked_fill(~(same & waiting[:, None]), -2)  # of each object's best anchor
        settled = waiting & (rivals.argmax(0) == numbers)
        anchor_of = torch.where(settled, best_anchor, anchor_of)
        waiting = waiting & ~settled
        # Nobody else of the picture gets a settled anchor.
        iou.scatter_reduce_(1, best_anchor.expand(len(iou), -1), torch.where(same & settled, -1.0, 2.0), "amin")
        best_anchor = iou.argmax(1)
    return torch.where(waiting, best_anchor, anchor_of)


def _force_on_host(
    iou: NDArray[np.float32], picture: NDArray[np.int64], waiting: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Do the rounds of `force_match` until every object has its anchor."""
    anchor_of = np.full_like(picture, iou.shape[1])
    same, best_anchor = picture[:, None] == picture, iou.argmax(1)
    while waiting.any():
        rivals = np.where(same & waiting[:, None], iou[:, best_anchor], -2)
        settled = waiting & (rivals.argmax(0) == np.arange(len(iou)))
        anchor_of[settled] = best_anchor[settled]
        waiting = waiting & ~settled
        losers, winners = np.nonzero(same & settled)
        iou[losers, best_anchor[winners]] = -1
        best_anchor[waiting] = iou[waiting].argmax(1)
    return anchor_of
