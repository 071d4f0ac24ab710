"""A 3 x 3 convolution of an upsampled map, from the map itself: a quarter of the multiplications.

Bilinear upsampling by two is a filter: put zeros between the pixels, then add neighbours up with the weights 1/4, 3/4,
3/4, 1/4, along both sides. Filters may change places. With the convolution first, three of four pixels that it
multiplies are zeros, and a transposed convolution leaves these out.

Only at the border do the two orders differ. Upsampling repeats the outermost pixels, so the filter also finds pixels
just outside of the upsampled map, where the convolution has to find zeros: what it makes of them is taken off again.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


class UpsampledConv2d(nn.Conv2d):
    """Bilinear upsampling by two, then a 3 x 3 convolution with zeros around: [B, C, H, W] to [B, K, 2H, 2W].

    Weight and bias are those of that convolution; rounding errors are of the same size. No step waits for a device.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        filters = self.weight.transpose(0, 1).flip(2, 3)  # a transposed convolution has them turned round
        bias = None if self.bias is None else self.bias / 4  # smoothing adds up to four
        around = _repeat_ends(_repeat_ends(x, 2), 3)
        spread = F.conv_transpose2d(around, filters, bias, stride=2, padding=1)
        parts = spread, self._outside_rows(x), self._outside_columns(x)
        smooth: Tensor = _Smooth.apply(*parts) if spread.requires_grad else _smooth_inside(*parts)
        return smooth

    def _outside_rows(self, x: Tensor) -> Tensor:
        """Return what the pixels above and below the upsampled map add to its first and last row: [B, K, 2, 2W]."""
        first, last = _repeat_ends(_upsample(_ends(x, 2), (1, 2)), 3).split(1, dim=2)
        parts = F.conv2d(first, self.weight[:, :, :1]), F.conv2d(last, self.weight[:, :, -1:])
        return torch.cat(parts, dim=2)

    def _outside_columns(self, x: Tensor) -> Tensor:
        """Return what the pixels left and right of the upsampled map, corners excepted, add to its columns."""
        first, last = _upsample(_ends(x, 3), (2, 1)).split(1, dim=3)
        parts = [
            F.conv2d(side, weight, padding=(1, 0))
            for side, weight in ((first, self.weight[:, :, :, :1]), (last, self.weight[:, :, :, -1:]))
        ]
        return torch.cat(parts, dim=3)


def _upsample(x: Tensor, scale: tuple[int, int]) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def _ends(x: Tensor, dim: int) -> Tensor:
    """Return the first and the last pixels along `dim`."""
    return torch.cat([x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)], dim)


def _less_at_ends(x: Tensor, ends: Tensor, dim: int) -> Tensor:
    """Subtract `ends`, of two pixels along `dim`, from the first and the last ones of x."""
    first, last = ends.split(1, dim)
    length = x.shape[dim]
    parts = (x.narrow(dim, 0, 1) - first, x.narrow(dim, 1, length - 2), x.narrow(dim, length - 1, 1) - last)
    return torch.cat(parts, dim)


def _repeat_ends(x: Tensor, dim: int) -> Tensor:
    """Repeat the first and the last pixel along `dim`; torch.compile fails at the gradient of PyTorch's own padding."""
    return torch.cat([x.narrow(dim, 0, 1), x, x.narrow(dim, -1, 1)], dim)


class _Smooth(torch.autograd.Function):
    """`_smooth_inside`, with a gradient.

    The filter is symmetric, so its gradient is the same filter; PyTorch's own takes ten times as long.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return _smooth_inside(x, rows, columns)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _smooth(gradient, 3), -_ends(gradient, 2), -_ends(gradient, 3)


def _smooth_inside(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Smooth [B, C, H + 3, W + 3] to [B, C, H, W], then take what comes from outside off the ends of both sides."""
    return _less_at_ends(_less_at_ends(_smooth(x, 0), rows, 2), columns, 3)


def _smooth(x: Tensor, padding: int) -> Tensor:
    """Filter each channel with 1/4, 3/4, 3/4, 1/4 along both sides."""
    weights = F.pad(x.new_full((2,), 0.75), (1, 1), value=0.25)
    channels = x.shape[1]
    return F.conv2d(x, torch.outer(weights, weights).expand(channels, 1, 4, 4), padding=padding, groups=channels)
