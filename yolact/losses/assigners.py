"""Which candidate of the network answers for which object.

An assigner is called with `Candidates` and the `Objects` of a batch, without gradient, and returns an `Assignment`.
"""

import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from yolact.config import LossConfig
from yolact.ops.boxes import box_iou, covered_share, unit_boxes
from yolact.structures import BoxCoder, Objects, Predictions

NEGATIVE, IGNORED = -1, -2
# Rounds of forced matching on a device that must not be waited for. Each serves all objects but those that want the
# anchor of a better pair; more rounds than this need a chain of as many objects that all want each other's anchors.
MAX_ROUNDS = 6
TAKEN, SERVED = -1.0, -2.0  # in place of an IoU: the anchor is another object's; the object has one


class Assignment(NamedTuple):
    """The assignment of A candidates of each of B images."""

    object_index: Tensor  # int64 [B, A]: number of the object in `Objects`, or NEGATIVE or IGNORED
    weight: Tensor  # float32 [B, A]: what a candidate counts in the losses

    def of_objects(self, objects: Objects) -> Tensor:
        """Return which candidates of its image answer for each of the T objects, bool [T, A]."""
        numbers = torch.arange(len(objects.labels), device=self.object_index.device)
        return self.object_index[objects.image_index] == numbers[:, None]

    @property
    def positive(self) -> Tensor:
        return self.object_index >= 0

    @property
    def ignored(self) -> Tensor:
        return self.object_index == IGNORED


class Candidates:
    """What an assigner may look at. Scores and boxes are computed when they are first used.

    Attributes:
        coder: of the head; of anchor heads it has `anchors` and `unit_anchors`, of point heads `points` and `strides`.
    """

    def __init__(self, predictions: Predictions, coder: BoxCoder) -> None:
        self._predictions, self.coder = predictions, coder

    @cached_property
    def scores(self) -> Tensor:
        """Class probabilities, float32 [B, A, C]."""
        return self.coder.scores(self._predictions.class_logits.detach())

    @cached_property
    def boxes(self) -> Tensor:
        """Predicted boxes, float32 [B, A, 4] xyxy, pixels of the network input."""
        return self.coder.decode(self._predictions.box_deltas.detach())


Assigner = Callable[[Candidates, Objects], Assignment]


class MaxIoUAssigner:
    """The paper's rule: anchors by their IoU with objects (SSD section 2.2, with RetinaNet's band of ignored ones).

    Every object is first forced onto one anchor of its own, best pairs first; then each anchor takes its best object
    if their IoU reaches `positive_iou`, and is negative if it stays below `negative_iou`. Anchors in crowd regions are
    not negative.
    """

    def __init__(self, config: LossConfig) -> None:
        self.config = config

    def __call__(self, candidates: Candidates, objects: Objects) -> Assignment:
        config, coder = self.config, candidates.coder
        # Several anchors often overlap a large object equally but for rounding. To force the same one as the authors'
        # code, boxes are taken in its unit, as shares of the image's sides.
        anchors, boxes = coder.unit_anchors, unit_boxes(objects.boxes, coder.image_size)  # type: ignore[attr-defined]
        iou = box_iou(boxes, anchors).masked_fill_(objects.iscrowd[:, None], -1)
        best, index = best_objects(iou, objects)
        # A column more takes what is not to be written: crowd regions have no anchor.
        place = (objects.image_index, force_match(iou, objects.image_index, ~objects.iscrowd))
        best = F.pad(best, (0, 1)).index_put(place, best.new_full((), 2.0))[:, :-1]
        index = F.pad(index, (0, 1)).index_put(place, torch.arange(len(boxes), device=index.device))[:, :-1]
        index = index.masked_fill(best < config.positive_iou, IGNORED).masked_fill(best < config.negative_iou, NEGATIVE)
        index = ignore_in_crowds(index, (covered_share(anchors, boxes) > config.crowd_overlap).T, objects)
        return Assignment(index, torch.ones_like(index, dtype=torch.float32))


def ignore_in_crowds(index: Tensor, covered: Tensor, objects: Objects) -> Tensor:
    """Return the object numbers [B, A] with what is no positive ignored where a crowd region covers it.

    Args:
        covered: bool [T, A], whether each object's region covers each candidate of its image.
    """
    in_crowd = _of_images((covered & objects.iscrowd[:, None]).byte(), objects, "amax", 0).bool()
    return index.masked_fill(in_crowd & (index < 0), IGNORED)


def best_objects(iou: Tensor, objects: Objects) -> tuple[Tensor, Tensor]:
    """Return each anchor's best IoU, [B, A], and the number of that object; without objects the IoU is -1."""
    best = _of_images(iou, objects, "amax", -1)
    numbers = torch.arange(len(iou), device=iou.device)[:, None]
    is_best = iou == best[objects.image_index]
    return best, _of_images(torch.where(is_best, numbers, len(iou)), objects, "amin", len(iou))


def _of_images(values: Tensor, objects: Objects, reduce: str, start: float) -> Tensor:
    """Reduce `values` [T, A] over the objects of each image, from `start` on: [B, A]."""
    images = objects.image_index[:, None].expand_as(values)
    return values.new_full((len(objects.counts), values.shape[1]), start).scatter_reduce_(0, images, values, reduce)


def force_match(iou: Tensor, image_index: Tensor, wanted: Tensor) -> Tensor:
    """Give each object an anchor of its own by taking the best remaining pair of its image again and again.

    A pair that is the best both of its object's row and of its anchor's column is one that this order would take, so
    each round takes all such pairs: a few rounds instead of one for each object. Devices other than CPUs run a fixed
    number of rounds, so that the host need not wait; what is left then takes its best anchor, shared or not.

    Args:
        iou: [T, A], of every object with the anchors of its image. It is overwritten.
        image_index: int64 [T].
        wanted: bool [T]; other objects get no anchor.

    Returns:
        int64 [T], the anchor of each object, and A for objects that are not wanted.
    """
    anchor_of = torch.full_like(image_index, iou.shape[1])
    if not len(iou):
        return anchor_of
    on_cpu = iou.device.type == "cpu"
    numbers = torch.arange(len(iou), device=iou.device)
    same_image = image_index[:, None] == image_index
    apart = torch.where(same_image, 0.0, -math.inf)
    free, taken = iou.new_full((), 2.0), torch.where(same_image, TAKEN, 2.0)  # more than any IoU leaves it as it is
    waiting = wanted
    best_anchor = iou.masked_fill_(~wanted[:, None], SERVED).argmax(1)
    for _ in range(len(iou) if on_cpu else MAX_ROUNDS):
        if on_cpu and not waiting.any():
            break
        rivals = iou[:, best_anchor] + apart  # of each object's best anchor
        served = waiting & (rivals.argmax(0) == numbers)
        anchor_of = torch.where(served, best_anchor, anchor_of)
        waiting = waiting ^ served
        # Nobody else of the image gets an anchor that is taken.
        iou.scatter_reduce_(1, best_anchor.expand(len(iou), -1), torch.where(served, taken, free), "amin")
        best_anchor = iou.masked_fill_(served[:, None], SERVED).argmax(1)
    return torch.where(waiting, best_anchor, anchor_of)
