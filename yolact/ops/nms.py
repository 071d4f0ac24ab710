"""Non-maximum suppression: Fast NMS per class and over all classes (YOLACT section 3.4), and sequential NMS.

Each function takes the candidates of one image, boxes [N, 4] xyxy with class probabilities [N, C] without
background, and returns (candidate index [D], label [D], score [D]) by descending score, at most `max_detections`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

from yolact.ops.boxes import box_iou, paired_iou

FIRST_PAIRS = 4  # (candidate, class) pairs that Fast NMS looks at first, as a multiple of the detections wanted

Kept = tuple[Tensor, Tensor, Tensor]


def fast_nms(boxes: Tensor, scores: Tensor, threshold: float, top_k: int, max_detections: int) -> Kept:
    """Keep, in each class, the boxes that overlap no higher-scoring one of its `top_k` by more than `threshold`.

    Already removed boxes may remove others, which is what lets all classes be done at once; a candidate may be kept
    under several classes. Only higher scores decide over a box, so the best (candidate, class) pairs are looked at
    first, and the others only if too few of the best survive: the result is that of looking at all.
    """
    if scores.shape[1] == 1:  # the same, and every box overlaps with every other one anyway
        return cross_class_nms(boxes, scores, threshold, top_k, max_detections)
    num_pairs = FIRST_PAIRS * max_detections
    while True:
        index, labels, best, complete = _best_pairs(scores, num_pairs)
        survivors = _fast_nms_survivors(boxes[index], labels, threshold, top_k)
        if complete or len(survivors) >= max_detections:
            survivors = survivors[:max_detections]
            return index[survivors], labels[survivors], best[survivors]
        num_pairs *= 4


def _best_pairs(scores: Tensor, limit: int) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Return candidate, label and score of the best pairs of `scores` [N, C], descending, and whether that is all.

    About `limit` pairs come back, and with each of them every pair of a higher score.
    """
    num_classes = scores.shape[1]
    complete = limit >= scores.numel()
    if complete:
        flat, places = scores.reshape(-1), torch.arange(scores.numel(), device=scores.device)
    else:
        # A pair among the best `limit` stands in one of the `limit` rows with the best maxima.
        rows = scores.amax(1).topk(min(limit, len(scores))).indices
        flat, inside = scores[rows].reshape(-1).topk(limit, sorted=False)
        above = flat > flat.amin()  # of equal scores at the limit some may have been cut off
        flat, inside = flat[above], inside[above]
        places = rows[inside // num_classes] * num_classes + inside % num_classes
    index, labels = places // num_classes, places % num_classes
    order = (labels * len(scores) + index).argsort()  # equal scores by class, then by candidate
    order = order[flat[order].argsort(descending=True, stable=True)]
    return index[order], labels[order], flat[order], complete


def _fast_nms_survivors(boxes: Tensor, labels: Tensor, threshold: float, top_k: int) -> Tensor:
    """Return which boxes [P, 4], by descending score, survive among those of their label, as ascending numbers."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    first = (counts.cumsum(0) - counts)[labels[order]]
    rank = torch.arange(len(order), device=order.device) - first  # within the class
    order, rank = order[rank < top_k], rank[rank < top_k]
    # Pair each box with the `rank` better ones of its class, which stand right before it.
    lower = torch.arange(len(order), device=order.device).repeat_interleave(rank)
    higher = torch.arange(len(lower), device=order.device) + (lower - rank.cumsum(0)[lower])
    grouped = boxes[order]
    overlap = paired_iou(grouped[lower], grouped[higher]) > threshold
    suppressed = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    suppressed[lower[overlap]] = True
    return order[~suppressed].sort().values


def fast_nms_static(boxes: Tensor, scores: Tensor, threshold: float, top_k: int, max_detections: int) -> Kept:
    """Do the same as `fast_nms` for a batch in steps of fixed sizes, as exported and captured graphs need.

    Nor has an accelerator to wait for the CPU. The price is that every class has `top_k` candidates.

    Args:
        boxes: [B, N, 4] xyxy.
        scores: [B, N, C]; -1 where a box is no candidate.

    Returns:
        (candidate index, label, score), each [B, max_detections]; from where the score is -1 on nothing was found.
        They are those of `fast_nms` but for equal scores at the limit of `top_k`, of which any may be taken.
    """
    num_ranks = min(top_k, boxes.shape[1])
    index = scores.mT.topk(num_ranks, sorted=False).indices.sort().values  # [B, C, k]
    # Sorted by number first, so that the stable sort leaves equal scores in that order, as `fast_nms` does.
    top, order = scores.mT.gather(-1, index).sort(descending=True, stable=True)
    index = index.gather(-1, order).flatten(1)  # [B, C * k]
    ranked = boxes.gather(1, index[..., None].expand(-1, -1, 4)).unflatten(1, (-1, num_ranks))
    survives = _not_suppressed(ranked, threshold)  # or is no candidate, of score -1
    best, place = torch.where(survives, top, -1.0).flatten(1).sort(descending=True, stable=True)
    missing = max(max_detections - best.shape[1], 0)
    best = F.pad(best, (0, missing), value=-1.0)[:, :max_detections]
    place = F.pad(place, (0, missing))[:, :max_detections]
    return index.gather(1, place), place // num_ranks, best


def cross_class_nms_static(boxes: Tensor, scores: Tensor, threshold: float, top_k: int, max_detections: int) -> Kept:
    """Do the same as `cross_class_nms` for a batch in steps of fixed sizes; otherwise like `fast_nms_static`."""
    best, labels = scores.max(-1)
    index, _, kept = fast_nms_static(boxes, best[..., None], threshold, top_k, max_detections)
    return index, labels.gather(1, index), kept


def cross_class_nms(boxes: Tensor, scores: Tensor, threshold: float, top_k: int, max_detections: int) -> Kept:
    """Fast NMS over all classes at once: each candidate stands for its best class only."""
    best, labels = scores.max(1)
    top, index = best.topk(min(top_k, len(boxes)))
    survives = _not_suppressed(boxes[index], threshold)
    return _best(index[survives], labels[index[survives]], top[survives], max_detections)


def exact_nms(boxes: Tensor, scores: Tensor, threshold: float, max_detections: int, score_threshold: float) -> Kept:
    """Sequential NMS per class by torchvision, over (candidate, class) pairs that score above `score_threshold`."""
    index, labels = (scores > score_threshold).nonzero(as_tuple=True)
    kept = batched_nms(boxes[index], scores[index, labels], labels, threshold)
    index, labels = index[kept], labels[kept]
    return _best(index, labels, scores[index, labels], max_detections)


def _not_suppressed(boxes: Tensor, threshold: float) -> Tensor:
    """Return bool [..., k]: no box before this one, in descending score, overlaps it by more than `threshold`."""
    return ~(box_iou(boxes, boxes).triu(diagonal=1) > threshold).any(-2)


def _best(index: Tensor, labels: Tensor, scores: Tensor, max_detections: int) -> Kept:
    order = scores.argsort(descending=True, stable=True)[:max_detections]
    return index[order], labels[order], scores[order]
