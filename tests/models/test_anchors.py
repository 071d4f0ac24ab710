import math

import pytest
import torch

from yolact.models.anchors import level_sizes, make_anchors


@pytest.mark.parametrize(
    ("image_size", "sizes"), [(550, [69, 35, 18, 9, 5]), (400, [50, 25, 13, 7, 4]), (700, [88, 44, 22, 11, 6])]
)
def test_level_sizes_are_the_authors(image_size, sizes):
    assert level_sizes(image_size) == sizes


def test_first_cell_by_hand():
    anchors = make_anchors(80, [[8], [16], [32], [64], [80]], [1, 0.5, 2], square=False)[:3] * 80
    half = 4 * math.sqrt(2)  # of the long side; the cell's centre is at (4, 4)
    tall, wide = [4 - half / 2, 4 - half, 4 + half / 2, 4 + half], [4 - half, 4 - half / 2, 4 + half, 4 + half / 2]
    torch.testing.assert_close(anchors, torch.tensor([[0, 0, 8, 8], tall, wide], dtype=torch.float32))


def test_square_anchors_have_the_width_of_their_ratio():
    anchors = make_anchors(80, [[8], [16], [32], [64], [80]], [1, 0.5, 2], square=True)[:3] * 80
    size = anchors[:, 2:] - anchors[:, :2]
    torch.testing.assert_close(size[:, 0], torch.tensor([8, 8 * math.sqrt(0.5), 8 * math.sqrt(2)]))
    torch.testing.assert_close(size[:, 0], size[:, 1])


def test_order_is_row_by_row_then_scale_then_ratio():
    anchors = make_anchors(16, [[4, 8]] * 2, [1, 0.5], square=False) * 16  # levels of 2x2 and 1x1 cells
    assert len(anchors) == (4 + 1) * 4
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[0:16:4].tolist() == [[4, 4], [12, 4], [4, 12], [12, 12]]
    areas = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    torch.testing.assert_close(areas[:4], torch.tensor([16.0, 16, 64, 64]))


@pytest.mark.parametrize("image_size", [64, 100, 128])
def test_sides_in_pixels_do_not_depend_on_the_size_of_the_input(image_size):
    """The grid grows with the input; anchors do not."""
    anchors = make_anchors(image_size, [[8], [16], [32], [48], [64]], [1, 0.5], square=False) * image_size
    sides = (anchors[:, 2:] - anchors[:, :2]).sort(dim=1).values
    places = [side * side for side in level_sizes(image_size)]
    expected = [[scale * root, scale / root] for scale in (8, 16, 32, 48, 64) for root in (1, 0.5**0.5)]
    torch.testing.assert_close(
        sides, torch.tensor(expected).reshape(5, 2, 2).repeat_interleave(torch.tensor(places), 0).reshape(-1, 2)
    )


def test_uneven_scales_are_refused():
    with pytest.raises(ValueError, match=r"same number of anchor scales, got \[1, 2\]"):
        make_anchors(16, [[4], [4, 8]], [1], square=False)
