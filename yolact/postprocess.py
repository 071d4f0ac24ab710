"""From raw predictions to detections, and from detections to instances in the pixels of the original picture."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolact.config import EvalConfig
from yolact.ops import boxes as box_ops
from yolact.ops import masks as mask_ops
from yolact.ops import nms
from yolact.structures import Detections, Instances, Predictions

MASK_BYTES = 2**26  # of full-size float masks held at once; the result does not depend on it


def select_detections(predictions: Predictions, anchors: Tensor, settings: EvalConfig) -> Detections:
    """Decode boxes, take class probabilities and apply the configured NMS to each picture of the batch.

    Args:
        predictions: of B pictures, float32.
        anchors: [A, 4] xyxy in pixels of the network input.

    Returns:
        Detections padded to `settings.max_detections`, by descending score.
    """
    probabilities = predictions.class_logits.softmax(-1)[..., 1:]
    per_image = [
        _select_one(probabilities[i], predictions.box_deltas[i], predictions.mask_coefficients[i], anchors, settings)
        for i in range(len(probabilities))
    ]
    counts = torch.tensor([len(scores) for _, scores, _, _ in per_image], device=anchors.device)
    boxes, scores, labels, coefficients = (
        torch.stack([_pad(x, settings.max_detections) for x in field]) for field in zip(*per_image, strict=True)
    )
    return Detections(boxes, scores, labels, coefficients, counts)


def _select_one(
    probabilities: Tensor, box_deltas: Tensor, coefficients: Tensor, anchors: Tensor, settings: EvalConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    candidates = (probabilities.amax(1) > settings.score_threshold).nonzero()[:, 0]
    boxes = box_ops.decode(box_deltas[candidates], anchors[candidates])
    scores = probabilities[candidates]
    limits = (settings.nms_threshold, settings.nms_top_k, settings.max_detections)
    if settings.nms == "fast":
        index, labels, kept = nms.fast_nms(boxes, scores, *limits)
    elif settings.nms == "cross_class":
        index, labels, kept = nms.cross_class_nms(boxes, scores, *limits)
    else:
        index, labels, kept = nms.exact_nms(boxes, scores, *limits, score_threshold=settings.score_threshold)
    return boxes[index], kept, labels, coefficients[candidates[index]]


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
    rows: slice = slice(None),
) -> Instances:
    """Assemble, crop, resize and threshold the masks of picture `index` of the batch, and scale its boxes.

    Args:
        prototypes: float32 [B, K, Hp, Wp].
        image_size: (H, W) of the original picture.
        input_size: S, the side of the network input.
        mask_iou: the rescoring network of YOLACT++; without it mask scores are the class scores.
        min_score: drop detections whose class score is not above this, before any mask is made.
        rows: only these detections, so that a caller can bound the memory that full-size masks take.
    """
    count = int(detections.counts[index])
    boxes, scores, labels, coefficients = (field[index, :count][rows] for field in detections[:4])
    wanted = scores > min_score
    boxes, scores, labels, coefficients = boxes[wanted], scores[wanted], labels[wanted], coefficients[wanted]
    probabilities = mask_ops.assemble(prototypes[index], coefficients).sigmoid()
    if settings.crop == "before_resize":
        probabilities = mask_ops.crop(probabilities, _rescale(boxes, input_size, probabilities.shape[1:]))
    mask_scores = scores if mask_iou is None else _rescore(mask_iou, probabilities, scores, labels)
    boxes = _rescale(boxes, input_size, image_size)
    masks = _full_size_masks(probabilities, image_size, boxes if settings.crop == "after_resize" else None)
    height, width = image_size
    boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
    return Instances(
        boxes=boxes.cpu(),
        scores=scores.cpu(),
        labels=labels.cpu(),
        masks=masks.cpu(),
        mask_scores=mask_scores.cpu(),
        image_size=image_size,
        class_names=list(class_names),
        category_ids=list(category_ids),
    )


def _rescale(boxes: Tensor, input_size: int, size: Sequence[int]) -> Tensor:
    """Scale xyxy `boxes` from the square network input to a map of `size` (H, W)."""
    height, width = size
    return boxes * (boxes.new_tensor([width, height, width, height]) / input_size)


def _rescore(mask_iou: nn.Module, probabilities: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """Multiply class scores by the predicted mask IoU of their class (YOLACT++ section 3.3)."""
    if not len(scores):
        return scores
    predicted = mask_iou(probabilities[:, None]).float()
    return scores * predicted.gather(1, labels[:, None])[:, 0]


def _full_size_masks(probabilities: Tensor, image_size: tuple[int, int], crop_boxes: Tensor | None) -> Tensor:
    """Resize mask probabilities [N, Hp, Wp] to bool [N, H, W], a few at a time."""
    height, width = image_size
    masks = torch.zeros(len(probabilities), height, width, dtype=torch.bool, device=probabilities.device)
    chunk = max(1, MASK_BYTES // (4 * height * width))
    for start in range(0, len(masks), chunk):
        part = slice(start, start + chunk)
        masks[part] = mask_ops.resize(probabilities[part], image_size) > 0.5
        if crop_boxes is not None:
            inside = mask_ops.box_window(crop_boxes[part] - 0.5, height, width, padding=0)  # by the pixels' centres
            masks[part] &= inside
    return masks
