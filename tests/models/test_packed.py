"""Convolutions with weights in oneDNN's order: what the plain ones give."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck

from yolact.models.backbones import DeformableConv2d
from yolact.models.packed import PackedBottleneck, PackedConv2d, can_pack, pack

pytestmark = [
    pytest.mark.skipif(not can_pack(torch.float32), reason="oneDNN's operations are for x86 CPUs"),
    pytest.mark.usefixtures("_without_gradient"),
]


@pytest.fixture
def _without_gradient():
    with torch.inference_mode():
        yield


def test_a_sum_of_three_by_three_pixels_after_a_relu():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    conv.weight.fill_(1.0)
    conv.bias.fill_(-5.0)
    packed = PackedConv2d(conv)
    ones = torch.ones(1, 1, 3, 4).contiguous(memory_format=torch.channels_last)
    sums = torch.tensor([[4.0, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]])
    assert torch.equal(packed(ones)[0, 0], sums - 5)
    packed.relu = True
    assert torch.equal(packed(ones)[0, 0], (sums - 5).relu())
    total = -3 * ones
    assert packed.add_to(total, ones).data_ptr() == total.data_ptr()
    assert torch.equal(total[0, 0], (sums - 8).relu())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 3}, {"bias": False}, {"groups": 4}, {"dilation": 2, "padding": 2}], ids=str
)
def test_maps_and_batches_of_any_size_one_after_the_other(dtype, options):
    if not can_pack(dtype):
        pytest.skip(f"this CPU does not compute {dtype}")
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 96, 3, **options).to(dtype)
    packed = PackedConv2d(copy.deepcopy(conv))
    for size in [(1, 64, 20, 20), (1, 64, 5, 7), (3, 64, 33, 9), (1, 64, 20, 20)]:
        x = torch.randn(size).to(dtype).contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(packed(x), conv(x))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("deformable", [False, True])
def test_a_block_gives_what_it_was_made_from_gives(stride, deformable):
    torch.manual_seed(0)
    shortcut = nn.Sequential(nn.Conv2d(64, 128, 1, stride, bias=False)) if stride == 2 else None
    block = Bottleneck(64 if stride == 2 else 128, 32, stride, shortcut).eval()
    block.bn1 = block.bn2 = block.bn3 = nn.Identity()
    if deformable:
        block.conv2 = DeformableConv2d(32, 32, stride)
        nn.init.uniform_(block.conv2.conv_offset_mask.bias, -1, 1)
    x = torch.randn(2, 64 if stride == 2 else 128, 12, 12).contiguous(memory_format=torch.channels_last)
    expected = block(x)
    stage = nn.Sequential(copy.deepcopy(block))
    pack(stage, (DeformableConv2d,))
    assert isinstance(stage[0], PackedBottleneck)
    assert isinstance(stage[0].conv2, DeformableConv2d) == deformable
    torch.testing.assert_close(stage(x), expected, atol=1e-5, rtol=1e-4)
