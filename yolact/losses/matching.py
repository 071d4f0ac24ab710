"""Which anchor answers for which object (SSD section 2.2, with RetinaNet's neutral band)."""

from typing import NamedTuple

import torch
from torch import Tensor

from yolact.config import LossConfig
from yolact.ops.boxes import box_iou, covered_share

NEGATIVE, NEUTRAL = -1, -2


class Matches(NamedTuple):
    """The matching of one picture's A anchors to its N objects, crowd regions left out."""

    object_index: Tensor  # int64 [A]: index of the object an anchor is positive for, or NEGATIVE or NEUTRAL

    @property
    def positive(self) -> Tensor:
        return self.object_index >= 0

    @property
    def neutral(self) -> Tensor:
        return self.object_index == NEUTRAL


def match(anchors: Tensor, boxes: Tensor, crowd_boxes: Tensor, config: LossConfig) -> Matches:
    """Match anchors [A, 4] to object `boxes` [N, 4]; anchors in `crowd_boxes` [M, 4] are not negative. All xyxy.

    Every object is first forced onto one anchor of its own, best pairs first; then each anchor takes its best object
    if their IoU reaches `positive_iou`, and is negative if it stays below `negative_iou`.

    Several anchors often overlap a large object equally but for rounding. To force the same one as the authors' code,
    boxes are given in its unit, as shares of the picture's side.
    """
    if len(boxes):
        iou = box_iou(boxes, anchors)
        best, index = iou.max(0)
        forced = force_match(iou)
        index[forced] = torch.arange(len(boxes), device=index.device)
        best[forced] = 2.0
        index[best < config.positive_iou] = NEUTRAL
        index[best < config.negative_iou] = NEGATIVE
    else:
        index = torch.full((len(anchors),), NEGATIVE, device=anchors.device)
    if len(crowd_boxes):
        covered = covered_share(anchors, crowd_boxes).amax(1) > config.crowd_overlap
        index[covered & (index < 0)] = NEUTRAL
    return Matches(index)


def force_match(iou: Tensor) -> Tensor:
    """Give each of N objects an anchor of its own by taking the best remaining pair of `iou` [N, A] again and again.

    A pair that is the best both of its object's row and of its anchor's column is one that this order would take, so
    each round takes all such pairs together: a few rounds instead of N.

    Returns:
        int64 [N], the anchor of each object.
    """
    iou = iou.clone()
    anchor_of = torch.full((len(iou),), -1, device=iou.device)
    open_objects = torch.arange(len(iou), device=iou.device)
    while len(open_objects):
        remaining = iou[open_objects]
        best_anchor = remaining.argmax(1)
        best_object = remaining[:, best_anchor].argmax(0)
        mutual = best_object == torch.arange(len(open_objects), device=iou.device)
        anchor_of[open_objects[mutual]] = best_anchor[mutual]
        iou[:, best_anchor[mutual]] = -1
        open_objects = open_objects[~mutual]
    return anchor_of
