"""The only place where the model meets the configuration."""

from torch import nn

from yolact.config import Config, ModelConfig
from yolact.errors import ConfigError
from yolact.models.anchors import make_anchors
from yolact.models.backbones import ResNetFeatures
from yolact.models.darknet import DarkNetFeatures
from yolact.models.yolact import Yolact


def build_model(config: Config) -> Yolact:
    """Build the network that `config.model` describes, with random weights.

    Raises:
        ConfigError: the configuration does not say how many classes there are.
    """
    model = config.model
    if model.num_classes is None:
        raise ConfigError(
            f"model.num_classes of configuration '{config.name}' is null, expected a number here: set it to the number "
            "of classes without background (train.py takes it from the training annotations)."
        )
    scales, ratios, square = model.anchors.scales, model.anchors.aspect_ratios, model.anchors.square
    # The same side lengths in pixels for every size of the input: see train.image_sizes.
    sizes = {model.image_size, *config.train.image_sizes}
    return Yolact(
        _build_backbone(model),
        {size: make_anchors(size, scales, ratios, square) for size in sorted(sizes)},
        image_size=model.image_size,
        num_classes=model.num_classes,
        anchors_per_cell=len(scales[0]) * len(ratios),
        pixel_mean=model.pixel_mean,
        pixel_std=model.pixel_std,
        fpn_channels=model.fpn_channels,
        protonet_channels=model.protonet_channels,
        num_prototypes=model.num_prototypes,
        mask_iou=model.mask_iou,
    )


def _build_backbone(model: ModelConfig) -> nn.Module:
    backbone = model.backbone
    if backbone.name == "darknet53":
        return DarkNetFeatures()
    return ResNetFeatures(backbone.name, backbone.deformable_blocks, backbone.deformable_interval)
