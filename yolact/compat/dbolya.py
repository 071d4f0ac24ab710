"""The authors' published weights (dbolya/yolact): their tensor names to ours and back, and which model they are.

Their files are bare state dicts. Only the names differ from ours, so both directions are a change of prefix.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from yolact.config import AnchorConfig, BackboneConfig, Config, ModelConfig
from yolact.errors import CheckpointError, ConfigError

# (theirs, ours). Their FPN lists run from C5 to C3, ours from C3 to C5; their Sequentials also count the ReLUs.
_COMMON = [
    *[(f"fpn.lat_layers.{i}.", f"fpn.lateral.{2 - i}.") for i in range(3)],
    *[(f"fpn.pred_layers.{i}.", f"fpn.output.{2 - i}.") for i in range(3)],
    *[(f"fpn.downsample_layers.{i}.", f"fpn.downsample.{i}.") for i in range(2)],
    *[(f"proto_net.{2 * i}.", f"protonet.before.{i}.") for i in range(3)],
    ("proto_net.8.", "protonet.after."),
    ("proto_net.10.", "protonet.output."),
    ("prediction_layers.0.upfeature.0.", "head.shared."),
    ("prediction_layers.0.conf_layer.", "head.class_logits."),
    ("prediction_layers.0.bbox_layer.", "head.box_deltas."),
    ("prediction_layers.0.mask_layer.", "head.mask_coefficients."),
    ("semantic_seg_conv.", "semantic."),
    *[(f"maskiou_net.maskiou_net.{2 * i}.", f"mask_iou.convs.{i}.") for i in range(5)],
    ("maskiou_net.maskiou_net.10.", "mask_iou.output."),
]
_RESNET = [
    ("backbone.conv1.", "backbone.conv1."),
    ("backbone.bn1.", "backbone.bn1."),
    *[(f"backbone.layers.{i}.", f"backbone.layer{i + 1}.") for i in range(4)],
]
_DARKNET = [
    ("backbone._preconv.", "backbone.stem."),
    *[(f"backbone.layers.{i}.", f"backbone.stages.{i}.") for i in range(5)],
]
# Left in some published files by older versions of their code: the backbone twice, and unused pyramid levels.
_LEGACY = re.compile(r"backbone\.layer\d|fpn\.downsample_layers\.([2-9]|\d\d)")


def convert(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a published state dict to ours, without the legacy duplicates.

    Raises:
        CheckpointError: a tensor's name is not one of the authors'.
    """
    pairs = _COMMON + (_DARKNET if _is_darknet(state_dict, "backbone._preconv.") else _RESNET)
    kept = {key: value for key, value in state_dict.items() if not _LEGACY.match(key)}
    return _rename(kept, dict(pairs))


def export(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of our state dict as the authors' code names them: the inverse of `convert`."""
    pairs = _COMMON + (_DARKNET if _is_darknet(state_dict, "backbone.stem.") else _RESNET)
    return _rename(state_dict, {ours: theirs for theirs, ours in pairs})


def _is_darknet(state_dict: Mapping[str, Tensor], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state_dict)


def _rename(state_dict: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> dict[str, Tensor]:
    renamed = {}
    for key, value in state_dict.items():
        prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        if prefix is None:
            raise CheckpointError(
                f"The weights hold a tensor '{key}', which is no part of a YOLACT network as the authors name it; "
                "give a checkpoint of this project or one that their code saved."
            )
        renamed[prefixes[prefix] + key[len(prefix) :]] = value
    return renamed


_SQUARE = AnchorConfig(square=True)
_IM400 = AnchorConfig(scales=((17,), (34,), (69,), (139,), (279,)), square=True)
_IM700 = AnchorConfig(scales=((30,), (61,), (122,), (244,), (488,)), square=True)
_PASCAL = AnchorConfig(scales=((32,), (64,), (128,), (256,), (512,)))
_OCTAVES = AnchorConfig(scales=tuple(tuple(round(24 * 2.0 ** (i + j / 3), 4) for j in range(3)) for i in range(5)))
_RESNET50 = BackboneConfig(name="resnet50")

PUBLISHED = {
    "yolact_base": ModelConfig(num_classes=80, anchors=_SQUARE),
    "yolact_im400": ModelConfig(num_classes=80, image_size=400, anchors=_IM400),
    "yolact_im700": ModelConfig(num_classes=80, image_size=700, anchors=_IM700),
    "yolact_resnet50": ModelConfig(num_classes=80, backbone=_RESNET50, anchors=_SQUARE),
    "yolact_darknet53": ModelConfig(
        num_classes=80,
        backbone=BackboneConfig(name="darknet53"),
        anchors=_SQUARE,
        pixel_mean=(0, 0, 0),
        pixel_std=(255, 255, 255),
    ),
    "yolact_resnet50_pascal": ModelConfig(num_classes=20, backbone=_RESNET50, anchors=_PASCAL),
    "yolact_plus_base": ModelConfig(
        num_classes=80,
        backbone=BackboneConfig(name="resnet101", deformable_blocks=(0, 4, 23, 3), deformable_interval=3),
        anchors=_OCTAVES,
        mask_iou=True,
    ),
    "yolact_plus_resnet50": ModelConfig(
        num_classes=80,
        backbone=BackboneConfig(name="resnet50", deformable_blocks=(0, 4, 6, 3)),
        anchors=_OCTAVES,
        mask_iou=True,
    ),
}


def recognise(state_dict: Mapping[str, Tensor], file_name: str) -> Config:
    """Tell which published configuration a state dict of the authors belongs to, from its tensors.

    Only base, im400 and im700 have the same tensors; there the file name decides.

    Raises:
        CheckpointError: these are not the weights of a YOLACT of the authors.
        ConfigError: the file name would have to tell and does not.
    """
    shape = {key: tuple(value.shape) for key, value in state_dict.items()}
    classes, boxes = "prediction_layers.0.conf_layer.bias", "prediction_layers.0.bbox_layer.bias"
    if classes not in shape or boxes not in shape:
        raise CheckpointError(
            f"'{file_name}' is neither a checkpoint of this project nor YOLACT weights as the authors saved them: "
            f"it has no tensor '{classes}'. An ImageNet backbone belongs into train.backbone_weights."
        )
    num_classes = shape[classes][0] // (shape[boxes][0] // 4) - 1
    if _is_darknet(state_dict, "backbone._preconv."):
        name = "yolact_darknet53"
    else:
        deep = "backbone.layers.2.22.conv1.weight" in shape
        plus = any("conv_offset_mask" in key for key in shape)
        if plus:
            name = "yolact_plus_base" if deep else "yolact_plus_resnet50"
        elif deep:
            name = _from_file_name(file_name)
        else:
            name = "yolact_resnet50_pascal" if num_classes == 20 else "yolact_resnet50"
    return Config(name=name, model=replace(PUBLISHED[name], num_classes=num_classes))


def _from_file_name(file_name: str) -> str:
    for name in ("yolact_base", "yolact_im400", "yolact_im700"):
        if Path(file_name).name.startswith(name):
            return name
    raise ConfigError(
        f"'{file_name}' holds ResNet-101 weights that fit yolact_base, yolact_im400 and yolact_im700 alike: "
        "say which by --config configs/<name>.yaml, or keep the published file name."
    )
