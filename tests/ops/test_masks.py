import torch
from hypothesis import given
from hypothesis import strategies as st

from yolact.ops import masks as mask_ops


def test_assemble_is_the_weighted_sum_of_prototypes():
    prototypes = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]]])  # two prototypes of one row
    coefficients = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    assert mask_ops.assemble(prototypes, coefficients).tolist() == [[[1, 2]], [[0.5, 0.5]]]


def test_window_takes_pixels_by_their_index():
    window = mask_ops.box_window(torch.tensor([[2.5, 1.0, 4.0, 2.0]]), height=4, width=8, padding=1)[0]
    assert window.any(0).nonzero()[:, 0].tolist() == [2, 3, 4]  # 1.5 <= x < 5
    assert window.any(1).nonzero()[:, 0].tolist() == [0, 1, 2]  # 0 <= y < 3


def test_crop_clears_the_outside_only():
    cropped = mask_ops.crop(torch.ones(1, 6, 6), torch.tensor([[2.0, 2, 4, 4]]), padding=0)[0]
    assert cropped.sum() == 4
    assert cropped[2:4, 2:4].all()


def test_resize_interpolates_between_pixel_centres():
    row = mask_ops.resize(torch.tensor([[[0.0, 1.0]]]), (1, 4))[0, 0]
    assert row.tolist() == [0, 0.25, 0.75, 1]


def test_shrink_keeps_what_covers_more_than_half():
    mask = torch.zeros(1, 4, 4)
    mask[0, :2, :2] = 1  # a whole cell of the half-size mask
    mask[0, 2, 2] = 1  # a quarter of another
    assert mask_ops.shrink(mask, (2, 2))[0].tolist() == [[True, False], [False, False]]


@given(st.integers(0, 10**6), st.integers(1, 30), st.sampled_from([5, 14]))
def test_aligning_the_assembled_mask_is_assembling_the_aligned_prototypes(seed, side, size):
    generator = torch.Generator().manual_seed(seed)
    prototypes = torch.randn(2, 3, side, side, generator=generator)
    coefficients = torch.randn(5, 1, 3, generator=generator)
    corners = torch.rand(5, 2, 2, generator=generator)
    boxes, index = torch.cat([corners.amin(1), corners.amax(1)], 1), torch.tensor([0, 0, 0, 1, 1])
    before = mask_ops.assemble(mask_ops.align(prototypes, index, boxes, size), coefficients)[:, 0]
    masks = mask_ops.assemble(prototypes[index], coefficients)  # [5, 1, side, side]
    torch.testing.assert_close(mask_ops.align(masks, torch.arange(5), boxes, size)[:, 0], before, rtol=1e-4, atol=1e-5)


def test_align_by_hand():
    """The columns hold their numbers; a box of 2..12 is enlarged to 1..13, whose sixths end at 3, 5, ..."""
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    found = mask_ops.align(ramp, torch.tensor([0]), torch.tensor([[2.0, 2, 12, 12]]) / 16, 6)
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([1.5, 3.5, 5.5, 7.5, 9.5, 11.5]))


def test_aligned_masks_are_shares_of_255():
    """A mask of 4..8 in a grid of 3..9 with three points a side: all of the middle, half of its neighbours."""
    mask = torch.zeros(1, 16, 16, dtype=torch.uint8)
    mask[0, 4:8, 4:8] = 1
    found = mask_ops.align_masks(mask, torch.tensor([[3.5, 3.5, 8.5, 8.5]]), 3)
    assert found.dtype == torch.uint8
    assert found[0, 1].tolist() == [128, 255, 128]
    assert mask_ops.align_masks(mask[:0], torch.zeros(0, 4), 3).shape == (0, 3, 3)
