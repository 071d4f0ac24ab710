import numpy as np
import pytest

from yolact.data.annotations import ObjectRecord
from yolact.data.masks import Rle
from yolact.data.packing import PackedObjects

TRIANGLE = np.array([[0.1, 0.2], [30.3, 0.4], [5.5, 20.6]], np.float32)
SQUARE = np.array([[1, 1], [9, 1], [9, 9], [1, 9]], np.float32)
RUNS = np.array([3, 2, 7], np.uint32)


def polygons(number: int, *parts: np.ndarray) -> ObjectRecord:
    return ObjectRecord(number % 3, (0.1, 0.2, 30.3, 20.6), bool(number % 2), list(parts), 1 / 3, number)


def runs(number: int) -> ObjectRecord:
    return ObjectRecord(1, (0.0, 0.0, 4.0, 3.0), True, Rle(3, 4, RUNS), 2.0, number)


IMAGES = [
    [polygons(1, TRIANGLE), runs(2), polygons(3, SQUARE, TRIANGLE)],
    [],
    [runs(4)],
    [polygons(5, SQUARE)],
]


def same(one: ObjectRecord, other: ObjectRecord) -> bool:
    if isinstance(one.segmentation, Rle):
        equal = one.segmentation[:2] == other.segmentation[:2]
        equal &= np.array_equal(one.segmentation.runs, other.segmentation.runs)
        equal &= one.segmentation.runs.dtype == other.segmentation.runs.dtype
    else:
        equal = len(one.segmentation) == len(other.segmentation)
        for part, twin in zip(one.segmentation, other.segmentation, strict=True):
            equal &= np.array_equal(part, twin) and part.dtype == twin.dtype
    return equal and one._replace(segmentation=[]) == other._replace(segmentation=[])


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 1, 3, 0], [1], [3, 3]])
def test_objects_come_back_as_they_were(order: list[int]) -> None:
    packed = PackedObjects(IMAGES[place] for place in order)
    for place, original in enumerate(order):
        found = packed[place]
        assert len(found) == len(IMAGES[original])
        assert all(same(one, other) for one, other in zip(found, IMAGES[original], strict=True))
    for item in packed[0]:
        assert [type(value) for value in item] == [int, tuple, bool, type(item.segmentation), float, int]


def test_ids_of_64_bits_come_back_exactly() -> None:
    packed = PackedObjects([[polygons(2**63 - 1, SQUARE), polygons(-(2**53) - 1, SQUARE)]])
    assert [item.id for item in packed[0]] == [2**63 - 1, -(2**53) - 1]


def test_nobody_can_write_into_the_shared_arrays() -> None:
    packed = PackedObjects(IMAGES)
    with pytest.raises(ValueError, match="read-only"):
        packed[0][0].segmentation[0][0, 0] = 5.0
