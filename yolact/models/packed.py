"""Convolutions that hold their weights in the order in which oneDNN multiplies them, for inference on an x86 CPU.

PyTorch's own bring the weights into that order in every call, a twentieth of the network's time, and write their
results before a ReLU or a sum reads them again. The operations here are those into which `torch.compile` turns
convolutions.
"""

import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

OPERATIONS = (
    "_reorder_convolution_weight", "_convolution_pointwise", "_convolution_pointwise_", "_is_mkldnn_bf16_supported",
)  # fmt: skip


def can_pack(dtype: torch.dtype) -> bool:
    """Tell whether this machine and this PyTorch have the operations for `dtype`."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in OPERATIONS):
        return False
    has_bf16 = dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32 or has_bf16


def pack(module: nn.Module, left_alone: tuple[type[nn.Module], ...]) -> None:
    """Replace the convolutions and bottleneck blocks in `module` in place; batch norms must have been folded."""
    for name, child in module.named_children():
        if type(child) is nn.Conv2d:
            setattr(module, name, PackedConv2d(child))
        elif not isinstance(child, left_alone):
            pack(child, left_alone)
            if type(child) is Bottleneck:
                setattr(module, name, PackedBottleneck(child))


class PackedConv2d(nn.Module):
    """A convolution, without gradient, of maps that have the same size in most calls.

    The order depends on that size: each new one costs as much as PyTorch's own convolution loses in every call.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.bias, self.relu = conv.bias, False
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self._packed: tuple[torch.Size | None, Tensor] = (None, conv.weight.detach())  # the size of x, weights for it

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [B, C, H, W], then apply a ReLU if `relu` is set."""
        last = "relu" if self.relu else "none"
        convolved: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weights_for(x), self.bias, *self.geometry, last, [], ""
        )
        return convolved

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """Return relu(`total` + the convolved x), computed in `total`."""
        added: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            total, x, self._weights_for(x), self.bias, *self.geometry, "add", 1.0, "relu", [], None
        )
        return added

    def _weights_for(self, x: Tensor) -> Tensor:
        size, weights = self._packed
        if size != x.shape:
            plain = weights.to_dense() if weights.is_mkldnn else weights
            weights = torch.ops.mkldnn._reorder_convolution_weight(plain, *self.geometry, x.shape)
            self._packed = (x.shape, weights)
        return weights


class PackedBottleneck(nn.Module):
    """A bottleneck block of a ResNet whose ReLUs and sum are made by its convolutions; it may write into its input."""

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = block.conv1, block.conv2, block.conv3
        self.downsample = block.downsample
        for conv in (self.conv1, self.conv2):
            if isinstance(conv, PackedConv2d):
                conv.relu = True

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(self.conv1(x))
        if not isinstance(self.conv2, PackedConv2d):  # such as a deformable convolution
            inner = F.relu(inner, inplace=True)
        return self.conv3.add_to(x if self.downsample is None else self.downsample(x), inner)
