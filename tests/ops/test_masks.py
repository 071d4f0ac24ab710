import torch

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
