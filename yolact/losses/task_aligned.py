"""Task-aligned assignment (TOOD, Feng et al. 2021): what scores and localises an object best answers for it.

It needs a head of points; the weights that it gives are what the class scores should become.
"""

import torch
from torch import Tensor

from yolact.config import LossConfig
from yolact.losses.assigners import NEGATIVE, Assignment, Candidates, best_objects, ignore_in_crowds
from yolact.ops.boxes import box_iou
from yolact.structures import Objects

SMALLEST_SIDE = 2.0  # strides to which an object is enlarged, so that a tiny one has points inside


class TaskAlignedAssigner:
    """Each object takes the `top_k` points inside of it with the largest score^alpha * IoU^beta.

    A point that several objects claim goes to the one that it overlaps most. The weight of a positive is that product,
    scaled so that the best of an object has the object's best IoU. Points in crowd regions are not negative.
    """

    def __init__(self, config: LossConfig) -> None:
        self.config = config

    def __call__(self, candidates: Candidates, objects: Objects) -> Assignment:
        config, coder, images = self.config, candidates.coder, objects.image_index
        iou = box_iou(objects.boxes[:, None], candidates.boxes[images])[:, 0]  # [T, A]
        scores = candidates.scores[images, :, objects.labels]
        inside = points_inside(coder.points, coder.strides, objects.boxes)  # type: ignore[attr-defined]
        alignment = scores**config.align_alpha * iou**config.align_beta * (inside & ~objects.iscrowd[:, None])
        best, chosen = alignment.topk(min(config.top_k, alignment.shape[1]))
        claimed = torch.zeros_like(inside).scatter_(1, chosen, best > 0)
        best_iou, index = best_objects(iou.masked_fill(~claimed, -1), objects)
        index = ignore_in_crowds(index.masked_fill(best_iou < 0, NEGATIVE), inside, objects)
        assignment = Assignment(index, torch.zeros_like(best_iou))
        own = assignment.of_objects(objects)
        weight = alignment * own
        weight = weight / weight.amax(1, keepdim=True).clamp(min=1e-30) * (iou * own).amax(1, keepdim=True)
        return assignment._replace(weight=assignment.weight.index_add(0, images, weight))


def points_inside(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """Tell which points [A, 2] lie in which boxes [T, 4], each enlarged to two of the point's strides: bool [T, A]."""
    centre, half = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2, (boxes[:, None, 2:] - boxes[:, None, :2]) / 2
    reach = torch.maximum(half, strides[:, None] * (SMALLEST_SIDE / 2))
    return ((points - centre).abs() < reach).all(-1)
