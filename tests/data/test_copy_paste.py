"""Objects of one sample over another: pixels, masks, boxes and what is left of the covered."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.made import make_target
from yolact.data.copy_paste import paste_objects

SIZE = 40


class Coins:
    """Gives these random numbers: an object is copied below one half."""

    def __init__(self, *numbers):
        self.numbers = np.array(numbers)

    def random(self, count):
        assert count == len(self.numbers)
        return self.numbers


def sample(colour, boxes, crowds=(), image_id=1):
    """Return a plain image of one gray value and a target with full boxes as masks; labels count from 0."""
    image = torch.full((3, SIZE, SIZE), colour, dtype=torch.uint8)
    return image, make_target(boxes, crowds=crowds, side=SIZE, image_id=image_id)


def test_pixels_masks_and_boxes_by_hand():
    """The left half of a square of 10 x 10 is covered; what is copied keeps its own box, mask and label."""
    image, target = paste_objects(
        Coins(0.9, 0.1), sample(50, [[10, 10, 20, 20]], image_id=3), sample(200, [[0, 0, 9, 9], [5, 5, 15, 30]])
    )
    assert target["image_id"] == 3
    assert target["labels"].tolist() == [0, 1]
    assert target["boxes"].tolist() == [[15, 10, 20, 20], [5, 5, 15, 30]]
    assert target["masks"].sum(dim=(1, 2)).tolist() == [50, 250]
    assert torch.equal(image == 200, (target["masks"][1] == 1).expand(3, -1, -1))
    assert (image[:, target["masks"][1] == 0] == 50).all()
    kinds = {key: value.dtype for key, value in target.items() if key != "image_id"}
    assert kinds == {
        "boxes": torch.float32, "labels": torch.int64, "masks": torch.uint8, "iscrowd": torch.bool,
    }  # fmt: skip


def test_what_is_not_covered_stays_as_it_was():
    _, target = paste_objects(Coins(0), sample(50, [[0.3, 0.4, 9.7, 9.6]]), sample(200, [[20, 20, 30, 30]]))
    np.testing.assert_allclose(target["boxes"][0], [0.3, 0.4, 9.7, 9.6])  # not that of the mask's pixels
    assert target["masks"].sum(dim=(1, 2)).tolist() == [100, 100]


@pytest.mark.parametrize(("edge", "stays"), [(27, True), (28, True), (29, False), (30, False)])
def test_an_object_goes_when_less_than_a_tenth_of_it_is_left(edge, stays):
    _, target = paste_objects(Coins(0), sample(50, [[10, 10, 30, 20]]), sample(200, [[0, 0, edge, 40]]))
    assert len(target["labels"]) == 1 + stays
    assert (target["masks"].sum(dim=(1, 2)) > 0).all()


def test_crowds_are_covered_and_never_copied():
    target_sample = sample(50, [[0, 0, 40, 10], [0, 20, 4, 24]], crowds=[0, 1])
    _, target = paste_objects(Coins(0, 0), target_sample, sample(200, [[0, 0, 10, 40], [20, 0, 30, 40]], crowds=[1]))
    assert target["iscrowd"].tolist() == [True, False]  # one crowd went entirely
    assert target["boxes"].tolist() == [[10, 0, 40, 10], [0, 0, 10, 40]]


@pytest.mark.parametrize(
    "source", [sample(200, []), sample(200, [[0, 0, 9, 9]], crowds=[0]), sample(200, [[5.1, 5.1, 5.4, 5.4]])]
)
def test_without_anything_to_copy_nothing_changes(source):
    """No objects, a crowd alone, an object too small to have a pixel."""
    image, target = paste_objects(Coins(*[0] * len(source[1]["labels"])), sample(50, [[1, 1, 9, 9]]), source)
    assert (image == 50).all()
    assert target["boxes"].tolist() == [[1, 1, 9, 9]]


corners = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 10), st.integers(1, 10))
boxes = st.lists(corners.map(lambda c: [c[0], c[1], c[0] + c[2], c[1] + c[3]]), max_size=5)


@settings(max_examples=100)
@given(boxes, boxes, st.integers(0, 100))
def test_image_boxes_and_masks_agree(below, above, seed):
    """Each object has a colour of its own: where one is seen its mask is, and its box is that of what is seen."""
    (image, target), (other_image, other) = sample(0, below), sample(0, above)
    for place, mask in enumerate(target["masks"]):
        image[0][mask > 0] = 10 + place
        target["masks"][:place] &= 1 - mask  # the later ones lie in front
    for place, mask in enumerate(other["masks"]):
        other_image[0][mask > 0] = 100 + place
        other["masks"][:place] &= 1 - mask
    originals = {
        100 * kind + 10 * (1 - kind) + place: (box.tolist(), int(mask.sum()))
        for kind, objects in enumerate((target, other))
        for place, (box, mask) in enumerate(zip(objects["boxes"].int(), objects["masks"], strict=True))
    }
    image, result = paste_objects(np.random.default_rng(seed), (image, target), (other_image, other))
    seen = set()
    for mask, box in zip(result["masks"], result["boxes"].int().tolist(), strict=True):
        [colour] = image[0][mask > 0].unique().tolist() or [None]
        if colour is None:  # behind the others from the start
            continue
        assert torch.equal(mask > 0, image[0] == colour)
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        tight = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        original_box, original_area = originals[colour]
        assert box == (tight if mask.sum() < original_area else original_box)
        seen.add(colour)
    for colour in set(image[0].unique().tolist()) - seen - {0}:  # only those of which too little is left
        assert colour < 100
        assert 0 < int((image[0] == colour).sum()) < 0.1 * originals[colour][1]
