"""The classes of a data set: the only place, beside evaluation, where category ids exist."""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Categories:
    """Classes in ascending order of category id; the index in the list is the label, 0..C-1."""

    names: list[str]
    ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)

    def label(self, category_id: int) -> int:
        """Return the label of a category id; KeyError if no category has it."""
        return self._labels[category_id]

    @cached_property
    def _labels(self) -> dict[int, int]:
        return {category_id: label for label, category_id in enumerate(self.ids)}


# The public data sets that the published weights were trained on: those files hold weights only. Every checkpoint of
# ours carries its own classes and never looks here.
# fmt: off
# COCO 2017, ascending category id: 80 classes, whose ids run to 90 with ten gaps.
COCO_CLASSES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)
COCO_CATEGORY_IDS = tuple(sorted({*range(1, 91)} - {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}))

# Pascal VOC and SBD; the ids are those of the indexed segmentation images.
VOC_CLASSES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
VOC_CATEGORY_IDS = tuple(range(1, 21))
# fmt: on
