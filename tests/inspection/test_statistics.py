"""Counts, bins and vanishing masks by hand."""

import numpy as np
import pytest

from yolact.inspection.check import sources_of
from yolact.inspection.entries import read_set
from yolact.inspection.statistics import (
    COUNT_EDGES,
    SIZE_EDGES,
    bin_names,
    bin_places,
    box_sides,
    count_bins,
    count_vanishing,
    summarise,
)


def test_names_of_bins() -> None:
    assert bin_names((0, 8, 16)) == ["0-8", "8-16", "16+"]
    assert bin_names((0, 1, 2, 5), whole=True) == ["0", "1", "2-4", "5+"]


def test_values_fall_into_the_bin_that_begins_at_or_below_them() -> None:
    assert bin_places(np.array([0, 7.9, 8, 255, 256, 9999]), SIZE_EDGES).tolist() == [0, 0, 1, 5, 6, 6]
    assert count_bins([0, 1, 1, 4, 500], COUNT_EDGES, whole=True)["1"] == 2
    assert count_bins([], COUNT_EDGES, whole=True)["0"] == 0


def test_side_of_the_square_as_large_as_a_box() -> None:
    assert box_sides(np.array([[0, 0, 4, 9], [2, 2, 12, 12.0]])).tolist() == [6, 10]


def test_masks_that_vanish_at_the_prototypes(clean) -> None:
    """At 64 pixels the prototypes have 16; a mask of one input pixel covers half of none of them."""
    config = clean.write()
    inspected = read_set(*sources_of(config)[0])
    assert count_vanishing(inspected, 64) == (23, 0, 16)
    picture = inspected.pictures[0]
    pixel = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * (picture.width / 64, picture.height / 64)
    first = inspected.objects[0][0]
    inspected.objects[0].append(first._replace(segmentation=[pixel.astype(np.float32)]))
    assert count_vanishing(inspected, 64) == (24, 1, 16)


def test_a_set_without_pictures_has_a_summary(clean) -> None:
    clean.train.update(images=[], annotations=[])
    summary = summarise(read_set(*sources_of(clean.write())[0]))
    assert (summary["pictures"], summary["objects"], summary["width"]) == (0, 0, [0, 0, 0])


def test_what_is_left_out_is_counted_within_the_pictures_that_are_used(clean) -> None:
    clean.train["annotations"][0]["segmentation"] = []
    source = sources_of(clean.write())[0]
    assert summarise(read_set(*source))["left_out"] == 1
    assert summarise(read_set(*source._replace(max_images=3)))["left_out"] == 1


@pytest.mark.parametrize("size", [64, 550])
def test_nothing_random_is_global(clean, size) -> None:
    inspected = read_set(*sources_of(clean.write())[0])
    before = np.random.get_state()[1].tolist()
    assert count_vanishing(inspected, size) == count_vanishing(inspected, size)
    assert np.random.get_state()[1].tolist() == before
