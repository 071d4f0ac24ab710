"""Tiles of an image, and the objects that they cut or see twice."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.made import make_instances
from yolact.config import EvalConfig
from yolact.joining import join_tiles
from yolact.ops.regions import MaskRegion, full_masks
from yolact.structures import Tiles

IMAGE = (100, 180)  # two tiles of 100 x 100, which share columns 80 to 99
LEFT, RIGHT = (0, 0, 100, 100), (80, 0, 180, 100)


def found(view, *objects):
    """Return what a tile finds: (x0, y0, x1, y1, score[, label]) in pixels of the image, cut at the tile's edges."""
    masks = np.zeros((len(objects), *IMAGE), bool)
    for mask, (x0, y0, x1, y1, *_) in zip(masks, objects, strict=True):
        mask[y0:y1, x0:x1] = True
    scores = torch.tensor([one[4] for one in objects])
    labels = torch.tensor([one[5] if len(one) > 5 else 0 for one in objects], dtype=torch.int64)
    fields = {"scores": scores, "labels": labels, "mask_scores": scores * 0.5, "image": np.zeros((1, 1, 3), np.uint8)}
    return make_instances(masks[:, view[1] : view[3], view[0] : view[2]], **fields)


def joined(left, right):
    result = join_tiles([(LEFT, found(LEFT, *left)), (RIGHT, found(RIGHT, *right))], IMAGE)
    assert result.image_size == IMAGE
    assert result.image is None
    return [(*map(int, box), round(score, 3)) for box, score in zip(result.boxes, result.scores.tolist(), strict=True)]


def test_views_by_hand():
    tiles = Tiles((100, 100), 20)
    assert tiles.views((100, 180)) == [LEFT, RIGHT]
    assert tiles.views((100, 181)) == [(0, 0, 100, 100), (40, 0, 140, 100), (81, 0, 181, 100)]  # evenly spread
    assert tiles.views((60, 70)) == [(0, 0, 70, 60)]
    assert tiles.views((60, 180)) == [(0, 0, 100, 60), (80, 0, 180, 60)]
    assert Tiles((50, 100), 10).views((90, 180)) == [
        (0, 0, 100, 50), (80, 0, 180, 50), (0, 40, 100, 90), (80, 40, 180, 90),
    ]  # fmt: skip
    assert Tiles.of(EvalConfig()) is None
    assert Tiles.of(EvalConfig(tiles=(200, 100))) == ((200, 100), 25)
    assert Tiles.of(EvalConfig(tiles=100, tile_overlap=7)) == ((100, 100), 7)


@given(st.data())
def test_views_cover_an_image_and_share_the_overlap(data):
    size, image_size = (data.draw(st.tuples(st.integers(32, 90), st.integers(32, 90))) for _ in range(2))
    image_size = tuple(side * data.draw(st.integers(1, 5)) + data.draw(st.integers(0, 9)) for side in image_size)
    overlap = data.draw(st.integers(0, min(size) // 2))
    views = Tiles(size, overlap).views(image_size)
    assert {(bottom - top, right - left) for left, top, right, bottom in views} == {
        tuple(map(min, zip(size, image_size, strict=True)))
    }
    for axis in (0, 1):
        edges = sorted({(view[axis], view[axis + 2]) for view in views})
        assert (edges[0][0], edges[-1][1]) == (0, image_size[1 - axis])
        assert all(end - start >= overlap for (_, end), (start, _) in pairwise(edges))


def test_an_object_that_both_tiles_see_is_one_with_the_better_box():
    assert joined([(82, 10, 98, 30, 0.8)], [(83, 10, 97, 30, 0.9)]) == [(83, 10, 97, 30, 0.9)]


def test_the_whole_object_is_taken_and_its_cut_part_is_gone():
    """The right tile sees all of it, the left one two thirds, of which it is surer: a part may be of another class."""
    assert joined([(82, 10, 112, 30, 0.9)], [(82, 10, 112, 30, 0.7)]) == [(82, 10, 112, 30, 0.7)]


def test_two_parts_of_an_object_larger_than_the_strip_are_put_together():
    result = join_tiles(
        [(LEFT, found(LEFT, (50, 10, 150, 30, 0.6))), (RIGHT, found(RIGHT, (50, 10, 150, 30, 0.8)))], IMAGE
    )
    assert len(result) == 1
    assert result.boxes.tolist() == [[50, 10, 150, 30]]
    assert (result.scores.tolist(), result.mask_scores.tolist()) == (pytest.approx([0.8]), pytest.approx([0.4]))
    expected = torch.zeros(IMAGE, dtype=torch.bool)
    expected[10:30, 50:150] = True
    assert torch.equal(full_masks(result.regions, IMAGE)[0], expected)


def test_neighbours_and_other_classes_stay_apart():
    left = [(60, 10, 90, 30, 0.9), (60, 50, 120, 70, 0.8, 1)]
    right = [(90, 10, 130, 30, 0.7), (60, 50, 120, 70, 0.6)]
    assert sorted(joined(left, right)) == [(60, 10, 90, 30, 0.9), (60, 50, 100, 70, 0.8), (80, 50, 120, 70, 0.6), (90, 10, 130, 30, 0.7)]  # fmt: skip  # noqa: E501


def test_of_several_that_agree_the_most_alike_are_one():
    """Two lie over each other in the left tile; one of them is what the right tile sees, the other only a poor part."""
    left, right = [(50, 10, 120, 30, 0.5), (50, 10, 120, 36, 0.9)], [(50, 10, 120, 30, 0.7)]
    assert joined(left, right) == [(50, 10, 120, 30, 0.7)]


def test_a_poor_part_on_a_whole_object_is_dropped():
    """The left tile makes something of the few columns that it sees, which agrees with too little of the strip."""
    whole = (85, 10, 120, 40, 0.8)
    assert joined([(92, 10, 100, 22, 0.7)], [whole]) == [(85, 10, 120, 40, 0.8)]
    assert joined([(92, 10, 100, 22, 0.7, 1)], [whole]) == [(85, 10, 120, 40, 0.8)]
    assert joined([(92, 10, 100, 22, 0.9, 1)], [whole]) == [(85, 10, 120, 40, 0.8)]
    assert len(joined([(92, 10, 100, 22, 0.9, 1)], [(85, 10, 120, 40, 0.4)])) == 2  # more than twice as sure
    assert len(joined([(82, 10, 90, 22, 0.7, 1)], [whole])) == 2  # not cut: another object


def test_what_tiles_make_of_an_object_that_no_tile_shows_whole():
    """The left tile takes a part of it for another object, which goes with the joined one."""
    part = (85, 20, 100, 40, 0.5, 1)
    assert joined([(50, 10, 150, 50, 0.6), part], [(50, 10, 150, 50, 0.7)]) == [(50, 10, 150, 50, 0.7)]


def test_joined_parts_of_a_wrong_class_lie_on_the_whole_object():
    """The third tile sees all; the first two take their parts of it for another class, and these are joined."""
    views = [(0, 0, 60, 50), (20, 0, 80, 50), (0, 20, 100, 90)]
    whole, parts = (10, 25, 70, 48, 0.8), (10, 25, 70, 48, 0.7, 1)
    tiles = [(view, found(view, one)) for view, one in zip(views, (parts, parts, whole), strict=True)]
    assert join_tiles(tiles[:2], IMAGE).boxes.tolist() == [[10, 25, 70, 48]]
    result = join_tiles(tiles, IMAGE)
    assert (result.boxes.tolist(), result.labels.tolist()) == ([[10, 25, 70, 48]], [0])


def test_an_object_within_a_larger_one_stays_though_no_tile_shows_either_whole():
    """Of nine tiles no one shows the outer disc or the inner one whole, and each shows its part of both."""
    rows, columns = np.mgrid[:600, :600]
    discs = [(rows - 214) ** 2 + (columns - 214) ** 2 < radius**2 for radius in (140, 45)]
    tiles = []
    for view in Tiles((256, 256), 64).views((600, 600)):
        x0, y0, x1, y1 = view
        masks = [disc[y0:y1, x0:x1] for disc in discs]
        seen = [(0, 0, 1, 1, 0.9, label) for label, mask in enumerate(masks) if mask.any()]
        regions = [MaskRegion.of(mask) for mask in masks if mask.any()]
        boxes = [(one.left, one.top, one.left + one.width, one.top + one.height) for one in regions]
        made = found((0, 0, 100, 100), *seen)
        tiles.append((view, replace(made, regions=regions, boxes=torch.tensor(boxes).float().reshape(-1, 4))))
    result = join_tiles(tiles, (600, 600))
    assert sorted(result.boxes.tolist()) == [[75, 75, 354, 354], [170, 170, 259, 259]]
    assert sorted(region.area for region in result.regions) == sorted(int(disc.sum()) for disc in discs)


def test_an_object_over_four_tiles_is_one():
    tiles = Tiles((60, 100), 20)
    views = tiles.views(IMAGE)
    assert len(views) == 4
    result = join_tiles([(view, found(view, (40, 20, 140, 90, 0.5))) for view in views], IMAGE)
    assert result.boxes.tolist() == [[40, 20, 140, 90]]
    assert result.regions[0].area == 100 * 70


def test_nothing_found_is_nothing():
    empty = found(LEFT)
    assert len(join_tiles([(LEFT, empty), (RIGHT, found(RIGHT))], IMAGE)) == 0
    assert joined([(10, 10, 20, 20, 0.5)], []) == [(10, 10, 20, 20, 0.5)]


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 80), st.integers(8, 30), st.integers(8, 19)), max_size=4))
def test_perfect_parts_give_the_objects_back(boxes):
    """Whatever tiles do to objects that are apart, joining undoes."""
    objects = [(x, y, min(x + w, 180), min(y + h, 100), 0.9 - 0.1 * n) for n, (x, y, w, h) in enumerate(boxes)]
    apart = all(
        a[0] > b[2] + 3 or b[0] > a[2] + 3 or a[1] > b[3] + 3 or b[1] > a[3] + 3
        for number, a in enumerate(objects) for b in objects[:number]
    )  # fmt: skip
    if not apart:
        return
    parts = []
    for view in Tiles((60, 64), 24).views(IMAGE):
        seen = [
            one for one in objects if one[0] < view[2] and one[2] > view[0] and one[1] < view[3] and one[3] > view[1]
        ]
        parts.append((view, found(view, *seen)))
    result = join_tiles(parts, IMAGE)
    assert [tuple(map(int, box)) for box in result.boxes] == [one[:4] for one in objects]
    assert [region.area for region in result.regions] == [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1, _ in objects]
