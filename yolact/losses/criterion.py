"""The seam between network and losses: one module, so that distributed training sees every parameter."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from yolact.config import LossConfig
from yolact.distributed import ALONE, Processes
from yolact.losses import terms
from yolact.losses.matching import Matches, match
from yolact.losses.objects import Objects, join
from yolact.ops import masks as mask_ops
from yolact.ops.boxes import encode
from yolact.structures import Predictions, Target

if TYPE_CHECKING:
    from yolact.models import Yolact

# Hardest anchors that teach "background" on a picture without any object; the authors skip such pictures.
NEGATIVES_OF_EMPTY = 30


class ModelWithLoss(nn.Module):
    """The network and its weighted losses."""

    def __init__(self, model: "Yolact", config: LossConfig, processes: Processes = ALONE):
        super().__init__()
        self.model, self.config, self.processes = model, config, processes

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the weighted losses "box", "mask", "class", "semantic" and, for YOLACT++, "mask_iou", scalars.

        Where several processes share out a batch, the means of their losses are the losses of the whole batch.

        Args:
            images: float32 [B, 3, S, S], RGB in [0, 1]; S is a size that the model takes.
            targets: B targets on the device of the images.
        """
        predictions = self.model(images)
        with torch.autocast(images.device.type, enabled=False):
            predictions = Predictions(*(field.float() for field in predictions))
            return compute_losses(predictions, targets, images.shape[-1], self.model, self.config, None, self.processes)


def compute_losses(
    predictions: Predictions,
    targets: Sequence[Target],
    side: int,
    model: "Yolact",
    config: LossConfig,
    static: bool | None = None,
    processes: Processes = ALONE,
) -> dict[str, Tensor]:
    """Match anchors to objects and weight the terms; all but "semantic" are divided by the number of positives.

    That is the number of the whole batch. Of a process that has a part of it, the losses are so large that their mean
    over all processes, which is what distributed training makes of their gradients, is that of the whole batch.

    Args:
        side: of the network input in pixels.
        static: keep every shape independent of the predictions, so that the host never waits for the device; entries
            that do not count get weight 0. None does so on accelerators. On a CPU fewer entries are less work.
        processes: that share out the batch, each with equally many pictures.
    """
    static = predictions.prototypes.device.type != "cpu" if static is None else static
    objects = join(targets)
    unit_anchors = model.unit_anchors_of(side)
    matches = match(unit_anchors, objects._replace(boxes=objects.boxes / side), config, static)
    num_negatives = _num_negatives(matches, objects, config)
    normaliser, class_normaliser = _normalisers(matches, num_negatives, config, processes)
    prototype_masks, semantic_masks = _small_masks(targets, predictions)
    classes = _class(predictions, objects, matches, num_negatives, static)
    losses = {
        "box": config.box_weight * _box(predictions, objects, matches, unit_anchors * side, static) / normaliser,
        "class": config.class_weight * classes / class_normaliser,
        "semantic": config.semantic_weight * _semantic(predictions, semantic_masks, objects) / len(targets),
    }
    mask, mask_iou = _mask(predictions, prototype_masks, objects, matches, side, model, config, static, processes)
    losses["mask"] = config.mask_weight * mask / normaliser
    if mask_iou is not None:
        losses["mask_iou"] = config.mask_iou_weight * mask_iou / normaliser
    return losses


def _places(mask: Tensor, static: bool) -> tuple[Tensor, Tensor]:
    """Return places in the flattened `mask` and their weights: the true ones, or with `static` all, false ones by 0."""
    flat = mask.flatten()
    if static:
        return torch.arange(len(flat), device=flat.device), flat.float()
    places = flat.nonzero()[:, 0]
    return places, torch.ones_like(places, dtype=torch.float32)


def _box(predictions: Predictions, objects: Objects, matches: Matches, anchors: Tensor, static: bool) -> Tensor:
    places, weights = _places(matches.positive, static)
    deltas = predictions.box_deltas.flatten(0, 1).index_select(0, places)
    boxes = _of_objects(objects.boxes, matches, places, otherwise=anchors.new_tensor([0, 0, 1, 1]))
    return terms.box_loss(deltas, encode(boxes, anchors[places % len(anchors)]), weights)


def _of_objects(values: Tensor, matches: Matches, places: Tensor, otherwise: Tensor) -> Tensor:
    """Return what `values` [T, ...] holds for the object of each place of the matching, or `otherwise` without one."""
    index = matches.object_index.flatten()[places]
    return torch.cat([values, otherwise[None]])[torch.where(index < 0, len(values), index)]


def _num_negatives(matches: Matches, objects: Objects, config: LossConfig) -> Tensor:
    """Return how many negatives of each picture get a class loss, int [B]."""
    positive = matches.positive
    num_negatives = (config.negatives_per_positive * positive.sum(1)).clamp(max=positive.shape[1] - 1)
    num_objects = torch.zeros_like(num_negatives).index_add_(0, objects.picture, (~objects.iscrowd).long())
    return num_negatives.where(num_objects > 0, NEGATIVES_OF_EMPTY)


def _normalisers(
    matches: Matches, num_negatives: Tensor, config: LossConfig, processes: Processes
) -> tuple[Tensor, Tensor]:
    """Return what sums over objects, and the class loss, are divided by: the whole batch's, shared out."""
    counts = processes.total(torch.stack([matches.positive.sum(), num_negatives.sum()]))
    positives, negatives = counts.unbind()
    # The number of positives, unless pictures without objects bring more negatives than belong to that many.
    classified = torch.maximum(positives, negatives / max(1, config.negatives_per_positive))
    return positives.clamp(min=1) / processes.count, classified.clamp(min=1) / processes.count


def _class(predictions: Predictions, objects: Objects, matches: Matches, num_negatives: Tensor, static: bool) -> Tensor:
    positive = matches.positive
    chosen = positive | terms.hard_negatives(predictions.class_logits, positive, matches.neutral, num_negatives)
    places, weights = _places(chosen, static)
    logits = predictions.class_logits.flatten(0, 1).index_select(0, places)
    background = torch.zeros_like(objects.labels[:0].sum())
    classes = _of_objects(objects.labels + 1, matches, places, otherwise=background)
    return terms.class_loss(logits, classes, weights)


def _small_masks(targets: Sequence[Target], predictions: Predictions) -> list[Tensor]:
    """Return the masks of all objects at the resolution of the prototypes and of the semantic maps, bool [T, h, w].

    Full-size masks become floats one picture at a time.
    """
    sizes = [(maps.shape[-2], maps.shape[-1]) for maps in (predictions.prototypes, predictions.semantic_logits)]
    per_picture = [[mask_ops.resize(masks, size) for size in sizes] for masks in (t["masks"].float() for t in targets)]
    return [torch.cat(small) > 0.5 for small in zip(*per_picture, strict=True)]


def _semantic(predictions: Predictions, masks: Tensor, objects: Objects) -> Tensor:
    maps = objects.picture * predictions.semantic_logits.shape[1] + objects.labels
    return terms.semantic_loss(predictions.semantic_logits, masks & ~objects.iscrowd[:, None, None], maps)


def _mask(
    predictions: Predictions,
    masks: Tensor,
    objects: Objects,
    matches: Matches,
    side: int,
    model: "Yolact",
    config: LossConfig,
    static: bool,
    processes: Processes,
) -> tuple[Tensor, Tensor | None]:
    """Sum mask and mask IoU losses over the pictures, extrapolated where `masks_to_train` cut positives off."""
    height, width = predictions.prototypes.shape[-2:]
    places, weights, counts = _sample(matches.positive, config.masks_to_train, static, processes)
    coefficients = predictions.mask_coefficients.flatten(0, 1).index_select(0, places)
    logits = torch.cat([
        mask_ops.assemble(prototypes, own)
        for prototypes, own in zip(predictions.prototypes, coefficients.split(counts), strict=True)
    ])  # fmt: skip
    nothing = torch.zeros(height, width, dtype=torch.bool, device=logits.device)
    masks = _of_objects(masks, matches, places, otherwise=nothing)
    boxes = _of_objects(objects.boxes, matches, places, otherwise=logits.new_tensor([0, 0, 1, 1])) * (width / side)
    mask = terms.mask_loss(logits, masks, boxes, weights, static)
    if model.mask_iou is None:
        return mask, None
    background = torch.zeros_like(objects.labels[:0].sum())
    labels = _of_objects(objects.labels, matches, places, otherwise=background)
    large = masks.sum((1, 2)) > config.mask_iou_min_area
    if not static:
        logits, masks, boxes, labels = logits[large], masks[large], boxes[large], labels[large]
        large = large[large]
    return mask, terms.mask_iou_loss(model.mask_iou, logits, masks, boxes, labels, large.float())


def _sample(
    positive: Tensor, limit: int, static: bool, processes: Processes = ALONE
) -> tuple[Tensor, Tensor, list[int]]:
    """Choose at most `limit` positives of each picture at random.

    Every process draws the numbers of the whole batch, so that a picture's do not depend on the number of processes.

    Returns:
        Their places in the flattened `positive` [B, A], picture after picture; their weights, by which the chosen
        stand for all positives of their picture; and how many places each picture has.
    """
    num_pictures, num_anchors = positive.shape
    counts = [limit] * num_pictures if static else positive.sum(1).tolist()
    if not static and max(counts) <= limit:
        return (*_places(positive, static), counts)
    limit = min(limit, num_anchors)
    drawn = torch.rand(processes.count, num_pictures, num_anchors, device=positive.device)[processes.rank]
    priority, anchors = drawn.masked_fill(~positive, -1).topk(limit)
    chosen = priority >= 0
    weights = chosen * (positive.sum(1) / chosen.sum(1).clamp(min=1))[:, None]
    places = anchors + torch.arange(num_pictures, device=anchors.device)[:, None] * num_anchors
    if static:
        return places.flatten(), weights.flatten(), [limit] * num_pictures
    return places[chosen], weights[chosen], chosen.sum(1).tolist()
