"""Non-maximum suppression: Fast NMS per class and over all classes (YOLACT section 3.4), and sequential NMS.

Each function takes the candidates of one picture, boxes [N, 4] xyxy with class probabilities [N, C] without
background, and returns (candidate index [D], label [D], score [D]) by descending score, at most `max_detections`.
"""

import torch
from torch import Tensor
from torchvision.ops import batched_nms

from yolact.ops.boxes import box_iou

Kept = tuple[Tensor, Tensor, Tensor]


def fast_nms(boxes: Tensor, scores: Tensor, threshold: float, top_k: int, max_detections: int) -> Kept:
    """Keep, in each class, the boxes that overlap no higher-scoring one of its `top_k` by more than `threshold`.

    Already removed boxes may remove others, which is what lets all classes be done at once; a candidate may be kept
    under several classes.
    """
    top, index = scores.T.topk(min(top_k, len(boxes)), dim=1)  # [C, k]
    survives = _not_suppressed(boxes[index], threshold)  # [C, k]
    labels = torch.arange(len(top), device=boxes.device)[:, None].expand_as(index)
    return _best(index[survives], labels[survives], top[survives], max_detections)


def cross_class_nms(boxes: Tensor, scores: Tensor, threshold: float, top_k: int, max_detections: int) -> Kept:
    """Fast NMS over all classes at once: each candidate stands for its best class only."""
    best, labels = scores.max(1)
    top, index = best.topk(min(top_k, len(boxes)))
    survives = _not_suppressed(boxes[index], threshold)
    return _best(index[survives], labels[index[survives]], top[survives], max_detections)


def exact_nms(
    boxes: Tensor, scores: Tensor, threshold: float, top_k: int, max_detections: int, score_threshold: float
) -> Kept:
    """Sequential NMS per class by torchvision, over (candidate, class) pairs that score above `score_threshold`."""
    index, labels = (scores > score_threshold).nonzero(as_tuple=True)
    kept = batched_nms(boxes[index], scores[index, labels], labels, threshold)
    index, labels = index[kept], labels[kept]
    return _best(index, labels, scores[index, labels], min(max_detections, top_k * scores.shape[1]))


def _not_suppressed(boxes: Tensor, threshold: float) -> Tensor:
    """Return bool [..., k]: no box before this one, in descending score, overlaps it by more than `threshold`."""
    suppressed = box_iou(boxes, boxes).triu(diagonal=1) > threshold
    return ~suppressed.any(-2)


def _best(index: Tensor, labels: Tensor, scores: Tensor, max_detections: int) -> Kept:
    order = scores.argsort(descending=True, stable=True)[:max_detections]
    return index[order], labels[order], scores[order]
