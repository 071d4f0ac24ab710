"""The only place where the model meets the configuration."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from yolact.config import BackboneConfig, Config, ModelConfig, as_size
from yolact.errors import ConfigError
from yolact.models.backbones import (
    RESNETS,
    ConvNeXtFeatures,
    DarkNetFeatures,
    ResNet10HalfFeatures,
    ResNetFeatures,
    TimmFeatures,
    take_channels,
)
from yolact.models.heads import AnchorHead, make_anchors
from yolact.models.points import PointHead, make_points
from yolact.models.yolact import FeaturePyramid, MaskIoUNet, Protonet, Yolact
from yolact.structures import Resize
from yolact.text import did_you_mean, printable, size_text

# A backbone maps images [B, 3, S, S] to feature maps and has `channels` and `strides` of these, from the finest.
BACKBONES: dict[str, Callable[[BackboneConfig], nn.Module]] = {
    **dict.fromkeys(RESNETS, lambda c: ResNetFeatures(c.name, c.deformable_blocks, c.deformable_interval)),
    "resnet10_half": lambda c: ResNet10HalfFeatures(),
    "darknet53": lambda c: DarkNetFeatures(),
    "convnext_tiny": lambda c: ConvNeXtFeatures(),
}
TIMM = "timm/"  # and with this before it, a name that timm knows
COARSEST = 5  # C5, of stride 32, is the last map of a backbone that the pyramid is built on


def build_model(config: Config, backbone: nn.Module | None = None) -> Yolact:
    """Build the network that `config.model` describes, with random weights.

    Args:
        backbone: in place of the configured one; see `BACKBONES`.

    Raises:
        ConfigError: the configuration does not say how many classes there are, or names no known backbone.
            Or the backbone does not take images of `model.channels`, or its maps are not what its `channels` and
            `strides` say, or do not reach the finest level.
    """
    model = config.model
    if model.num_classes is None:
        raise ConfigError(
            f"model.num_classes of configuration '{config.name}' is null, expected a number here: set it to the number "
            "of classes without background (train.py takes it from the training annotations)."
        )
    if backbone is None:
        backbone = _configured_backbone(config)
        if model.channels != 3:
            take_channels(backbone, model.channels)
    first, last = model.levels
    strides = [2**level for level in range(first, last + 1)]
    num_maps = COARSEST - first + 1
    channels: Sequence[int] = backbone.channels[-num_maps:]  # type: ignore[index, assignment]
    fpn = FeaturePyramid(channels, model.fpn_channels, last - COARSEST)
    sizes = sorted({model.input_size, *map(as_size, config.train.image_sizes)})
    mask_only = model.head_levels[0] - first
    levels = {size: level_sizes(backbone, fpn, size, strides[:num_maps], model.channels) for size in sizes}
    cells = {size: own[mask_only:] for size, own in levels.items()}
    return Yolact(
        backbone,
        fpn,
        Protonet(model.fpn_channels, model.protonet_channels, model.num_prototypes),
        _head(model, model.num_classes, cells, strides[mask_only:]),
        MaskIoUNet(model.num_classes) if model.mask_iou else None,
        num_mask_only=mask_only,
        num_classes=model.num_classes,
        resize=Resize.of(model),
        map_sizes={size: own[0] for size, own in levels.items()},
        pixel_mean=model.per_channel(model.pixel_mean),
        pixel_std=model.per_channel(model.pixel_std),
    )


def _head(
    model: ModelConfig, num_classes: int, cells: dict[tuple[int, int], list[tuple[int, int]]], strides: Sequence[int]
) -> AnchorHead | PointHead:
    """Build the head; `cells` are the (H, W) of each level by that of the input."""
    if model.head == "points":
        points = {size: make_points(levels, strides, size) for size, levels in cells.items()}
        depth, prototypes = model.tower_depth, model.num_prototypes
        return PointHead(model.fpn_channels, points, len(strides), depth, num_classes, prototypes)
    anchors = model.anchors
    # The same side lengths in pixels for every size of the input: see train.image_sizes.
    unit_anchors = {
        size: make_anchors(size, levels, anchors.scales, anchors.aspect_ratios, anchors.square)
        for size, levels in cells.items()
    }
    per_cell = len(anchors.scales[0]) * len(anchors.aspect_ratios)
    return AnchorHead(model.fpn_channels, unit_anchors, per_cell, num_classes, model.num_prototypes)


def level_sizes(
    backbone: nn.Module, fpn: FeaturePyramid, image_size: tuple[int, int], strides: Sequence[int], channels: int = 3
) -> list[tuple[int, int]]:
    """Return (H, W) of each pyramid level for inputs of (H, W); shapes alone are computed.

    Args:
        strides: of the backbone's maps that the pyramid is built on.
        channels: of the images.
    """
    with torch.no_grad():
        try:  # two images, because a batch norm that learns refuses one of a single cell
            maps = _on_meta(backbone, torch.empty(2, channels, *image_size, device="meta"))
        except (AssertionError, RuntimeError) as error:  # how networks of timm refuse a size, and PyTorch channels
            size, reason = size_text(image_size), printable(str(error))
            raise ConfigError(
                f"The backbone takes no image of {size} pixels and {channels} channels (model.channels): {reason}"
            ) from error
        if not isinstance(maps, list | tuple):
            raise ConfigError(
                f"A backbone must return a list of maps, from the finest; {type(backbone).__name__} returns a "
                f"{type(maps).__name__}."
            )
        said = list(zip(backbone.channels, backbone.strides, strict=False))  # type: ignore[arg-type]
        shapes = [tuple(one.shape[1:]) for one in maps]
        fits = len(shapes) == len(said) and [stride for _, stride in said[-len(strides) :]] == list(strides)
        for (width, *sides), (wanted, stride) in zip(shapes, said, strict=False):
            near = (abs(side - full / stride) <= 1 for side, full in zip(sides, image_size, strict=True))
            fits = fits and width == wanted and all(near)
        if not fits:
            raise ConfigError(
                f"A backbone must end in maps of strides {[*strides]} and say their channels; "
                f"{type(backbone).__name__} says strides {backbone.strides} and channels {backbone.channels}, and of "
                f"an image of {size_text(image_size)} pixels makes maps [C, H, W] of {shapes}."
            )
        return [(level.shape[-2], level.shape[-1]) for level in _on_meta(fpn, maps[-len(strides) :])]


def _on_meta(module: nn.Module, value: object) -> list[Tensor]:
    state = {name: tensor.to("meta") for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    result: list[Tensor] = functional_call(module, state, (value,))
    return result


def _configured_backbone(config: Config) -> nn.Module:
    settings = config.model.backbone
    if settings.name.startswith(TIMM):
        return TimmFeatures(settings.name.removeprefix(TIMM))
    if settings.name not in BACKBONES:
        hint = did_you_mean(settings.name, BACKBONES)
        raise ConfigError(f"model.backbone.name of configuration '{config.name}' is '{settings.name}'{hint}")
    if any(settings.deformable_blocks) and settings.name not in RESNETS:
        raise ConfigError(
            f"model.backbone.deformable_blocks of configuration '{config.name}' is {list(settings.deformable_blocks)}, "
            f"but {settings.name} has no deformable form: set it to [0, 0, 0, 0], or take a ResNet."
        )
    return BACKBONES[settings.name](settings)
