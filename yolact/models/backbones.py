"""Feature extractors: ResNets and ConvNeXt of torchvision, a small ResNet, DarkNet-53, and those of timm.

A backbone makes maps of falling size from images [B, 3, S, S], and has their `channels` and `strides`. Images of other
than three channels are taken after `take_channels`.
"""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, resnet
from torchvision.ops import Conv2dNormActivation, deform_conv2d

from yolact.errors import ConfigError

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")
DARKNET_BLOCKS = (1, 2, 8, 8, 4)  # of each stage


class ResNetFeatures(nn.Module):
    """A ResNet without its classifier: images [B, 3, S, S] to C2, C3, C4, C5 at strides 4, 8, 16 and 32."""

    strides = (4, 8, 16, 32)

    def __init__(self, name: str, deformable_blocks: Sequence[int] = (0, 0, 0, 0), deformable_interval: int = 1):
        super().__init__()
        network = get_model(name, weights=None)
        self.conv1, self.bn1 = network.conv1, network.bn1
        self.relu, self.maxpool = network.relu, network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        stages = [self.layer1, self.layer2, self.layer3, self.layer4]
        for stage, count in zip(stages, deformable_blocks, strict=True):
            _make_deformable(stage, count, deformable_interval)
        self.channels = tuple(width * self.layer4[0].expansion for width in (64, 128, 256, 512))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        c2 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(images)))))
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return c2, c3, c4, self.layer4(c4)


class ResNet10HalfFeatures(nn.Module):
    """Half as wide as ResNet-18 and with one block a stage, for trainings of minutes: images [B, 3, S, S] to C2 .. C5.

    The stem is two 3x3 convolutions of stride 2, in place of one of 7x7 and pooling.
    """

    channels, strides = (32, 64, 128, 256), (4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Conv2dNormActivation(3, 16, 3, 2), Conv2dNormActivation(16, 32, 3, 2))
        self.stages = nn.ModuleList([resnet.BasicBlock(32, 32)])
        for before, after in itertools.pairwise(self.channels):
            shortcut = Conv2dNormActivation(before, after, 1, 2, activation_layer=None)
            self.stages.append(resnet.BasicBlock(before, after, 2, shortcut))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(itertools.accumulate(self.stages, lambda x, stage: stage(x), initial=self.stem(images)))[1:]


class ConvNeXtFeatures(nn.Module):
    """ConvNeXt-T (Liu et al. 2022) without its classifier: images [B, 3, S, S] to C2, C3, C4, C5."""

    channels, strides = (96, 192, 384, 768), (4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.features = get_model("convnext_tiny", weights=None).features

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = images, []
        for number, part in enumerate(self.features):  # a stem or a downsampling, then the blocks of a stage
            x = part(x)
            if number % 2:
                maps.append(x)
        return maps


class TimmFeatures(nn.Module):
    """A network of the library timm, as far as it can give feature maps [B, C, H, W].

    ConfigError if timm is not installed, has no such network, or cannot give its maps.
    """

    def __init__(self, name: str, pretrained: bool = False) -> None:
        super().__init__()
        try:
            import timm
        except ImportError:
            raise ConfigError(
                f"model.backbone.name is 'timm/{name}', but timm is not installed: run `pip install 'yolact[timm]'`."
            ) from None
        try:
            self.network = timm.create_model(name, features_only=True, pretrained=pretrained)
        except (RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split()).rstrip(". ")
            raise ConfigError(f"model.backbone.name is 'timm/{name}', which timm cannot build ({reason}).") from None
        information: Any = self.network.feature_info
        self.channels, self.strides = tuple(information.channels()), tuple(information.reduction())

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.network(images)
        return maps


def first_convolution(backbone: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Return the first convolution of a network, in the order of its parts, and its name."""
    return next(((name, one) for name, one in backbone.named_modules() if isinstance(one, nn.Conv2d)), None)


def take_channels(backbone: nn.Module, channels: int) -> None:
    """Make the first convolution of a backbone for RGB one of images [B, channels, S, S], with random weights.

    What comes out has the same spread as before. ConfigError where that convolution is not one of three channels.
    """
    found = first_convolution(backbone)
    if found is None or found[1].in_channels != 3 or found[1].groups != 1:
        raise ConfigError(
            f"{type(backbone).__name__} does not begin with a convolution of three channels, which could become one "
            f"of model.channels={channels}: take another backbone, or model.channels=3."
        )
    conv = found[1]
    std = float(conv.weight.detach().std()) * (3 / channels) ** 0.5
    shape = conv.out_channels, channels, *conv.kernel_size
    conv.in_channels, conv.weight = channels, nn.Parameter(torch.empty(shape).normal_(0, std))


class DeformableConv2d(nn.Module):
    """Modulated deformable convolution (DCNv2): a plain convolution predicts 18 offsets and 9 weights a position.

    Offsets and modulation start at zero, so that training starts from half of the plain convolution's response.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.weight = nn.Conv2d(in_channels, out_channels, 3, bias=False).weight
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.conv_offset_mask = nn.Conv2d(in_channels, 27, 3, stride, padding=1)
        for parameter in self.conv_offset_mask.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:  # where shapes alone are computed, by a kernel that can do that
            return nn.functional.conv2d(x, self.weight, self.bias, self.stride, padding=1)
        # torchvision's CPU kernel has no half precision, so this one layer leaves autocast.
        with torch.autocast(x.device.type, enabled=False):
            full = x.float()
            offset_mask = self.conv_offset_mask(full)
            offset, mask = offset_mask[:, :18], offset_mask[:, 18:].sigmoid()
            result: Tensor = deform_conv2d(full, offset, self.weight, self.bias, self.stride, padding=1, mask=mask)
            return result.to(x.dtype)


def _make_deformable(stage: nn.Sequential, count: int, interval: int) -> None:
    """Replace the 3x3 convolution of the last `count` blocks of `stage`, every `interval`-th one, as the authors do."""
    for i, block in enumerate(stage):
        assert isinstance(block, resnet.Bottleneck | resnet.BasicBlock)
        chosen = count >= len(stage) if i == 0 else i + count >= len(stage) and i % interval == 0
        if count and chosen:
            conv = block.conv2
            block.conv2 = DeformableConv2d(conv.in_channels, conv.out_channels, conv.stride[0])


_conv = partial(Conv2dNormActivation, activation_layer=partial(nn.LeakyReLU, 0.1))


class DarkNetBlock(nn.Module):
    """1x1 then 3x3 convolution, added to the input [B, C, H, W]."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = _conv(channels, channels // 2, 1)
        self.conv2 = _conv(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class DarkNetFeatures(nn.Module):
    """DarkNet-53 (YOLOv3) without its classifier: images [B, 3, S, S] to C2, C3, C4, C5 at strides 4, 8, 16 and 32."""

    channels, strides = (128, 256, 512, 1024), (4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 32, 3)
        self.stages = nn.ModuleList()
        for i, blocks in enumerate(DARKNET_BLOCKS):
            channels = 64 * 2**i
            down = _conv(channels // 2, channels, 3, stride=2)
            self.stages.append(nn.Sequential(down, *(DarkNetBlock(channels) for _ in range(blocks))))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(images)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return tuple(features[1:])
