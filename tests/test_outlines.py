import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from yolact.ops.outlines import mask_outlines, mask_polygons, one_line, simplified
from yolact.ops.regions import MaskRegion

masks = arrays.arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8)))


def filled(line: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels whose centres a closed line encloses."""
    contour = np.ascontiguousarray(line, np.float32).reshape(-1, 1, 2)
    inside = [cv2.pointPolygonTest(contour, (column, row), False) >= 0 for row, column in np.ndindex(*shape)]
    return np.array(inside, bool).reshape(shape)


def test_outline_of_a_rectangle() -> None:
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:7] = True  # pixel centres x 3..6, y 2..3
    (outline,) = mask_outlines(MaskRegion.of(mask))
    assert sorted(map(tuple, outline.tolist())) == [(2.75, 1.75), (2.75, 3.25), (6.25, 1.75), (6.25, 3.25)]
    assert outline.dtype == np.float32


def test_outlines_keep_single_pixels_and_an_empty_mask_has_none() -> None:
    mask = np.zeros((5, 5), bool)
    assert mask_outlines(MaskRegion.of(mask)) == []
    assert mask_polygons(MaskRegion.of(mask)) == []
    mask[4, 0] = mask[0, 3] = True
    assert sorted(len(outline) for outline in mask_outlines(MaskRegion.of(mask))) == [4, 4]


def test_a_ring_with_an_island_by_hand() -> None:
    mask = np.ones((7, 7), bool)
    mask[1:6, 1:6] = False
    mask[3, 3] = True
    assert len(mask_outlines(MaskRegion.of(mask))) == 1  # without holes the island is covered
    island, ring = sorted(mask_polygons(MaskRegion.of(mask)), key=lambda part: len(part.holes))
    assert sorted(map(tuple, island.outline.tolist())) == [(2.75, 2.75), (2.75, 3.25), (3.25, 2.75), (3.25, 3.25)]
    assert ring.outline.min() == -0.25
    assert ring.outline.max() == 6.25
    (hole,) = ring.holes
    assert (hole.min(), hole.max()) == (0.25, 5.75)


@settings(deadline=None)
@given(masks)
def test_polygons_without_their_holes_are_exactly_the_mask(mask: np.ndarray) -> None:
    inside = np.zeros(mask.shape, int)
    for outline, holes in mask_polygons(MaskRegion.of(mask, 2, 3)):
        part = filled(outline - (3, 2), mask.shape)
        for hole in holes:
            part &= ~filled(hole - (3, 2), mask.shape)
        inside += part
    assert (inside == mask).all()  # no pixel twice


@settings(deadline=None)
@given(masks)
def test_one_line_encloses_what_a_polygon_does(mask: np.ndarray) -> None:
    inside = np.zeros(mask.shape, bool)
    for polygon in mask_polygons(MaskRegion.of(mask)):
        line = one_line(*polygon)
        assert len(line) == len(polygon.outline) + sum(len(hole) + 2 for hole in polygon.holes)
        inside |= filled(line, mask.shape)
    assert (inside == mask).all()


@pytest.mark.parametrize("tolerance", [0.5, 1, 3])
def test_simplified_lines_stay_near(tolerance: float) -> None:
    rows, columns = np.mgrid[:120, :160]
    mask = (rows - 60.3) ** 2 / 0.5 + (columns - 77) ** 2 < 65**2
    (outline,) = mask_outlines(MaskRegion.of(mask))
    fewer = simplified(outline, tolerance)
    assert len(fewer) < len(outline) / 2
    distances = [cv2.pointPolygonTest(fewer[:, None], tuple(map(float, point)), True) for point in outline]
    assert np.abs(distances).max() <= tolerance + 1e-4
    assert simplified(outline, 0) is outline


@settings(deadline=None)
@given(masks)
def test_no_tolerance_takes_a_part_away(mask: np.ndarray) -> None:
    for outline, holes in mask_polygons(MaskRegion.of(mask)):
        for line in (outline, *holes):
            assert cv2.contourArea(simplified(line, 100)) > 0.5 * cv2.contourArea(line)
