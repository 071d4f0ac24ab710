"""The only place where the model meets the configuration."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from yolact.config import BackboneConfig, Config
from yolact.errors import ConfigError
from yolact.models.backbones import RESNETS, DarkNetFeatures, ResNetFeatures
from yolact.models.heads import AnchorHead, make_anchors
from yolact.models.yolact import FeaturePyramid, MaskIoUNet, Protonet, Yolact
from yolact.text import did_you_mean

# A backbone maps images [B, 3, S, S] to feature maps and has `channels` and `strides` of these, from the finest.
BACKBONES: dict[str, Callable[[BackboneConfig], nn.Module]] = {
    **dict.fromkeys(RESNETS, lambda c: ResNetFeatures(c.name, c.deformable_blocks, c.deformable_interval)),
    "darknet53": lambda c: DarkNetFeatures(),
}
STRIDES = (8, 16, 32)  # of the maps that the pyramid is built on


def build_model(config: Config, backbone: nn.Module | None = None) -> Yolact:
    """Build the network that `config.model` describes, with random weights.

    Args:
        backbone: in place of the configured one; see `BACKBONES`.

    Raises:
        ConfigError: the configuration does not say how many classes there are, or names no known backbone.
            Or the backbone's maps are not what `channels` and `STRIDES` say.
    """
    model, anchors = config.model, config.model.anchors
    if model.num_classes is None:
        raise ConfigError(
            f"model.num_classes of configuration '{config.name}' is null, expected a number here: set it to the number "
            "of classes without background (train.py takes it from the training annotations)."
        )
    backbone = _configured_backbone(config) if backbone is None else backbone
    fpn = FeaturePyramid(backbone.channels, model.fpn_channels)  # type: ignore[arg-type]
    sizes = sorted({model.image_size, *config.train.image_sizes})
    # The same side lengths in pixels for every size of the input: see train.image_sizes.
    unit_anchors = {
        size: make_anchors(
            size, level_sizes(backbone, fpn, size), anchors.scales, anchors.aspect_ratios, anchors.square
        )
        for size in sizes
    }
    per_cell = len(anchors.scales[0]) * len(anchors.aspect_ratios)
    return Yolact(
        backbone,
        fpn,
        Protonet(model.fpn_channels, model.protonet_channels, model.num_prototypes),
        AnchorHead(model.fpn_channels, unit_anchors, per_cell, model.num_classes, model.num_prototypes),
        MaskIoUNet(model.num_classes) if model.mask_iou else None,
        num_classes=model.num_classes,
        image_size=model.image_size,
        training_sizes=sizes,
        pixel_mean=model.pixel_mean,
        pixel_std=model.pixel_std,
    )


def level_sizes(backbone: nn.Module, fpn: FeaturePyramid, image_size: int) -> list[tuple[int, int]]:
    """Return (H, W) of each pyramid level for inputs of side `image_size`; shapes alone are computed."""
    with torch.no_grad():
        maps = _on_meta(backbone, torch.empty(1, 3, image_size, image_size, device="meta"))
        channels, strides = tuple(backbone.channels), tuple(backbone.strides)  # type: ignore[arg-type]
        shapes = [tuple(one.shape[1:]) for one in maps]
        fits = strides == STRIDES and len(shapes) == len(channels) == len(STRIDES)
        for (width, *sides), wanted, stride in zip(shapes, channels, STRIDES, strict=False):
            fits = fits and width == wanted and all(abs(side - image_size / stride) <= 1 for side in sides)
        if not fits:
            raise ConfigError(
                f"A backbone must make maps of strides {STRIDES} and say their channels; {type(backbone).__name__} "
                f"says strides {strides} and channels {channels}, and of an image of {image_size} pixels makes maps "
                f"[C, H, W] of {shapes}."
            )
        return [(level.shape[-2], level.shape[-1]) for level in _on_meta(fpn, maps)]


def _on_meta(module: nn.Module, value: object) -> list[Tensor]:
    state = {name: tensor.to("meta") for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    result: list[Tensor] = functional_call(module, state, (value,))
    return result


def _configured_backbone(config: Config) -> nn.Module:
    settings = config.model.backbone
    if settings.name not in BACKBONES:
        hint = did_you_mean(settings.name, BACKBONES)
        raise ConfigError(f"model.backbone.name of configuration '{config.name}' is '{settings.name}'{hint}")
    if any(settings.deformable_blocks) and settings.name not in RESNETS:
        raise ConfigError(
            f"model.backbone.deformable_blocks of configuration '{config.name}' is {list(settings.deformable_blocks)}, "
            f"but {settings.name} has no deformable form: set it to [0, 0, 0, 0], or take a ResNet."
        )
    return BACKBONES[settings.name](settings)
