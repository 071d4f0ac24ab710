"""The terms of YOLACT's loss (sections 3.1, 3.2 and 5), unweighted, as pure functions of tensors.

Where a term takes `weights`, entries of weight 0 do not count: that is how a fixed number of entries can stand for a
number that only the device knows.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolact.ops import masks as mask_ops


def box_loss(box_deltas: Tensor, encoded: Tensor, weights: Tensor) -> Tensor:
    """Sum the smooth-L1 distance of deltas [P, 4] to their `encoded` objects [P, 4], each times its weight [P]."""
    return (F.smooth_l1_loss(box_deltas, encoded, reduction="none").sum(1) * weights).sum()


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
        hardness = -class_logits.log_softmax(-1)[..., 0]
        hardness = hardness.masked_fill(positive | neutral, 0)
        order = hardness.argsort(1, descending=True)
        chosen_ranks = torch.arange(order.shape[1], device=order.device) < num_negatives[:, None]
        chosen = torch.zeros_like(positive).scatter(1, order, chosen_ranks)
    return chosen & ~positive & ~neutral


def class_loss(class_logits: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """Sum the softmax cross-entropy of `class_logits` [P, 1+C] to `classes` int64 [P], each times its weight [P]."""
    return (F.cross_entropy(class_logits, classes, reduction="none") * weights).sum()


def mask_loss(mask_logits: Tensor, masks: Tensor, boxes: Tensor, weights: Tensor, static: bool = False) -> Tensor:
    """Binary cross-entropy of masks inside their objects' boxes, divided by each box's area, summed by weight.

    Args:
        mask_logits: [P, Hp, Wp].
        masks: bool [P, Hp, Wp], the objects' masks at prototype resolution.
        boxes: [P, 4] xyxy of the objects, in pixels of the prototypes.
        weights: [P].
        static: compute whole maps, so that no shape depends on the boxes; otherwise their windows alone.
    """
    window = mask_ops.box_window(boxes, mask_logits.shape[1], mask_logits.shape[2])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    loss: Tensor = _WindowedCrossEntropy.apply(mask_logits, masks, window, weights / (width * height), static)
    return loss


class _WindowedCrossEntropy(torch.autograd.Function):
    """Binary cross-entropy with logits, summed over a window of each map by weight.

    The gradient is made together with the loss: the maps are the largest tensors of the loss, and every pass over them
    that PyTorch would record is a pass more.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, masks: Tensor, window: Tensor, weights: Tensor, static: bool) -> Tensor:
        flat, target = logits.reshape(-1), masks.reshape(-1)
        if static:
            weight, target = (window * weights[:, None, None]).reshape(-1), target.to(logits.dtype)
            gradient = torch.sigmoid(flat).sub_(target).mul_(weight)
        else:
            places = window.reshape(-1).nonzero()[:, 0]
            map_size = window.shape[1] * window.shape[2]
            weight = weights.index_select(0, places.div(map_size, rounding_mode="floor"))
            gradient = torch.zeros_like(flat)
            flat, target = flat.index_select(0, places), target.index_select(0, places).to(logits.dtype)
            gradient.index_copy_(0, places, torch.sigmoid(flat).sub_(target).mul_(weight))
        ctx.save_for_backward(gradient.view_as(logits))
        return torch.dot(F.softplus(flat).addcmul_(flat, target, value=-1), weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (inner,) = ctx.saved_tensors
        return inner * gradient, None, None, None, None


def semantic_loss(semantic_logits: Tensor, masks: Tensor, maps: Tensor) -> Tensor:
    """Binary cross-entropy of each class's map to the union of its objects' masks: sum over maps, mean over places.

    Args:
        semantic_logits: [B, C, Hs, Ws].
        masks: [T, Hs, Ws] of 0 and 1.
        maps: int64 [T], which of the B * C maps each mask belongs to.
    """
    num_pictures, num_classes, height, width = semantic_logits.shape
    target = semantic_logits.new_zeros(num_pictures * num_classes, height * width)
    target.index_add_(0, maps, masks.flatten(1).to(target.dtype)).clamp_(max=1)
    loss = F.softplus(semantic_logits).sum() - torch.dot(semantic_logits.flatten(), target.flatten())
    return loss / (height * width)


def mask_iou_loss(
    mask_iou: nn.Module, mask_logits: Tensor, masks: Tensor, boxes: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """Sum the smooth-L1 distance of the predicted to the true mask IoU by weight (YOLACT++ section 3.3).

    The gradient flows through the soft masks into prototypes and coefficients, as in the authors' training. Arguments
    as in `mask_loss`; labels int64 [P].
    """
    soft = mask_ops.crop(mask_logits.sigmoid(), boxes)
    with torch.no_grad():
        hard = soft > 0.5
        shared = (hard & masks).sum((1, 2))
        true_iou = shared / (hard | masks).sum((1, 2)).clamp(min=1)
    predicted = mask_iou(soft[:, None]).gather(1, labels[:, None])[:, 0]
    return (F.smooth_l1_loss(predicted, true_iou, reduction="none") * weights).sum()
