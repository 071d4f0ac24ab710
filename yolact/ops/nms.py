"""Non-maximum suppression: Fast NMS per class and over all classes (YOLACT section 3.4), and sequential NMS.

Each function takes the candidates of B images, boxes [B, N, 4] xyxy and class probabilities [B, N, C] without
background, -1 where a box is no candidate. It returns (candidate index, label, score), each [B, max_detections], by
descending score; from where the score is -1 on nothing was found.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms

from yolact.ops.boxes import box_iou

Kept = tuple[Tensor, Tensor, Tensor]


def fast_nms(boxes: Tensor, scores: Tensor, threshold: float, top_k: int, max_detections: int) -> Kept:
    """Keep, in each class, the boxes that overlap no higher-scoring one of its `top_k` by more than `threshold`.

    Already removed boxes may remove others, which is what lets all classes be done at once; a candidate may be kept
    under several classes. All steps have fixed sizes, as exported and captured graphs need, and so that the host need
    not wait for an accelerator.
    """
    num_ranks = min(top_k, boxes.shape[1])
    index = scores.mT.topk(num_ranks, sorted=False).indices.sort().values  # [B, C, k]
    # Sorted by number first, so that the stable sorts leave equal scores by class, then by number.
    top, order = scores.mT.gather(-1, index).sort(descending=True, stable=True)
    index = index.gather(-1, order).flatten(1)  # [B, C * k]
    ranked = boxes.gather(1, index[..., None].expand(-1, -1, 4)).unflatten(1, (-1, num_ranks))
    suppressed = (box_iou(ranked, ranked).triu(diagonal=1) > threshold).any(-2)
    best, place = torch.where(suppressed, -1.0, top).flatten(1).sort(descending=True, stable=True)
    best, place = _padded(best, max_detections, -1.0), _padded(place, max_detections)
    return index.gather(1, place), place // num_ranks, best


def cross_class_nms(boxes: Tensor, scores: Tensor, threshold: float, top_k: int, max_detections: int) -> Kept:
    """Fast NMS over all classes at once: each candidate stands for its best class only."""
    best, labels = scores.max(-1)
    index, _, kept = fast_nms(boxes, best[..., None], threshold, top_k, max_detections)
    return index, labels.gather(1, index), kept


def exact_nms(boxes: Tensor, scores: Tensor, threshold: float, max_detections: int, score_threshold: float) -> Kept:
    """Sequential NMS per class by torchvision, over (candidate, class) pairs that score above `score_threshold`."""
    found = []
    # torchvision shifts each class by the largest coordinate, for which none may be negative, nor float32 too coarse.
    boxes = boxes.double() - boxes.min()
    for corners, probabilities in zip(boxes, scores, strict=True):
        index, labels = (probabilities > score_threshold).nonzero(as_tuple=True)
        best = probabilities[index, labels]
        kept = batched_nms(corners[index], best.double(), labels, threshold)
        padding = ((index, 0), (labels, 0), (best, -1.0))
        found.append([_padded(values[kept], max_detections, nothing) for values, nothing in padding])
    index, labels, best = (torch.stack(field) for field in zip(*found, strict=True))
    return index, labels, best


def _padded(values: Tensor, length: int, nothing: float = 0) -> Tensor:
    """Return the first `length` of the last dimension, with `nothing` where there are fewer."""
    return F.pad(values, (0, max(length - values.shape[-1], 0)), value=nothing)[..., :length]
