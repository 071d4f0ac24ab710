"""The terms of YOLACT's loss (sections 3.1, 3.2 and 5), unweighted and summed, as pure functions of tensors."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolact.ops import masks as mask_ops


def box_loss(box_deltas: Tensor, encoded: Tensor) -> Tensor:
    """Sum the smooth-L1 distance of the positives' deltas [P, 4] to their `encoded` objects [P, 4]."""
    return F.smooth_l1_loss(box_deltas, encoded, reduction="sum")


def hard_negatives(class_logits: Tensor, positive: Tensor, neutral: Tensor, num_negatives: Tensor) -> Tensor:
    """Choose each picture's hardest negatives: the anchors least sure of background (SSD section 2.2, "OHEM").

    Args:
        class_logits: [B, A, 1+C].
        positive, neutral: bool [B, A]; neither is a negative. Neutrals take up places in the ranking by being easiest.
        num_negatives: int [B], how many to choose in each picture.

    Returns:
        bool [B, A].
    """
    with torch.no_grad():
        hardness = class_logits.logsumexp(-1) - class_logits[..., 0]
        hardness = hardness.masked_fill(positive | neutral, 0)
        order = hardness.argsort(1, descending=True)
        chosen_ranks = torch.arange(order.shape[1], device=order.device) < num_negatives[:, None]
        chosen = torch.zeros_like(positive).scatter(1, order, chosen_ranks)
    return chosen & ~positive & ~neutral


def class_loss(class_logits: Tensor, classes: Tensor, chosen: Tensor) -> Tensor:
    """Sum the softmax cross-entropy of `class_logits` [B, A, 1+C] to `classes` [B, A] over the `chosen` [B, A]."""
    return F.cross_entropy(class_logits[chosen], classes[chosen], reduction="sum")


def mask_loss(mask_logits: Tensor, masks: Tensor, boxes: Tensor) -> Tensor:
    """Binary cross-entropy of masks inside their objects' boxes, divided by each box's area, summed over masks.

    Args:
        mask_logits: [P, Hp, Wp].
        masks: bool [P, Hp, Wp], the objects' masks at prototype resolution.
        boxes: [P, 4] xyxy of the objects, in pixels of the prototypes.
    """
    loss = F.binary_cross_entropy_with_logits(mask_logits, masks.to(mask_logits.dtype), reduction="none")
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return (mask_ops.crop(loss, boxes).sum((1, 2)) / (width * height)).sum()


def semantic_loss(semantic_logits: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy of each class's map [C, Hs, Ws] to the union of its objects' masks, averaged over places.

    Args:
        labels: int64 [N].
        masks: bool [N, Hs, Ws].
    """
    target = torch.zeros_like(semantic_logits).index_add_(0, labels, masks.to(semantic_logits.dtype)).clamp_(max=1)
    loss = F.binary_cross_entropy_with_logits(semantic_logits, target, reduction="sum")
    return loss / (target.shape[1] * target.shape[2])


def mask_iou_loss(
    mask_iou: nn.Module, mask_logits: Tensor, masks: Tensor, boxes: Tensor, labels: Tensor, min_area: float
) -> Tensor:
    """Sum the smooth-L1 distance of the predicted to the true mask IoU (YOLACT++ section 3.3).

    The gradient flows through the soft masks into prototypes and coefficients, as in the authors' training. Objects
    of at most `min_area` prototype pixels are left out. Arguments as in `mask_loss`; labels int64 [P].
    """
    large = masks.sum((1, 2)) > min_area
    mask_logits, masks, boxes, labels = mask_logits[large], masks[large], boxes[large], labels[large]
    soft = mask_ops.crop(mask_logits.sigmoid(), boxes)
    with torch.no_grad():
        hard = soft > 0.5
        shared = (hard & masks).sum((1, 2))
        true_iou = shared / (hard | masks).sum((1, 2))
    predicted = mask_iou(soft[:, None]).gather(1, labels[:, None])[:, 0]
    return F.smooth_l1_loss(predicted, true_iou, reduction="sum")
