import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolact.ops.regions import MaskRegion, full_masks, regions_of


def test_a_region_by_hand():
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:7] = True
    [region] = regions_of(mask[None])
    assert (region.top, region.left, region.mask.shape, region.area) == (2, 3, (2, 4), 8)
    assert region.window == (slice(2, 4), slice(3, 7))
    np.testing.assert_array_equal(region.full((6, 8)), mask)


def test_masks_come_back():
    masks = torch.rand(7, 20, 30) > torch.linspace(0.2, 1, 7)[:, None, None]  # the last one is empty
    assert not masks[-1].any()
    assert torch.equal(full_masks(regions_of(masks), (20, 30)), masks)


def test_the_rectangle_is_the_smallest_one_and_keeps_its_place():
    region = MaskRegion.of(np.array([[0, 0, 0], [0, 1, 1], [0, 0, 0]], bool), top=10, left=20)
    assert (region.top, region.left, region.height, region.width) == (11, 21, 1, 2)
    assert region.mask.tolist() == [[True, True]]
    assert region.bits == b"\xc0"


@pytest.mark.parametrize("shape", [(5, 6), (0, 6), (5, 0)])
def test_an_empty_mask_is_a_region_too(shape):
    region = MaskRegion.of(np.zeros(shape, bool), 3, 4)
    assert region.mask.shape == (0, 0)
    assert region.mask.dtype == bool
    assert region.area == 0
    assert not region.full((8, 12)).any()


def test_equal_masks_are_equal_regions_wherever_they_were_cut_from():
    whole = np.zeros((40, 50), bool)
    whole[7:20, 9:31] = np.random.default_rng(0).random((13, 22)) > 0.3
    assert MaskRegion.of(whole) == MaskRegion.of(whole[5:25, 3:40], 5, 3)
    whole[10, 10] ^= True
    assert MaskRegion.of(whole) != MaskRegion.of(whole ^ np.eye(40, 50, dtype=bool))


def test_a_region_takes_one_bit_a_pixel():
    assert len(MaskRegion.of(np.ones((400, 600), bool)).bits) == 400 * 600 / 8


@given(st.integers(0, 10**6), st.tuples(*[st.integers(-3, 12)] * 4))
def test_any_window_can_be_cut_out(seed, window):
    top, left, height, width = window[0], window[1], max(window[2], 0), max(window[3], 0)
    mask = np.random.default_rng(seed).random((9, 7)) > 0.8
    wide = np.pad(mask, 30)
    expected = wide[30 + top : 30 + top + height, 30 + left : 30 + left + width]
    np.testing.assert_array_equal(MaskRegion.of(mask).crop(top, left, top + height, left + width), expected)
