"""From raw predictions to detections, and from detections to instances in the pixels of the original picture."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolact.config import EvalConfig
from yolact.ops import boxes as box_ops
from yolact.ops import masks as mask_ops
from yolact.ops import nms
from yolact.ops.paste import paste_masks
from yolact.structures import Detections, Instances, Predictions


def select_detections(predictions: Predictions, anchors: Tensor, settings: EvalConfig) -> Detections:
    """Decode boxes, take class probabilities and apply the configured NMS to each picture of the batch.

    Args:
        predictions: of B pictures, float32.
        anchors: [A, 4] xyxy in pixels of the network input.

    Returns:
        Detections padded to `settings.max_detections`, by descending score.
    """
    if anchors.device.type != "cpu" and settings.nms != "exact":
        return select_detections_static(predictions, anchors, settings)  # does not wait for the device
    per_image = [
        _select_one(logits, deltas, coefficients, anchors, settings)
        for logits, deltas, coefficients in zip(
            predictions.class_logits, predictions.box_deltas, predictions.mask_coefficients, strict=True
        )
    ]
    counts = torch.tensor([len(scores) for _, scores, _, _ in per_image], device=anchors.device)
    boxes, scores, labels, coefficients = (
        torch.stack([_pad(x, settings.max_detections) for x in field]) for field in zip(*per_image, strict=True)
    )
    return Detections(boxes, scores, labels, coefficients, counts)


def select_detections_static(predictions: Predictions, anchors: Tensor, settings: EvalConfig) -> Detections:
    """Do the same as `select_detections` in steps of fixed sizes, without a loop over the pictures.

    For graphs that are exported, captured or compiled. On a CPU `select_detections` does less work.

    Raises:
        ValueError: `settings.nms` is "exact", which goes box by box.
    """
    if settings.nms == "exact":
        raise ValueError("select_detections_static has no exact NMS; expected settings.nms to be fast or cross_class.")
    probabilities = predictions.class_logits.softmax(-1)[..., 1:]
    candidates = probabilities.amax(-1, keepdim=True) > settings.score_threshold
    boxes = box_ops.decode(predictions.box_deltas, anchors)
    suppress = nms.fast_nms_static if settings.nms == "fast" else nms.cross_class_nms_static
    index, labels, scores = suppress(
        boxes,
        torch.where(candidates, probabilities, -1.0),
        settings.nms_threshold,
        settings.nms_top_k,
        settings.max_detections,
    )
    found = scores >= 0
    boxes, coefficients = (
        torch.where(found[..., None], field.gather(1, index[..., None].expand(-1, -1, field.shape[-1])), 0.0)
        for field in (boxes, predictions.mask_coefficients)
    )
    return Detections(boxes, scores.clamp(min=0), torch.where(found, labels, 0), coefficients, found.sum(-1))


def detection_masks(detections: Detections, prototypes: Tensor, settings: EvalConfig, input_size: int) -> Tensor:
    """Assemble the masks of a batch at the size of the prototypes, in steps of fixed sizes.

    Args:
        prototypes: float32 [B, K, Hp, Wp].
        input_size: S, the side of the network input.

    Returns:
        Probabilities, float32 [B, D, Hp, Wp], cropped if `settings.crop` is "before_resize"; rows from the count on
        are zero.
    """
    masks = mask_ops.assemble(prototypes, detections.mask_coefficients).sigmoid().flatten(0, 1)
    if settings.crop == "before_resize":
        masks = mask_ops.crop(masks, _rescale(detections.boxes.flatten(0, 1), input_size, masks.shape[1:]))
    rows = torch.arange(detections.boxes.shape[1], device=masks.device)
    found = rows < detections.counts[:, None]
    return masks.unflatten(0, found.shape) * found[..., None, None]


def rescore(mask_iou: nn.Module, masks: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """Multiply class scores [N] by the predicted IoU of their class of the mask probabilities [N, Hp, Wp].

    YOLACT++ section 3.3.
    """
    predicted = mask_iou(masks[:, None]).float()
    return scores * predicted.gather(1, labels[:, None])[:, 0]


def _select_one(
    class_logits: Tensor, box_deltas: Tensor, coefficients: Tensor, anchors: Tensor, settings: EvalConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    candidates, scores = _candidates(class_logits, settings.score_threshold)
    boxes = box_ops.decode(box_deltas[candidates], anchors[candidates])
    limits = (settings.nms_threshold, settings.nms_top_k, settings.max_detections)
    if settings.nms == "fast":
        index, labels, kept = nms.fast_nms(boxes, scores, *limits)
    elif settings.nms == "cross_class":
        index, labels, kept = nms.cross_class_nms(boxes, scores, *limits)
    else:
        index, labels, kept = nms.exact_nms(
            boxes, scores, settings.nms_threshold, settings.max_detections, settings.score_threshold
        )
    return boxes[index], kept, labels, coefficients[candidates[index]]


def _candidates(class_logits: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the anchors [N] whose best class probability exceeds `threshold`, and their probabilities [N, C]."""
    # No probability exceeds exp(logit - background's logit): most anchors need no softmax. The margin is for rounding.
    limit = math.log(threshold) - 1e-3 if threshold > 0 else -math.inf
    possible = (class_logits[:, 1:].amax(1) - class_logits[:, 0] > limit).nonzero()[:, 0]
    probabilities = class_logits[possible].softmax(-1)[:, 1:]
    above = (probabilities.amax(1) > threshold).nonzero()[:, 0]
    return possible[above], probabilities[above]


def _pad(x: Tensor, length: int) -> Tensor:
    return torch.cat([x, x.new_zeros(length - len(x), *x.shape[1:])])


def to_instances(
    detections: Detections,
    prototypes: Tensor,
    index: int,
    image_size: tuple[int, int],
    settings: EvalConfig,
    *,
    input_size: int,
    class_names: Sequence[str],
    category_ids: Sequence[int],
    mask_iou: nn.Module | None = None,
    min_score: float = 0.0,
) -> Instances:
    """Assemble, crop, resize and threshold the masks of picture `index` of the batch, and scale its boxes.

    Args:
        prototypes: float32 [B, K, Hp, Wp].
        image_size: (H, W) of the original picture.
        input_size: S, the side of the network input.
        mask_iou: the rescoring network of YOLACT++; without it mask scores are the class scores.
        min_score: drop detections whose class score is not above this, before any mask is made.
    """
    count = int(detections.counts[index])
    boxes, scores, labels, coefficients = (field[index, :count] for field in detections[:4])
    wanted = scores > min_score
    boxes, scores, labels, coefficients = boxes[wanted], scores[wanted], labels[wanted], coefficients[wanted]
    logits = mask_ops.assemble(prototypes[index], coefficients)
    small_boxes = _rescale(boxes, input_size, logits.shape[1:])
    mask_scores = scores
    if mask_iou is not None and len(scores):
        probabilities = logits.sigmoid()
        if settings.crop == "before_resize":
            probabilities = mask_ops.crop(probabilities, small_boxes)
        mask_scores = rescore(mask_iou, probabilities, scores, labels)
    boxes = _rescale(boxes, input_size, image_size).cpu()
    crop = {"before_resize": small_boxes.cpu(), "after_resize": boxes, "none": None}[settings.crop]
    regions = paste_masks(logits.cpu(), image_size, crop, after_resize=settings.crop == "after_resize")
    height, width = image_size
    return Instances(
        boxes=boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height])),
        scores=scores.cpu(),
        labels=labels.cpu(),
        regions=regions,
        mask_scores=mask_scores.cpu(),
        image_size=image_size,
        class_names=list(class_names),
        category_ids=list(category_ids),
    )


def _rescale(boxes: Tensor, input_size: int, size: Sequence[int]) -> Tensor:
    """Scale xyxy `boxes` from the square network input to a map of `size` (H, W)."""
    height, width = size
    return boxes * (boxes.new_tensor([width, height, width, height]) / input_size)
