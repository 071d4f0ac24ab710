"""What the authors published: the metrics of their models, and the weights that these started from.

From arXiv 1904.02689 (YOLACT), arXiv 1912.06218 (YOLACT++) and the authors' README. None was measured with this code.
"""

from typing import NamedTuple


class PublishedModel(NamedTuple):
    """One published model; AP in percent, None where nothing was published."""

    title: str
    mask_ap: float  # COCO test-dev
    mask_ap50: float
    mask_ap75: float
    fps: float  # on one Titan Xp, one image at a time
    val_mask_ap: float | None = None  # COCO val2017
    val_box_ap: float | None = None
    val_source: str | None = None


MODELS = {
    "yolact_im400": PublishedModel("YOLACT-400, ResNet-101", 24.9, 42.0, 25.4, 45.3),
    "yolact_resnet50": PublishedModel(
        "YOLACT-550, ResNet-50", 28.2, 46.6, 29.2, 45.0, 28.0, 30.69, "OpenVINO model zoo"
    ),
    "yolact_darknet53": PublishedModel("YOLACT-550, DarkNet-53", 28.7, 46.8, 30.0, 40.7),
    "yolact_base": PublishedModel("YOLACT-550, ResNet-101", 29.8, 48.5, 31.2, 33.5, 29.92, 32.3, "the authors' README"),
    "yolact_im700": PublishedModel("YOLACT-700, ResNet-101", 31.2, 50.6, 32.8, 23.4),
    "yolact_plus_resnet50": PublishedModel(
        "YOLACT++-550, ResNet-50", 34.1, 53.3, 36.2, 33.5, 33.69, 34.94, "a log in the authors' issue 290"
    ),
    "yolact_plus_base": PublishedModel("YOLACT++-550, ResNet-101", 34.6, 53.8, 36.9, 27.3),
}

# The authors' initial weights, which are preferred: the published models started from them.
AUTHORS_FILES = {
    "resnet50": "resnet50-19c8e357.pth",
    "resnet101": "resnet101_reducedfc.pth",
    "darknet53": "darknet53.pth",
}
