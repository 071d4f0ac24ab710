"""Convolutions with fewer multiplications: the same results but for rounding."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from yolact.models import winograd
from yolact.models.winograd import WinogradConv2d


@pytest.fixture
def _always(monkeypatch):
    """Small convolutions are not left to PyTorch, so that they can be looked at here."""
    monkeypatch.setattr(winograd, "LEAST_PRODUCTS", 0)


def both(conv, x):
    """Return what a convolution and its replacement make of `x`, the first computed in float64."""
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        fast = WinogradConv2d(conv, [])(x)
        return conv.double()(x.double()), fast


@pytest.mark.usefixtures("_always")
def test_a_map_of_ones_gives_the_sums_of_the_filter():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=True)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(1.0, 10.0).view(1, 1, 3, 3))  # 1 2 3 / 4 5 6 / 7 8 9
        conv.bias.fill_(0.5)
        found = WinogradConv2d(conv, [])(torch.ones(1, 1, 20, 20))[0, 0]
    inside, corner, edge = 45 + 0.5, 5 + 6 + 8 + 9 + 0.5, 4 + 5 + 6 + 7 + 8 + 9 + 0.5
    torch.testing.assert_close(found[1:-1, 1:-1], torch.full((18, 18), inside))
    torch.testing.assert_close(found[0, 0], torch.tensor(corner))
    torch.testing.assert_close(found[0, 1:-1], torch.full((18,), edge))


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(15, 14), (16, 16), (17, 33), (69, 69), (250, 1)])
@pytest.mark.parametrize("strip", [1, 100_000, 10_000_000])
def test_only_rounding_differs(size, strip, bias, monkeypatch):
    monkeypatch.setattr(winograd, "STRIP", strip)
    x = torch.randn(2, 24, *size)
    exact, fast = both(nn.Conv2d(24, 40, 3, padding=1, bias=bias), x)
    assert fast.shape == exact.shape
    assert fast.is_contiguous(memory_format=torch.channels_last)
    assert (fast - exact).abs().max() < 3e-5 * exact.abs().max()


@pytest.mark.usefixtures("_always")
def test_it_works_with_and_without_inference_mode_in_any_order():
    fast, x = WinogradConv2d(nn.Conv2d(8, 8, 3, padding=1), []), torch.randn(1, 8, 30, 20)
    results = []
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            results.append(fast(x).clone())
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.usefixtures("_always")
def test_threads_do_not_disturb_each_other():
    fast = WinogradConv2d(nn.Conv2d(32, 32, 3, padding=1).requires_grad_(False), [])
    maps = [torch.randn(1, 32, 40 + number, 50) for number in range(8)]
    alone = [fast(x) for x in maps]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(fast, maps * 5))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, alone * 5, strict=True))


@pytest.mark.parametrize("shape", [(512, 9, 9), (8, 40, 40)])
def test_what_would_not_gain_is_convolved_as_before(shape):
    conv, x = nn.Conv2d(shape[0], shape[0], 3, padding=1), torch.randn(1, *shape)
    with torch.no_grad():
        assert torch.equal(WinogradConv2d(conv, [])(x), conv(x))


@pytest.mark.parametrize(
    ("options", "suits"),
    [
        ({"padding": 1}, True),
        ({"padding": 1, "bias": False}, True),
        ({"padding": 0}, False),
        ({"padding": 1, "stride": 2}, False),
        ({"padding": 2, "dilation": 2}, False),
        ({"padding": 1, "groups": 2}, False),
        ({"padding": 1, "padding_mode": "reflect"}, False),
        ({"padding": 1, "dtype": torch.bfloat16}, False),
    ],
)
def test_what_it_replaces(options, suits):
    assert WinogradConv2d.suits(nn.Conv2d(128, 128, 3, **options)) is suits


@pytest.mark.parametrize("channels", [(64, 64), (256, 512)])
def test_it_leaves_narrow_and_very_wide_convolutions(channels):
    assert not WinogradConv2d.suits(nn.Conv2d(*channels, 3, padding=1))
