"""The terms of the loss, unweighted: YOLACT's (sections 3.1, 3.2 and 5; YOLACT++ section 3.3), and later ones.

A term takes `LossInputs` and returns a scalar. Adding one is a function and a line in `TERMS`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolact.losses.assigners import NEGATIVE
from yolact.ops import masks as mask_ops
from yolact.ops.boxes import giou, unit_boxes

if TYPE_CHECKING:
    from yolact.losses.criterion import LossInputs

# Hardest candidates that teach "background" on an image without any object; the authors skip such images.
NEGATIVES_OF_EMPTY = 30
ROI_POSITIVES = 10  # of an object, those of the largest weight; more would teach its mask hardly anything else


class LossTerm(NamedTuple):
    """A function of `LossInputs` to a scalar, and the factor by which it enters the sum."""

    compute: Callable[["LossInputs"], Tensor]
    weight: float


def box_loss(inputs: "LossInputs") -> Tensor:
    """Smooth-L1 distance of the deltas to the encoded boxes of their objects, over the number of positives."""
    wanted = inputs.coder.encode(inputs.object_boxes)
    distance = F.smooth_l1_loss(inputs.predictions.box_deltas, wanted, reduction="none").sum(-1)
    return (distance * inputs.positive_weight).sum() / inputs.num_positives


def giou_loss(inputs: "LossInputs") -> Tensor:
    """1 - GIoU of the decoded boxes with their objects' (Rezatofighi et al. 2019), over the sum of weights."""
    boxes = inputs.coder.decode(inputs.predictions.box_deltas)
    return ((1 - giou(boxes, inputs.object_boxes)) * inputs.positive_weight).sum() / inputs.num_positives


def quality_loss(inputs: "LossInputs") -> Tensor:
    """Binary cross-entropy of each class to the candidate's weight, which says how well it fits its object (TOOD).

    Over the sum of weights; other classes and negatives have 0, and ignored candidates do not count.
    """
    logits = inputs.predictions.class_logits
    wanted = F.pad(torch.zeros_like(logits), (1, 0))
    wanted = wanted.scatter_(-1, inputs.class_indices[..., None], inputs.positive_weight[..., None])[..., 1:]
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    counts = inputs.class_weight * ~inputs.assignment.ignored
    return (loss * counts[..., None]).sum() / inputs.num_positives


def class_loss(inputs: "LossInputs") -> Tensor:
    """Softmax cross-entropy of positives and of the hardest negatives (SSD section 2.2, "OHEM").

    It is divided by the number of positives, unless images without objects bring more negatives than belong to that.
    """
    log_probabilities = inputs.predictions.class_logits.log_softmax(-1)
    num_negatives = _num_negatives(inputs)
    others = inputs.assignment.object_index != NEGATIVE
    chosen = hard_negatives(-log_probabilities[..., 0].detach(), others, num_negatives)
    loss = -log_probabilities.gather(-1, inputs.class_indices[..., None])[..., 0]
    total = (loss * (inputs.positive_weight * inputs.class_weight + chosen)).sum()
    negatives = inputs.world.all_reduce(num_negatives.sum()) / max(1, inputs.config.negatives_per_positive)
    return total / torch.maximum(inputs.num_positives, negatives / inputs.world.size)


def _num_negatives(inputs: "LossInputs") -> Tensor:
    """Return how many negatives of each image get a class loss, int [B]."""
    positive, objects = inputs.assignment.positive, inputs.objects
    num_negatives = (inputs.config.negatives_per_positive * positive.sum(1)).clamp(max=positive.shape[1] - 1)
    num_objects = torch.zeros_like(num_negatives).index_add_(0, objects.image_index, (~objects.iscrowd).long())
    return num_negatives.where(num_objects > 0, NEGATIVES_OF_EMPTY)


def hard_negatives(hardness: Tensor, others: Tensor, num_negatives: Tensor) -> Tensor:
    """Choose each image's hardest negatives.

    Args:
        hardness: float [B, A], not negative: how unsure a candidate is of background.
        others: bool [B, A], which are no negatives, but positive or ignored. They take up ranks by being easiest.
        num_negatives: int [B], how many to choose in each image.

    Returns:
        bool [B, A].
    """
    order = hardness.masked_fill(others, 0).argsort(1, descending=True)
    chosen_ranks = torch.arange(order.shape[1], device=order.device) < num_negatives[:, None]
    chosen = torch.zeros_like(others).scatter(1, order, chosen_ranks)
    return chosen & ~others


def mask_loss(inputs: "LossInputs") -> Tensor:
    """Binary cross-entropy of masks inside their objects' boxes, over each box's area and the number of positives."""
    sample = inputs.mask_sample
    window = mask_ops.box_window(sample.boxes, *sample.logits.shape[1:])
    loss = F.binary_cross_entropy_with_logits(sample.logits, sample.masks.to(sample.logits.dtype), reduction="none")
    area = (sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(1)
    return torch.dot((loss * window).sum((1, 2)), sample.weight / area) / inputs.num_positives


def roi_mask_loss(inputs: "LossInputs") -> Tensor:
    """Binary cross-entropy and dice of masks on their objects' own grids, each object counting the same.

    RoIAlign of the assembled mask is the assembly of the RoIAligned prototypes, so these are sampled once an object
    (as PP-YOLOE-Seg and Mask R-CNN's `project_masks_on_boxes` suggest), against masks of the input's resolution.
    """
    own = inputs.assignment.of_objects(inputs.objects)  # [T, A]
    weight, index = (own * inputs.positive_weight[inputs.objects.image_index]).topk(min(ROI_POSITIVES, own.shape[1]))
    images, boxes = inputs.objects.image_index, unit_boxes(inputs.objects.boxes, inputs.image_size)
    prototypes = mask_ops.align(inputs.predictions.prototypes, images, boxes, inputs.config.roi_size)
    coefficients = inputs.predictions.mask_coefficients[images[:, None], index]
    logits, wanted = mask_ops.assemble(prototypes, coefficients).flatten(2), inputs.roi_masks.flatten(1)[:, None]
    entropy = F.binary_cross_entropy_with_logits(logits, wanted.expand_as(logits), reduction="none").mean(-1)
    soft = logits.sigmoid()
    shared, both = (soft * wanted).sum(-1), soft.square().sum(-1) + wanted.square().sum(-1)
    dice = 1 - (2 * shared + 1) / (both + 1)
    of_object = ((entropy + dice) * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
    num_objects = inputs.world.all_reduce((weight.sum(1) > 0).sum()).clamp(min=1) / inputs.world.size
    return of_object.sum() / num_objects


def semantic_loss(inputs: "LossInputs") -> Tensor:
    """Binary cross-entropy of each class's map to the union of its objects' masks: sum over maps, mean over pixels."""
    logits, objects = inputs.predictions.semantic_logits, inputs.objects
    num_images, num_classes, height, width = logits.shape
    masks = inputs.semantic_masks & ~objects.iscrowd[:, None, None]
    target = logits.new_zeros(num_images * num_classes, height * width)
    target.index_add_(0, objects.image_index * num_classes + objects.labels, masks.flatten(1).to(target.dtype))
    loss = F.softplus(logits).sum() - torch.dot(logits.flatten(), target.clamp_(max=1).flatten())
    return loss / (height * width * num_images)


def mask_iou_loss(inputs: "LossInputs", network: nn.Module) -> Tensor:
    """Smooth-L1 distance of the predicted to the true mask IoU, over the number of positives (YOLACT++ section 3.3).

    The gradient flows through the soft masks into prototypes and coefficients, as in the authors' training.

    Args:
        network: the rescoring one, probabilities [N, 1, Hp, Wp] to IoU [N, C].
    """
    sample = inputs.mask_sample
    soft = mask_ops.crop(sample.logits.sigmoid(), sample.boxes)
    with torch.no_grad():
        hard = soft > 0.5
        shared = (hard & sample.masks).sum((1, 2))
        true_iou = shared / (hard | sample.masks).sum((1, 2)).clamp(min=1)
        counts = (sample.masks.sum((1, 2)) > inputs.config.mask_iou_min_area) & (sample.weight > 0)
    predicted = network(soft[:, None]).gather(1, sample.labels[:, None])[:, 0]
    return (F.smooth_l1_loss(predicted, true_iou, reduction="none") * counts).sum() / inputs.num_positives


# By the name of the term, and the configuration's choice of it (loss.box_loss and so on).
TERMS: dict[str, dict[str, Callable[["LossInputs"], Tensor]]] = {
    "box": {"smooth_l1": box_loss, "giou": giou_loss},
    "class": {"ohem": class_loss, "quality": quality_loss},
    "mask": {"cropped": mask_loss, "roi_align": roi_mask_loss},
}
