"""Boxes and masks that the loader takes although something is odd."""

import numpy as np
import pytest

from yolact.data.annotations import ImageRecord
from yolact.data.masks import Rle
from yolact.inspection.geometry import box_iou, mask_extent, object_faults

PICTURE = ImageRecord(id=1, file_name="a.jpg", height=60, width=80)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> list[np.ndarray]:
    return [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)]


def kinds(box, segmentation) -> list[str]:
    return [kind for kind, _ in object_faults(box, segmentation, PICTURE)]


@pytest.mark.parametrize(
    ("box", "mask", "expected"),
    [
        ((10, 10, 30, 20), (10, 10, 30, 20), []),
        ((8, 8, 32, 22), (10, 10, 30, 20), []),  # two pixels off
        ((10, 10, 34, 20), (10, 10, 30, 20), []),  # IoU 0.83
        ((10, 10, 40, 20), (10, 10, 30, 20), ["box-unlike-mask"]),  # IoU 0.67
        ((-2, 10, 30, 20), (-2, 10, 30, 20), []),  # rounding at the edge
        ((-4, 10, 30, 20), (0, 10, 30, 20), ["box-over-edge"]),
        ((0, 10, 30, 20), (-4, 10, 30, 20), ["polygon-over-edge"]),
        ((70, 10, 90, 20), (70, 10, 90, 20), ["box-over-edge", "polygon-over-edge"]),
        ((10, 10, 10.5, 20), (10, 10, 11, 20), ["thin-box"]),
        ((10, 10, 30, 20), (-30, 10, -10, 20), ["empty-mask"]),  # beside the picture
        ((10, 10, 30, 20), (10.1, 10.1, 10.2, 10.2), ["empty-mask"]),
    ],
)
def test_faults_of_one_object(box, mask, expected) -> None:
    assert kinds(box, rectangle(*mask)) == expected


@pytest.mark.parametrize(
    ("box", "mask", "reading"),
    [
        ((10, 10, 40, 30), (10, 10, 30, 20), "two corners"),  # bbox [10, 10, 30, 20]
        ((5, 20, 15, 50), (20, 5, 50, 15), "rows before columns"),
        ((30, 30, 50, 50), (20, 20, 40, 40), "centre and size"),
        ((30, 30, 50, 50), (1, 1, 7, 7), None),
    ],
)
def test_common_mistakes_are_recognised(box, mask, reading) -> None:
    faults = dict(object_faults(box, rectangle(*mask), PICTURE))
    assert ("looks like" in faults["box-unlike-mask"]) == (reading is not None)
    assert (reading or "IoU") in faults["box-unlike-mask"]


def test_extent_of_run_lengths() -> None:
    runs = np.array([10 * 60 + 20, 5, 55, 5, 80 * 60 - 10 * 60 - 20 - 65], np.uint32)
    mask = Rle(60, 80, runs)
    assert mask_extent(mask) == (10, 20, 12, 25)
    assert kinds((10, 20, 12, 25), mask) == []
    assert kinds((10, 20, 40, 25), mask) == ["box-unlike-mask"]


def test_overlap_by_hand() -> None:
    assert box_iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert box_iou((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert box_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
