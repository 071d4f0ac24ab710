import itertools

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yolact.data.shapes import CLASS_NAMES, draw_shapes


def test_the_seed_decides() -> None:
    (picture, objects), (again, same), (other, _) = (
        draw_shapes(np.random.default_rng(seed), 128) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(picture, again)
    assert [shape.label for shape in objects] == [shape.label for shape in same]
    assert picture.shape != other.shape or (picture != other).any()


def test_masks_are_visible_parts_that_do_not_overlap() -> None:
    touching = 0
    for seed in range(60):
        picture, objects = draw_shapes(np.random.default_rng(seed), 160)
        assert picture.dtype == np.uint8
        assert all(120 <= side <= 160 for side in picture.shape[:2])
        stack = np.array([shape.mask for shape in objects]).reshape(-1, *picture.shape[:2])
        assert stack.sum(axis=0, dtype=int).max(initial=0) <= 1
        assert (stack.sum(axis=(1, 2)) >= 30).all()
        taller = stack.copy()
        taller[:, 1:] |= stack[:, :-1]
        touching += int(taller.sum(axis=0, dtype=int).max(initial=0) > 1)
    assert touching >= 10


def test_polygons_describe_their_masks() -> None:
    shares = []  # of the outline's length, by which the mask differs
    for seed in range(60):
        _, objects = draw_shapes(np.random.default_rng(seed), 160)
        for shape in objects:
            assert CLASS_NAMES[shape.label] != "ring" or shape.polygon is None
            if shape.polygon is not None:
                rle = coco_mask.merge(coco_mask.frPyObjects([shape.polygon.ravel()], *shape.mask.shape))
                difference = int((coco_mask.decode(rle) != shape.mask).sum())
                perimeter = float(np.hypot(*(shape.polygon - np.roll(shape.polygon, 1, axis=0)).T).sum())
                shares.append(difference / perimeter)
    # An upright square may have one side along the middle of a row of pixels: that side may fall either way.
    assert max(shares) <= 0.25
    assert np.mean(shares) <= 0.1  # a mask that lies one pixel off differs by about 0.6
    assert len(shares) >= 50


def test_what_the_set_is_made_of() -> None:
    pictures = [draw_shapes(np.random.default_rng(seed), 192) for seed in range(200)]
    shapes = [shape for _, objects in pictures for shape in objects]
    counts = [len(objects) for _, objects in pictures]
    assert (min(counts), max(counts)) == (0, 7)
    assert np.mean(counts) == pytest.approx(3.8, abs=0.5)
    assert np.bincount([shape.label for shape in shapes], minlength=5).min() > 0.14 * len(shapes)
    sides = np.sqrt([shape.mask.sum() for shape in shapes])
    assert sides.min() < 8
    assert sides.max() > 65
    assert 0.04 < np.mean(sides < 12) < 0.15
    assert 0.3 < np.mean([shape.polygon is not None for shape in shapes]) < 0.7
    assert 0 < np.mean([picture.ndim == 2 for picture, _ in pictures]) < 0.1


def test_rings_have_holes() -> None:
    rings = 0
    for seed in range(80):
        picture, objects = draw_shapes(np.random.default_rng(seed), 160)
        for shape in objects:
            rows, columns = np.flatnonzero(shape.mask.any(axis=1)), np.flatnonzero(shape.mask.any(axis=0))
            inside = (
                rows[0] > 0 and columns[0] > 0 and rows[-1] < len(picture) - 1 and columns[-1] < picture.shape[1] - 1
            )
            if CLASS_NAMES[shape.label] == "ring" and inside and len(rows) > 30 and len(columns) > 30:
                rings += not shape.mask[(rows[0] + rows[-1]) // 2, (columns[0] + columns[-1]) // 2]
                assert not shape.mask[rows[0] : rows[-1], columns[0] : columns[-1]].all()
    assert rings >= 10


def test_the_topmost_is_painted_last() -> None:
    """Where an object covers another one, the picture has the colour of the first."""
    right = []
    for seed in range(80):
        picture, objects = draw_shapes(np.random.default_rng(seed), 160)
        for top, below in itertools.combinations(objects, 2):
            points = np.argwhere(below.mask)[:, ::-1].astype(np.int32)
            hull = cv2.fillConvexPoly(np.zeros(below.mask.shape, np.uint8), cv2.convexHull(points), 1) > 0
            zone, rest = top.mask & hull, top.mask & ~hull
            if min(zone.sum(), rest.sum()) > 40:
                colour, own, other = (picture[mask].mean(axis=0) for mask in (zone, rest, below.mask))
                right.append(np.linalg.norm(colour - own) < np.linalg.norm(colour - other))
    assert len(right) >= 10
    assert np.mean(right) > 0.85


def test_shapes_stand_out_from_the_background() -> None:
    """The mean colour within a mask differs from that around it."""
    differences = []
    for seed in range(60):
        picture, objects = draw_shapes(np.random.default_rng(seed), 160)
        if picture.ndim == 3 and objects:
            around = picture[~np.any([shape.mask for shape in objects], axis=0)].mean(axis=0)
            differences += [np.linalg.norm(picture[shape.mask].mean(axis=0) - around) for shape in objects]
    assert np.quantile(differences, 0.02) > 50
