import numpy as np
import pytest

from yolact.data.annotations import ObjectRecord
from yolact.data.masks import Rle
from yolact.data.packing import PackedObjects

SQUARE = np.array([[1, 1], [9, 1], [9, 9], [1, 9]], np.float32)
TRIANGLE = np.array([[0.1, 0.2], [30.3, 0.4], [5.5, 20.6]], np.float32)
POLYGONS = ObjectRecord(2, (0.1, 0.2, 30.3, 20.6), True, [SQUARE, TRIANGLE], 1 / 3, 2**63 - 1)
RUNS = ObjectRecord(1, (0.0, 0.0, 4.0, 3.0), False, Rle(3, 4, np.array([3, 2, 7], np.uint32)), 2.0, -(2**53) - 1)


def plain(item: ObjectRecord) -> tuple[ObjectRecord, str]:
    parts = item.segmentation
    return item._replace(segmentation=[]), repr(parts.runs if isinstance(parts, Rle) else parts)  # with their dtypes


@pytest.mark.parametrize("images", [[[POLYGONS, RUNS], [], [RUNS]], [[], [RUNS, POLYGONS, POLYGONS]], []])
def test_objects_come_back_as_they_were(images: list[list[ObjectRecord]]) -> None:
    packed = PackedObjects(images)
    for place, objects in enumerate(images):
        assert [plain(item) for item in packed[place]] == [plain(item) for item in objects]


def test_nobody_can_write_into_the_shared_arrays() -> None:
    with pytest.raises(ValueError, match="read-only"):
        PackedObjects([[POLYGONS]])[0][0].segmentation[0][0, 0] = 5.0
