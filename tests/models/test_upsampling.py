"""Convolutions of upsampled maps: what upsampling and then a convolution give."""

import pytest
import torch
import torch.nn.functional as F

from yolact.models.upsampling import UpsampledConv2d


def one_after_the_other(layer, x):
    upsampled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return F.conv2d(upsampled, layer.weight, layer.bias, padding=1)


def counting_up():
    """Return a layer of one channel with the filter 1 2 3 / 4 5 6 / 7 8 9 and the bias 0.5."""
    layer = UpsampledConv2d(1, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1.0, 10.0).view(1, 1, 3, 3))
        layer.bias.fill_(0.5)
    return layer


def test_a_single_pixel_becomes_four_with_zeros_around():
    found = counting_up()(torch.full((1, 1, 1, 1), 2.0))[0, 0]
    sums = torch.tensor([[5 + 6 + 8 + 9, 4 + 5 + 7 + 8], [2 + 3 + 5 + 6, 1 + 2 + 4 + 5]])
    torch.testing.assert_close(found, 2.0 * sums + 0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (2, 2), (7, 6)])
def test_results_and_gradients_are_those_of_one_after_the_other(size):
    torch.manual_seed(0)
    layer = UpsampledConv2d(4, 5).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 5, 2 * size[0], 2 * size[1], dtype=torch.float64)
    found, expected = layer(x), one_after_the_other(layer, x)
    torch.testing.assert_close(found, expected)
    leaves = (x, layer.weight, layer.bias)
    found_gradients = torch.autograd.grad((found * weights).sum(), leaves)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), leaves)
    torch.testing.assert_close(found_gradients, expected_gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_errors_are_of_the_same_size(dtype):
    torch.manual_seed(0)
    layer, x = UpsampledConv2d(64, 64).to(dtype), torch.randn(1, 64, 20, 30).to(dtype)
    with torch.no_grad():
        fast, plain = layer(x), one_after_the_other(layer, x)
        exact = one_after_the_other(layer.double(), x.double())
    assert fast.dtype == dtype
    assert (fast - exact).norm() < 2 * (plain - exact).norm()  # CPUs without bfloat16 round once more
