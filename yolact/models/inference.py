"""A copy of the network that only predicts: batch norms folded, weights in the type to compute with."""

import copy
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.resnet import BasicBlock, Bottleneck

from yolact.models.backbones import DeformableConv2d, ResNetFeatures
from yolact.models.yolact import MaskIoUNet, Yolact

# Deformable convolution has no half precision on CPUs, re-scoring works on float masks, and norms have statistics.
KEPT_FLOAT = (DeformableConv2d, MaskIoUNet, _BatchNorm)


def for_inference(model: Yolact, dtype: torch.dtype = torch.float32) -> Yolact:
    """Return a copy of `model` in evaluation mode, as fast as eager PyTorch runs it; `model` stays as it is.

    Each batch norm is folded into the convolution before it, which changes results by rounding only. The layers are in
    channels-last format and hold their weights as `dtype`; bfloat16 and float16 halve the work on hardware that has
    them. The input is float32 and normalised as such in any case.
    """
    copied = folded(model)
    cast(copied, dtype)
    return copied.to(memory_format=torch.channels_last)


def folded(model: Yolact) -> Yolact:
    """Return a copy of `model` in evaluation mode, made of plain layers, with its batch norms folded."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    fold_batch_norms(copied)
    return copied


def fold_batch_norms(model: nn.Module) -> None:
    """Fold every batch norm that certainly follows a convolution into that, in place; others stay."""
    for parent, name, conv in _pairs(model):
        norm = getattr(parent, name)
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        conv.register_parameter("weight", weight)
        conv.register_parameter("bias", bias)
        setattr(parent, name, nn.Identity())


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Conv2d | DeformableConv2d]]:
    """Yield each batch norm, as a module and the name of its child, with the convolution whose output it takes."""
    for parent in list(model.modules()):
        children = dict(parent.named_children())
        names = list(children)
        for previous, name in zip([None, *names], names, strict=False):
            if isinstance(parent, nn.Sequential):
                before = children.get(previous) if previous is not None else None
            elif isinstance(parent, BasicBlock | Bottleneck | ResNetFeatures):  # bn1 comes after conv1
                before = children.get(name.replace("bn", "conv"))
            else:
                before = None  # the order of a module's children says nothing of its forward
            if isinstance(children[name], _BatchNorm) and isinstance(before, nn.Conv2d | DeformableConv2d):
                yield parent, name, before


def cast(module: nn.Module, dtype: torch.dtype) -> None:
    """Hold the parameters as `dtype`, in place; buffers such as anchors stay float32."""
    for parameter in module.parameters(recurse=False):
        parameter.data = parameter.data.to(dtype)
    for child in module.children():
        if not isinstance(child, KEPT_FLOAT):
            cast(child, dtype)
