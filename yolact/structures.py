"""What crosses the boundaries between the rooms: targets, predictions, detections and the final instances.

Everywhere inside, boxes are float32 xyxy in pixels of the network input, labels are 0..C-1 and sizes are (height,
width). NamedTuples hold tensors because they pass `torch.compile`, `torch.export` and DistributedDataParallel.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor


class Target(TypedDict):
    """Ground truth of one training picture; the keys are torchvision's. Crowd regions are marked, not removed."""

    boxes: Tensor  # float32 [N, 4] xyxy, pixels of the network input
    labels: Tensor  # int64 [N], 0..C-1
    masks: Tensor  # uint8 or bool [N, H, W] at the size of the network input, nonzero on the object
    iscrowd: Tensor  # bool [N]
    image_id: int


class Predictions(NamedTuple):
    """Output of `Yolact.forward`. A: anchors, C: classes, K: prototypes, (Hp, Wp): input / 4, (Hs, Ws): input / 8."""

    class_logits: Tensor  # [B, A, 1+C], column 0 is background
    box_deltas: Tensor  # [B, A, 4], encoded against the anchors with variances 0.1 and 0.2
    mask_coefficients: Tensor  # [B, A, K] in (-1, 1)
    prototypes: Tensor  # [B, K, Hp, Wp], not negative
    semantic_logits: Tensor  # [B, C, Hs, Ws]


class Detections(NamedTuple):
    """What NMS keeps, padded to D detections a picture; rows from `counts` on are zero. Descending score."""

    boxes: Tensor  # float32 [B, D, 4] xyxy, pixels of the network input, not clipped
    scores: Tensor  # float32 [B, D]
    labels: Tensor  # int64 [B, D]
    mask_coefficients: Tensor  # float32 [B, D, K]
    counts: Tensor  # int64 [B]


@dataclass
class Instances:
    """Final result for one picture, in its own pixels, by descending score. Tensors are on the CPU."""

    boxes: Tensor  # float32 [N, 4] xyxy, clipped to the picture
    scores: Tensor  # float32 [N], class probability
    labels: Tensor  # int64 [N], 0..C-1
    masks: Tensor  # bool [N, H, W]
    mask_scores: Tensor  # float32 [N], score times predicted mask IoU (YOLACT++), else equal to scores
    image_size: tuple[int, int]  # (H, W)
    class_names: list[str]  # of all classes, by label
    category_ids: list[int]  # of all classes, as in the annotation file
    image: np.ndarray | None = None  # uint8 [H, W, 3] BGR, kept by `Predictor` for `plot`

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int | slice | Tensor | np.ndarray | list[int] | list[bool]) -> "Instances":
        """Select instances by number, slice, integer list or boolean mask; the result is always `Instances`."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index)
            index = (index if index.dtype == torch.bool else index.long()).reshape(-1)
        return Instances(
            boxes=self.boxes[index],
            scores=self.scores[index],
            labels=self.labels[index],
            masks=self.masks[index],
            mask_scores=self.mask_scores[index],
            image_size=self.image_size,
            class_names=self.class_names,
            category_ids=self.category_ids,
            image=self.image,
        )

    def to_coco(self, image_id: int) -> list[dict[str, Any]]:
        """Return COCO result records: image_id, category_id, bbox (xywh), score and segmentation (compressed RLE)."""
        from yolact.evaluation.coco import coco_records

        return coco_records(self, image_id)

    def polygons(self) -> list[list[np.ndarray]]:
        """Return each mask's outlines, float32 [M, 2] (x, y) pixel-centre coordinates; an instance may have several."""
        from yolact.visualize import mask_outlines

        return [mask_outlines(mask.numpy()) for mask in self.masks]

    def plot(self, image: np.ndarray | None = None, **options: Any) -> np.ndarray:
        """Draw boxes, masks and labels onto `image` (uint8 BGR), or onto the picture that was predicted.

        Returns:
            A new uint8 [H, W, 3] BGR array.

        Raises:
            ValueError: there is no picture to draw on.
        """
        from yolact.visualize import draw_instances

        canvas = self.image if image is None else image
        if canvas is None:
            raise ValueError("These instances do not hold their picture; pass it as plot(image), uint8 BGR.")
        return draw_instances(canvas, self, **options)
