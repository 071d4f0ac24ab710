import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from compare import STATE_DICTS

from yolact.compat import dbolya
from yolact.config import AnchorConfig, BackboneConfig, ModelConfig
from yolact.errors import CheckpointError, ConfigError


def shapes_of(name):
    return {key: torch.empty(shape, device="meta") for key, shape, _ in STATE_DICTS[name]}


@pytest.mark.parametrize("name", ["yolact_resnet50", "yolact_darknet53", "yolact_plus_base", "yolact_resnet50_pascal"])
def test_tensors_tell_the_model_where_they_can(name):
    assert dbolya.recognise(shapes_of(name), "weights.pth").name == name


def test_only_the_file_name_tells_the_three_sizes_apart():
    with pytest.raises(ConfigError, match="yolact_base, yolact_im400 and yolact_im700 alike: say which by") as told:
        dbolya.recognise(shapes_of("yolact_base"), "weights.pth")
    assert "which by --config NAME" in str(told.value)
    assert 'yolact.load(..., config="NAME")' in str(told.value)


@pytest.mark.parametrize("name", ["yolact_base_mine_12_5000.pth", "weights/yolact_im700_54_800000 (1).pth"])
def test_whatever_follows_the_name_of_the_model_does_not_matter(name):
    assert dbolya.recognise(shapes_of("yolact_base"), name).name in Path(name).name


CLASS_LAYERS = {
    "prediction_layers.0.conf_layer.weight": (3 * (1 + 4), 256, 3, 3),
    "prediction_layers.0.conf_layer.bias": (3 * (1 + 4),),
    "semantic_seg_conv.weight": (4, 256, 1, 1),
    "semantic_seg_conv.bias": (4,),
}


def test_another_number_of_classes_is_read_from_the_tensors_and_doubted(caplog):
    weights = shapes_of("yolact_resnet50")
    weights |= {key: torch.empty(shape, device="meta") for key, shape in CLASS_LAYERS.items()}
    config = dbolya.recognise(weights, "mine.pth")
    assert (config.name, config.model.num_classes) == ("yolact_resnet50", 4)
    assert "mine.pth: taken for yolact_resnet50 with 4 classes" in caplog.text
    caplog.clear()
    dbolya.recognise(shapes_of("yolact_resnet50"), "weights.pth")
    assert caplog.text == ""


@pytest.mark.parametrize("key", [*CLASS_LAYERS, "prediction_layers.0.bbox_layer.bias"])
@pytest.mark.parametrize("name", ["yolact_plus_resnet50", "yolact_resnet50_pascal"])
def test_one_wrong_or_missing_tensor_does_not_hide_the_number_of_classes(key, name):
    weights, classes = shapes_of(name), dbolya.PUBLISHED[name].num_classes
    for wrong in (torch.empty(6), torch.empty(0), torch.tensor(1.0)):
        assert dbolya.num_classes({**weights, key: wrong}, "weights.pth") == classes
    del weights[key]
    assert dbolya.recognise(weights, "weights.pth").name == name


def test_a_missing_tensor_does_not_hide_the_backbone():
    weights = shapes_of("yolact_base")
    del weights["backbone.layers.2.22.conv1.weight"]
    assert dbolya.recognise(weights, "yolact_im400_54_800000.pth").name == "yolact_im400"


def test_legacy_duplicates_are_dropped_and_counted(caplog):
    weights = shapes_of("yolact_resnet50")
    names = ["backbone.layer1.0.conv1.weight", "backbone.layer1.0.bn1.bias", "fpn.downsample_layers.2.weight"]
    with caplog.at_level(logging.INFO):
        converted = dbolya.convert({**dict.fromkeys(names, torch.zeros(1)), **weights})
    assert list(converted) == list(dbolya.convert(weights))
    assert "left out 3 tensors" in caplog.text
    assert "backbone.layer1 (2), fpn.downsample_layers.2 (1)" in caplog.text


def test_the_prefix_of_data_parallel_is_taken_off_and_counted(caplog):
    weights = shapes_of("yolact_darknet53")
    parallel = {f"module.{key}": value for key, value in weights.items()}
    with caplog.at_level(logging.INFO):
        assert list(dbolya.convert(parallel)) == list(dbolya.convert(weights))
    assert "'module.' of DataParallel off 348 names" in caplog.text
    assert dbolya.recognise(parallel, "weights.pth").name == "yolact_darknet53"


def test_a_prefix_of_some_names_only_is_not_understood():
    weights = shapes_of("yolact_resnet50")
    weights["module.proto_net.0.bias"] = weights.pop("proto_net.0.bias")
    with pytest.raises(CheckpointError, match=r"'module\.proto_net\.0\.bias'"):
        dbolya.convert(weights)


def test_an_unknown_tensor_is_named():
    with pytest.raises(CheckpointError, match=r"^The weights hold a tensor 'fc\.weight'"):
        dbolya.convert({"fc.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"^The weights of 'a/b\.pth' hold a tensor 'fc\.weight'"):
        dbolya.convert({"fc.weight": torch.zeros(1)}, "a/b.pth")


def test_a_backbone_is_not_mistaken_for_a_model():
    with pytest.raises(CheckpointError, match=r"train\.backbone_weights"):
        dbolya.recognise({"conv1.weight": torch.zeros(1)}, "resnet50-19c8e357.pth")


@pytest.mark.parametrize("name", list(dbolya.PUBLISHED))
def test_a_published_model_is_nearest_to_itself(name):
    assert dbolya.nearest_published(dbolya.PUBLISHED[name]) == (name, {})


COCO_SCALES = {"model.anchors.scales": [[24], [48], [96], [192], [384]]}


@pytest.mark.parametrize(
    ("name", "changes", "differing"),
    [
        ("yolact_im700", {"num_classes": 3}, {"model.num_classes": 3}),
        (
            "yolact_resnet50_pascal",
            {"anchors": AnchorConfig(), "fpn_channels": 9},
            COCO_SCALES | {"model.fpn_channels": 9},
        ),
        ("yolact_plus_resnet50", {"mask_iou": False}, {"model.mask_iou": False}),
    ],
)
def test_what_differs_from_every_published_model(name, changes, differing):
    assert dbolya.nearest_published(replace(dbolya.PUBLISHED[name], **changes)) == (name, differing)


@pytest.mark.parametrize("backbone", ["resnet18", "convnext_tiny", "timm/efficientnet_b0"])
def test_a_backbone_that_the_authors_code_lacks_is_one_sentence(backbone):
    model = ModelConfig(num_classes=2, backbone=BackboneConfig(name=backbone))
    with pytest.raises(CheckpointError, match=f"its backbone is {backbone}; its backbones are ResNets"):
        dbolya.nearest_published(model)


def test_a_tensor_that_the_authors_code_lacks_is_named():
    weights = {"backbone.conv1.weight": torch.zeros(1), "backbone.features.0.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"cannot hold this model: .* no tensor 'backbone\.features\.0\.weight'"):
        dbolya.export(weights)
