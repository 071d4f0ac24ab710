"""The authors' published weights (dbolya/yolact): their tensor names to ours and back, and which model they are.

Their files are bare state dicts. Only the names differ from ours, so both directions are a change of prefix.
"""

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from yolact.config import AnchorConfig, BackboneConfig, Config, ModelConfig, config_to_dict
from yolact.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)

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
_LEGACY = re.compile(r"backbone\.layer\d+|fpn\.downsample_layers\.([2-9]|\d\d)")
_ALIKE = ["yolact_base", "yolact_im400", "yolact_im700"]  # with the same tensors
_PARALLEL = "module."  # what DataParallel puts before every name
_THEIR_BACKBONES = "its backbones are ResNets of bottleneck blocks (resnet50, resnet101) and DarkNet-53"


class TheirWeights(NamedTuple):
    """A state dict of the authors' code without what does not belong to the network."""

    tensors: dict[str, Tensor]  # by the authors' names
    legacy: list[str]  # names of the tensors that were left out
    parallel: bool  # whether DataParallel's prefix was taken off


def clean(state_dict: Mapping[str, Tensor]) -> TheirWeights:
    """Take DataParallel's prefix off and leave out what older versions of the authors' code left in their files."""
    parallel = bool(state_dict) and all(key.startswith(_PARALLEL) for key in state_dict)
    bare = {key.removeprefix(_PARALLEL): value for key, value in state_dict.items()} if parallel else dict(state_dict)
    legacy = [key for key in bare if _LEGACY.match(key)]
    return TheirWeights({key: value for key, value in bare.items() if not _LEGACY.match(key)}, legacy, parallel)


def legacy_groups(names: list[str]) -> dict[str, int]:
    """Count the names of legacy tensors by the layer that they belong to, such as `backbone.layer1`."""
    matches = (_LEGACY.match(name) for name in names)
    return dict(Counter(match[0] for match in matches if match))


def convert(state_dict: Mapping[str, Tensor], file_name: str | None = None) -> dict[str, Tensor]:
    """Rename the tensors of a published state dict to ours, without the legacy duplicates.

    Args:
        file_name: where they come from, for messages.

    Raises:
        CheckpointError: a tensor's name is not one of the authors'.
    """
    theirs = clean(state_dict)
    if theirs.parallel:
        logger.info("took the prefix '%s' of DataParallel off %d names", _PARALLEL, len(state_dict))
    if theirs.legacy:
        groups = ", ".join(f"{layer} ({count})" for layer, count in legacy_groups(theirs.legacy).items())
        logger.info("left out %d tensors of older versions of the authors' code: %s", len(theirs.legacy), groups)
    pairs = _COMMON + (_DARKNET if _is_darknet(theirs.tensors, "backbone._preconv.") else _RESNET)
    renamed, unknown = _rename(theirs.tensors, dict(pairs))
    if unknown:
        origin = f" of '{file_name}'" if file_name else ""
        raise CheckpointError(
            f"The weights{origin} hold a tensor '{unknown[0]}', which is no part of a YOLACT network as the authors "
            "name it; give a checkpoint of this project or one that their code saved."
        )
    return renamed


def export(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of our state dict as the authors' code names them: the inverse of `convert`.

    Raises:
        CheckpointError: the authors' code has no such network.
    """
    pairs = _COMMON + (_DARKNET if _is_darknet(state_dict, "backbone.stem.") else _RESNET)
    renamed, unknown = _rename(state_dict, {ours: theirs for theirs, ours in pairs})
    if unknown:
        raise CheckpointError(
            f"The authors' code cannot hold this model: it has no tensor '{unknown[0]}'; {_THEIR_BACKBONES}."
        )
    return renamed


def _is_darknet(state_dict: Mapping[str, Tensor], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state_dict)


def _rename(state_dict: Mapping[str, Tensor], prefixes: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors by their new names, and the names that have none of the prefixes."""
    renamed, unknown = {}, []
    for key, value in state_dict.items():
        prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        if prefix is None:
            unknown.append(key)
        else:
            renamed[prefixes[prefix] + key[len(prefix) :]] = value
    return renamed, unknown


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
    classes = num_classes(state_dict, file_name)
    names = candidates(state_dict, file_name)
    if len(names) > 1:
        names = [name for name in names if Path(file_name).name.startswith(name)]
    if not names:
        raise ConfigError(
            f"'{file_name}' holds ResNet-101 weights that fit {', '.join(_ALIKE[:-1])} and {_ALIKE[-1]} alike: say "
            'which by --config NAME, in a notebook yolact.load(..., config="NAME"), or '
            "keep the published file name."
        )
    name, published = names[0], PUBLISHED[names[0]]
    if classes != published.num_classes:
        logger.warning(
            "%s: taken for %s with %d classes; weights do not hold the image size and the anchors, so give the "
            "configuration if they were trained with others than that model's", file_name, name, classes
        )  # fmt: skip
    return Config(name=name, model=replace(published, num_classes=classes))


def candidates(state_dict: Mapping[str, Tensor], file_name: str) -> list[str]:
    """Return the published configurations whose tensors a state dict of the authors could be.

    Raises:
        CheckpointError: these are not the weights of a YOLACT of the authors.
    """
    classes, tensors = num_classes(state_dict, file_name), clean(state_dict).tensors
    if _is_darknet(tensors, "backbone._preconv."):
        return ["yolact_darknet53"]
    # The third stage has 6 blocks in ResNet-50 and 23 in ResNet-101.
    deep = any(re.match(r"backbone\.layers\.2\.([6-9]|\d\d)\.", name) for name in tensors)
    if any("conv_offset_mask" in name for name in tensors):
        return ["yolact_plus_base" if deep else "yolact_plus_resnet50"]
    if deep:
        return _ALIKE
    return ["yolact_resnet50_pascal" if classes == 20 else "yolact_resnet50"]


def num_classes(state_dict: Mapping[str, Tensor], file_name: str) -> int:
    """Return C, the number of classes without background, of a state dict of the authors.

    What most of the layers that depend on it say, so that a single wrong tensor can be named when the weights are
    loaded.

    Raises:
        CheckpointError: there is no such layer.
    """
    tensors = clean(state_dict).tensors
    sizes = {key: len(value) for key, value in tensors.items() if value.ndim}
    votes = [sizes[key] for key in ("semantic_seg_conv.weight", "semantic_seg_conv.bias") if key in sizes]
    anchors = sizes.get("prediction_layers.0.bbox_layer.bias", 0) // 4
    votes += [size // anchors - 1 for key, size in sizes.items() if anchors and ".0.conf_layer." in key]
    votes = [vote for vote in votes if vote > 0]
    if not votes:
        raise CheckpointError(
            f"'{file_name}' is neither a checkpoint of this project nor YOLACT weights as the authors saved them: "
            "it has no tensor 'prediction_layers.0.conf_layer.bias'. An ImageNet backbone belongs into "
            "train.backbone_weights."
        )
    return Counter(votes).most_common(1)[0][0]


def nearest_published(model: ModelConfig) -> tuple[str, dict[str, Any]]:
    """Return the published configuration nearest to `model`, and the keys in which `model` differs, with its values.

    Raises:
        CheckpointError: the authors' code has no such backbone, or no such images.
    """
    if model.channels != 3:
        raise CheckpointError(
            f"The authors' code cannot hold this model: it takes images of {model.channels} channels (model.channels), "
            "and theirs of 3."
        )
    own, *others = (_flat(config_to_dict(Config(model=one))["model"]) for one in (model, *PUBLISHED.values()))
    differing = {}
    for name, theirs in zip(PUBLISHED, others, strict=True):
        if theirs["model.backbone.name"] == model.backbone.name:
            differing[name] = {key: value for key, value in own.items() if key not in theirs or value != theirs[key]}
    if not differing:
        raise CheckpointError(
            f"The authors' code cannot hold this model: its backbone is {model.backbone.name}; {_THEIR_BACKBONES}."
        )
    return min(differing.items(), key=lambda item: len(item[1]))


def _flat(value: Any, key: str = "model") -> dict[str, Any]:
    """Return the leaves of plain data by their dotted names."""
    if not isinstance(value, dict):
        return {key: value}
    return {leaf: v for name, item in value.items() for leaf, v in _flat(item, f"{key}.{name}").items()}
