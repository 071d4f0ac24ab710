import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from yolact.models.backbones import ResNetFeatures
from yolact.models.build import level_sizes
from yolact.models.heads import AnchorCoder, AnchorHead, make_anchors
from yolact.models.yolact import FeaturePyramid

UNIT = st.floats(0, 1, width=32)
BOX = st.tuples(UNIT, UNIT, UNIT, UNIT).map(lambda v: [v[0], v[1], v[0] + 0.05 + 0.5 * v[2], v[1] + 0.05 + 0.5 * v[3]])


def test_encode_by_hand():
    coder = AnchorCoder(torch.tensor([[0.0, 0, 10, 20]]), (100, 100))  # 10 x 20 pixels
    found = coder.encode(torch.tensor([[1.0, 0, 11, 20 * torch.e]]))[0]
    expected = torch.tensor([1 / (0.1 * 10), (10 * torch.e - 10) / (0.1 * 20), 0, 1 / 0.2])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@given(BOX, BOX)
def test_decode_inverts_encode(box, anchor):
    coder, boxes = AnchorCoder(100 * torch.tensor([anchor]), (100, 100)), 100 * torch.tensor([[box]])
    torch.testing.assert_close(coder.decode(coder.encode(boxes)), boxes, atol=1e-3, rtol=1e-4)


def test_scores_leave_out_background():
    logits = torch.tensor([[[0.0, math.log(2), 0]]])
    torch.testing.assert_close(AnchorCoder(torch.zeros(1, 4), (64, 64)).scores(logits), torch.tensor([[[0.5, 0.25]]]))


def test_outputs_stand_in_the_order_of_the_anchors():
    head = AnchorHead(1, {}, anchors_per_cell=2, num_classes=1, num_prototypes=3)
    torch.nn.init.zeros_(head.box_deltas.weight)
    head.box_deltas.bias.data = torch.arange(8.0)  # four numbers of the first anchor, then of the second
    deltas = head([torch.rand(1, 1, 2, 2), torch.rand(1, 1, 1, 1)])[1]
    assert deltas.tolist() == [[[0, 1, 2, 3], [4, 5, 6, 7]] * 5]


@pytest.mark.parametrize(
    ("image_size", "sizes"),
    [(550, [69, 35, 18, 9, 5]), (400, [50, 25, 13, 7, 4]), (700, [88, 44, 22, 11, 6]), (32, [4, 2, 1, 1, 1])],
)
def test_level_sizes_are_the_authors(image_size, sizes):
    backbone = ResNetFeatures("resnet18")
    found = level_sizes(backbone, FeaturePyramid(backbone.channels[1:], 8), (image_size, image_size), (8, 16, 32))
    assert found == [(size, size) for size in sizes]


def test_first_cell_by_hand():
    anchors = make_anchors((80, 80), [(10, 10)], [[8]], [1, 0.5, 2], square=False)[:3] * 80
    half = 4 * math.sqrt(2)  # of the long side; the cell's centre is at (4, 4)
    tall, wide = [4 - half / 2, 4 - half, 4 + half / 2, 4 + half], [4 - half, 4 - half / 2, 4 + half, 4 + half / 2]
    torch.testing.assert_close(anchors, torch.tensor([[0, 0, 8, 8], tall, wide], dtype=torch.float32))


def test_square_anchors_have_the_width_of_their_ratio():
    anchors = make_anchors((80, 80), [(10, 10)], [[8]], [1, 0.5, 2], square=True)[:3] * 80
    width, height = (anchors[:, 2:] - anchors[:, :2]).T
    torch.testing.assert_close(width, torch.tensor([8, 8 * math.sqrt(0.5), 8 * math.sqrt(2)]))
    torch.testing.assert_close(width, height)


def test_order_is_row_by_row_then_scale_then_ratio():
    anchors = make_anchors((16, 16), [(2, 2), (1, 1)], [[4, 8]] * 2, [1, 0.5], square=False) * 16
    assert len(anchors) == (4 + 1) * 4
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[0:16:4].tolist() == [[4, 4], [12, 4], [4, 12], [12, 12]]
    areas = (anchors[:, 2:] - anchors[:, :2]).prod(1)
    torch.testing.assert_close(areas[:4], torch.tensor([16.0, 16, 64, 64]))
