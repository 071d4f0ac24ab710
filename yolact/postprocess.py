"""From raw predictions to detections, and from detections to instances in the pixels of the original image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolact.config import EvalConfig
from yolact.instances import Instances
from yolact.models import Yolact
from yolact.ops import masks as mask_ops
from yolact.ops import nms
from yolact.ops.boxes import resize_boxes
from yolact.ops.paste import paste_masks
from yolact.structures import BoxCoder, Detections, Predictions, Resize, Runtime


class Detector:
    """Decodes, suppresses and assembles, as the settings say.

    Args:
        coder: of the head.
        resize: how images became its input.
        settings: threshold, NMS, crop and number of detections.
        mask_iou: the rescoring network of YOLACT++; without it mask scores are the class scores.
    """

    def __init__(
        self, coder: BoxCoder, resize: Resize, settings: EvalConfig, mask_iou: nn.Module | None = None
    ) -> None:
        self.coder, self.resize, self.settings, self.mask_iou = coder, resize, settings, mask_iou

    @classmethod
    def of(cls, model: Yolact | Runtime, settings: EvalConfig) -> "Detector":
        """Return the detector of a network, with its coder and rescoring network."""
        return cls(model.coder, model.resize, settings, model.mask_iou)

    @property
    def mask_threshold(self) -> float:
        """What a pixel of a mask exceeds once `masks` are resized."""
        return 0.5 if self.settings.crop == "before_resize" else 0.0

    def detect(self, predictions: Predictions | Detections) -> Detections:
        """Decode boxes, take class probabilities and apply the configured NMS to each image of the batch.

        Fast and cross-class NMS work in steps of fixed sizes, so that graphs can be exported, captured and compiled.

        Args:
            predictions: of B images, float32; or what was detected already, which stays.

        Returns:
            Detections padded to `max_detections`, by descending score.
        """
        if isinstance(predictions, Detections):
            return predictions
        settings = self.settings
        scores = self.coder.scores(predictions.class_logits)
        boxes = self.coder.decode(predictions.box_deltas)
        threshold, limit = settings.nms_threshold, settings.max_detections
        if settings.nms == "exact":
            index, labels, scores = nms.exact_nms(boxes, scores, threshold, limit, settings.score_threshold)
        else:
            candidates = scores.amax(-1, keepdim=True) > settings.score_threshold
            suppress = nms.fast_nms if settings.nms == "fast" else nms.cross_class_nms
            scores = torch.where(candidates, scores, -1.0)
            index, labels, scores = suppress(boxes, scores, threshold, settings.nms_top_k, limit)
        found = scores >= 0
        boxes, coefficients = (
            torch.where(found[..., None], field.gather(1, index[..., None].expand(-1, -1, field.shape[-1])), 0.0)
            for field in (boxes, predictions.mask_coefficients)
        )
        labels = torch.where(found, labels, 0)
        return Detections(boxes, scores.clamp(min=0), labels, coefficients, found.sum(-1), predictions.prototypes)

    def masks(self, detections: Detections) -> Tensor:
        """Assemble the masks of a batch at the size of the prototypes, in steps of fixed sizes.

        Returns:
            What is to be resized, float32 [B, D, Hp, Wp]: probabilities cropped to the boxes if `crop` is
            "before_resize", else logits. Rows from the count on are zero.
        """
        masks = mask_ops.assemble(detections.prototypes, detections.mask_coefficients).flatten(0, 1)
        if self.settings.crop == "before_resize":
            masks = self._cropped(masks.sigmoid(), detections.boxes.flatten(0, 1))
        found = torch.arange(detections.boxes.shape[1], device=masks.device) < detections.counts[:, None]
        return masks.unflatten(0, found.shape) * found[..., None, None]

    def rescore(self, masks: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        """Multiply class scores [N] by the predicted IoU of their class of the mask probabilities [N, Hp, Wp].

        YOLACT++ section 3.3; without a rescoring network the scores stay.
        """
        if self.mask_iou is None:
            return scores
        predicted = self.mask_iou(masks[:, None]).float()
        return scores * predicted.gather(1, labels[:, None])[:, 0]

    def instances(
        self,
        detections: Detections,
        index: int,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        category_ids: Sequence[int],
        min_score: float = 0.0,
    ) -> Instances:
        """Assemble, crop, resize and threshold the masks of image `index` of the batch, and scale its boxes.

        Args:
            image_size: (H, W) of the original image.
            class_names, category_ids: by label.
            min_score: drop detections whose class score is not above this, before any mask is made.
        """
        kept = self.shown(detections, index, image_size, min_score)
        boxes, scores, labels, coefficients = (field[index, kept] for field in detections[:4])
        logits = mask_ops.assemble(detections.prototypes[index], coefficients)
        mask_scores = scores if detections.mask_scores is None else detections.mask_scores[index, kept]
        if self.mask_iou is not None:
            mask_scores = self.rescore(self._cropped(logits.sigmoid(), boxes), scores, labels)
        small_boxes = resize_boxes(boxes, self.resize.size, logits.shape[-2:])
        logits = self.resize.part(logits, image_size)
        boxes = resize_boxes(boxes, self.resize.window(image_size), image_size)
        crop = {"before_resize": small_boxes, "after_resize": boxes, "none": None}[self.settings.crop]
        regions = paste_masks(logits, image_size, crop, after_resize=self.settings.crop == "after_resize")
        boxes, (height, width) = boxes.cpu(), image_size
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

    def shown(self, detections: Detections, index: int, image_size: tuple[int, int], min_score: float = 0.0) -> Tensor:
        """Return which detections of image `index` its instances are, int64 [N]: those on the padding are not."""
        window, (left, top, right, bottom) = self.resize.window(image_size), detections.boxes[index].unbind(-1)
        found = torch.arange(len(left), device=left.device) < detections.counts[index]
        found = found & (detections.scores[index] > min_score)
        if self.resize.pad:
            found = found & (left + right < 2 * window[1]) & (top + bottom < 2 * window[0])
        return found.nonzero()[:, 0]

    def _cropped(self, masks: Tensor, boxes: Tensor) -> Tensor:
        """Crop masks [N, Hp, Wp] to boxes [N, 4] in pixels of the network input, if that is done at this size."""
        if self.settings.crop != "before_resize":
            return masks
        return mask_ops.crop(masks, resize_boxes(boxes, self.resize.size, masks.shape[-2:]))
