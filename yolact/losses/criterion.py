"""The seam between network and losses: one module, so that distributed training sees every parameter."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from yolact.config import LossConfig
from yolact.losses import terms
from yolact.losses.matching import Matches, match
from yolact.ops import masks as mask_ops
from yolact.ops.boxes import encode
from yolact.structures import Predictions, Target

if TYPE_CHECKING:
    from yolact.models import Yolact

# Hardest anchors that teach "background" on a picture without any object; the authors skip such pictures.
NEGATIVES_OF_EMPTY = 30


class ModelWithLoss(nn.Module):
    """The network and its weighted losses."""

    def __init__(self, model: "Yolact", config: LossConfig):
        super().__init__()
        self.model, self.config = model, config

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the weighted losses "box", "mask", "class", "semantic" and, for YOLACT++, "mask_iou", scalars.

        Args:
            images: float32 [B, 3, S, S], RGB in [0, 1].
            targets: B targets on the device of the images.
        """
        predictions = self.model(images)
        with torch.autocast(images.device.type, enabled=False):
            predictions = Predictions(*(field.float() for field in predictions))
            return compute_losses(predictions, targets, self.model, self.config)


def compute_losses(
    predictions: Predictions, targets: Sequence[Target], model: "Yolact", config: LossConfig
) -> dict[str, Tensor]:
    """Match anchors to objects and weight the terms; all but "semantic" are divided by the number of positives."""
    objects = [_without_crowds(target) for target in targets]
    side = model.image_size
    matches = [
        match(model.unit_anchors, own["boxes"] / side, target["boxes"][target["iscrowd"]] / side, config)
        for own, target in zip(objects, targets, strict=True)
    ]
    num_positives = sum(int(m.positive.sum()) for m in matches)
    normaliser = max(num_positives, 1)
    losses = {
        "box": config.box_weight * _box(predictions, objects, matches, model.anchors) / normaliser,
        "class": config.class_weight * _class(predictions, objects, matches, config),
        "semantic": config.semantic_weight * _semantic(predictions, objects) / len(targets),
    }
    mask, mask_iou = _mask(predictions, objects, matches, model, config)
    losses["mask"] = config.mask_weight * mask / normaliser
    if mask_iou is not None:
        losses["mask_iou"] = config.mask_iou_weight * mask_iou / normaliser
    return losses


def _without_crowds(target: Target) -> Target:
    keep = ~target["iscrowd"]
    return Target(
        boxes=target["boxes"][keep],
        labels=target["labels"][keep],
        masks=target["masks"][keep],
        iscrowd=target["iscrowd"][keep],
        image_id=target["image_id"],
    )


def _box(predictions: Predictions, objects: Sequence[Target], matches: Sequence[Matches], anchors: Tensor) -> Tensor:
    deltas, encoded = [], []
    for i, (own, matched) in enumerate(zip(objects, matches, strict=True)):
        positive = matched.positive
        deltas.append(predictions.box_deltas[i, positive])
        encoded.append(encode(own["boxes"][matched.object_index[positive]], anchors[positive]))
    return terms.box_loss(torch.cat(deltas), torch.cat(encoded))


def _class(
    predictions: Predictions, objects: Sequence[Target], matches: Sequence[Matches], config: LossConfig
) -> Tensor:
    positive = torch.stack([m.positive for m in matches])
    neutral = torch.stack([m.neutral for m in matches])
    classes = torch.zeros_like(positive, dtype=torch.int64)
    for i, (own, matched) in enumerate(zip(objects, matches, strict=True)):
        classes[i, matched.positive] = own["labels"][matched.object_index[matched.positive]] + 1
    ratio = config.negatives_per_positive
    num_negatives = (ratio * positive.sum(1)).clamp(max=positive.shape[1] - 1)
    empty = torch.tensor([len(own["labels"]) == 0 for own in objects], device=positive.device)
    num_negatives = num_negatives.where(~empty, NEGATIVES_OF_EMPTY)
    chosen = positive | terms.hard_negatives(predictions.class_logits, positive, neutral, num_negatives)
    # The number of positives, unless pictures without objects bring more negatives than belong to that many.
    normaliser = torch.maximum(positive.sum(), num_negatives.sum() / ratio).clamp(min=1)
    return terms.class_loss(predictions.class_logits, classes, chosen) / normaliser


def _semantic(predictions: Predictions, objects: Sequence[Target]) -> Tensor:
    height, width = predictions.semantic_logits.shape[-2:]
    per_image = [
        terms.semantic_loss(logits, own["labels"], mask_ops.shrink(own["masks"], (height, width)))
        for logits, own in zip(predictions.semantic_logits, objects, strict=True)
    ]
    return torch.stack(per_image).sum()


def _mask(
    predictions: Predictions, objects: Sequence[Target], matches: Sequence[Matches], model: "Yolact", config: LossConfig
) -> tuple[Tensor, Tensor | None]:
    """Sum mask and mask IoU losses over the pictures, extrapolated where `masks_to_train` cut positives off."""
    size = predictions.prototypes.shape[-2:]
    # Empty sums, which keep every parameter in the graph of a batch without objects.
    mask_total = predictions.prototypes[:0].sum() + predictions.mask_coefficients[:0].sum()
    iou_total = None if model.mask_iou is None else model.mask_iou(predictions.prototypes[:0, :1]).sum()
    for i, (own, matched) in enumerate(zip(objects, matches, strict=True)):
        positive = matched.positive.nonzero()[:, 0]
        if not len(positive):
            continue
        chosen = _sample(positive, config.masks_to_train)
        index = matched.object_index[chosen]
        logits = mask_ops.assemble(predictions.prototypes[i], predictions.mask_coefficients[i, chosen])
        masks = mask_ops.shrink(own["masks"], (size[0], size[1]))[index]
        boxes = own["boxes"][index] * (size[1] / model.image_size)
        share = len(positive) / len(chosen)
        mask_total = mask_total + share * terms.mask_loss(logits, masks, boxes)
        if iou_total is not None:
            assert model.mask_iou is not None
            loss = terms.mask_iou_loss(
                model.mask_iou, logits, masks, boxes, own["labels"][index], config.mask_iou_min_area
            )
            iou_total = iou_total + loss
    return mask_total, iou_total


def _sample(index: Tensor, limit: int) -> Tensor:
    if len(index) <= limit:
        return index
    return index[torch.randperm(len(index), device=index.device)[:limit]]
