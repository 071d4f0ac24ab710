import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from yolact.data.convert.objects import coco_content, encode_mask, encode_numbers, pixel_object, polygon_object
from yolact.errors import DatasetError


def test_numbers_by_hand():
    # Columns: 0 7 | 7 0 | 2 2
    numbers = np.array([[0, 7, 2], [7, 0, 2]], np.uint16)
    (two, runs_two), (seven, runs_seven) = encode_numbers(numbers)
    assert (two, seven) == (2, 7)
    np.testing.assert_array_equal(coco_mask.decode(runs_two), numbers == 2)
    np.testing.assert_array_equal(coco_mask.decode(runs_seven), numbers == 7)
    assert list(encode_numbers(np.zeros((2, 3), np.uint8))) == []


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4)))
def test_numbers_are_encoded_as_pycocotools_does_one_by_one(numbers):
    expected = {int(n): encode_mask(numbers == n) for n in np.unique(numbers) if n}
    assert dict(encode_numbers(numbers)) == expected


def test_a_polygon_by_hand():
    square = np.array([(2, 1), (6, 1), (6, 4), (2, 4)], float)
    item = polygon_object("cat", [square], (5, 8), "here")
    assert (item.class_name, item.box, item.area) == ("cat", (2, 1, 4, 3), 12)
    far = polygon_object("cat", [square, square + np.array([0, 3])], (5, 8), "here")  # the second overhangs by two rows
    assert (far.box, far.area) == ((2, 1, 4, 4), 16)
    assert polygon_object("cat", [np.full((3, 2), 2.0)], (5, 8), "here") is None


@pytest.mark.parametrize("value", [1e9, -1e300, np.nan, np.inf, -15.1])
def test_a_point_far_away_is_refused(value):
    with pytest.raises(DatasetError, match="here has a point at"):
        polygon_object("cat", [np.array([(1, 1), (2, value), (3, 1)])], (10, 10), "here")


def test_content_by_hand():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:4] = True
    pixels = pixel_object("dog", encode_mask(mask))
    outline = polygon_object("cat", [np.array([(0, 0), (2, 0), (2, 2.00049)])], (4, 5), "here")
    content = coco_content([("a.png", (4, 5), [pixels, outline]), ("b.png", (4, 5), [])], {3: "cat", 9: "dog"})
    assert content["categories"] == [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}]
    assert content["images"][1] == {"id": 2, "file_name": "b.png", "height": 4, "width": 5}
    first, second = content["annotations"]
    assert {**first, "segmentation": None} == {
        "id": 1, "image_id": 1, "category_id": 9, "iscrowd": 0, "bbox": [2, 1, 2, 2], "area": 4, "segmentation": None,
    }  # fmt: skip
    np.testing.assert_array_equal(coco_mask.decode(first["segmentation"]), mask)
    assert (second["id"], second["category_id"]) == (2, 3)
    assert second["segmentation"] == [[0, 0, 2, 0, 2, 2.0]]
    assert pixel_object("dog", encode_mask(np.zeros((4, 5), bool))) is None
