from dataclasses import replace

import pytest
import torch

from yolact.compat.dbolya import PUBLISHED
from yolact.config import BackboneConfig, Config, ModelConfig
from yolact.errors import ConfigError
from yolact.models import build_model
from yolact.models.backbones import DeformableConv2d, ResNetFeatures


@pytest.mark.parametrize("backbone", ["resnet18", "resnet34", "resnet50", "darknet53"])
def test_shapes_of_the_predictions(tiny_config, backbone):
    config = replace(tiny_config, model=replace(tiny_config.model, backbone=BackboneConfig(name=backbone)))
    model = build_model(config).eval()
    p = model(torch.rand(2, 3, 64, 64))
    anchors = (64 + 16 + 4 + 1 + 1) * 3
    assert model.anchors.shape == (anchors, 4)
    assert p.class_logits.shape == (2, anchors, 4)
    assert p.box_deltas.shape == (2, anchors, 4)
    assert p.mask_coefficients.shape == (2, anchors, 8)
    assert p.prototypes.shape == (2, 8, 16, 16)
    assert p.semantic_logits.shape == (2, 3, 8, 8)
    assert p.mask_coefficients.abs().max() <= 1
    assert p.prototypes.min() >= 0


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("yolact_base", 50.157),
        ("yolact_resnet50", 31.165),
        ("yolact_darknet53", 47.783),
        ("yolact_plus_resnet50", 33.766),
    ],
)
def test_as_many_parameters_as_the_published_models(name, millions):
    with torch.device("meta"):
        model = build_model(Config(model=PUBLISHED[name]))
    count = sum(p.numel() for p in model.parameters())
    statistics = sum(b.numel() for n, b in model.named_buffers() if "running" in n or "num_batches" in n)
    assert (count + statistics) / 1e6 == pytest.approx(millions, abs=6e-4) or count / 1e6 == pytest.approx(
        millions, abs=6e-4
    )


def test_both_modes_compute_the_same_forward(tiny_config):
    model = build_model(tiny_config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    images = torch.rand(1, 3, 64, 64)
    model.training = True
    trained = model(images)
    model.training = False
    for a, b in zip(trained, model(images), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("name", "blocks", "interval", "places"),
    [
        ("resnet101", (0, 4, 23, 3), 3, {"layer2": [0, 3], "layer3": [0, 3, 6, 9, 12, 15, 18, 21], "layer4": [0]}),
        ("resnet50", (0, 4, 6, 3), 1, {"layer2": [0, 1, 2, 3], "layer3": [0, 1, 2, 3, 4, 5], "layer4": [0, 1, 2]}),
    ],
)
def test_deformable_blocks_stand_where_the_authors_put_them(name, blocks, interval, places):
    with torch.device("meta"):
        backbone = ResNetFeatures(name, blocks, interval)
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        found = [i for i, block in enumerate(getattr(backbone, stage)) if isinstance(block.conv2, DeformableConv2d)]
        assert found == places.get(stage, [])


def test_a_fresh_deformable_convolution_is_half_the_plain_one():
    layer = DeformableConv2d(4, 6, stride=2)
    x = torch.rand(1, 4, 9, 9)
    plain = torch.nn.functional.conv2d(x, layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(layer(x), plain / 2)


@pytest.fixture
def multi_scale(tiny_config):
    return build_model(replace(tiny_config, train=replace(tiny_config.train, image_sizes=(48, 100))))


@pytest.mark.parametrize(
    ("size", "cells"), [(48, 36 + 9 + 4 + 1 + 1), (64, 64 + 16 + 4 + 1 + 1), (100, 169 + 49 + 16 + 5)]
)
def test_training_at_several_sizes(multi_scale, size, cells):
    p = multi_scale(torch.rand(2, 3, size, size))
    assert p.class_logits.shape == (2, 3 * cells, 4)
    assert multi_scale.unit_anchors_of(size).shape == (3 * cells, 4)


def test_evaluation_knows_one_size(multi_scale):
    assert torch.equal(multi_scale.anchors, multi_scale.unit_anchors_of(64) * 64)
    multi_scale.eval()
    multi_scale(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"expects images \[B, 3, 64, 64\], got \[1, 3, 48, 48\]"):
        multi_scale(torch.rand(1, 3, 48, 48))


def test_sizes_of_training_are_not_part_of_the_weights(multi_scale, tiny_config):
    assert multi_scale.state_dict().keys() == build_model(tiny_config).state_dict().keys()


def test_images_of_another_size_are_refused(tiny_config, multi_scale):
    with pytest.raises(ValueError, match=r"expects images \[B, 3, 64, 64\], got \[1, 3, 80, 80\]"):
        multi_scale(torch.rand(1, 3, 80, 80))
    with pytest.raises(ValueError, match=r"expects images \[B, 3, 64, 64\], got \[1, 3, 32, 64\]"):
        build_model(tiny_config)(torch.rand(1, 3, 32, 64))


def test_an_unknown_number_of_classes_is_refused():
    with pytest.raises(ConfigError, match=r"model\.num_classes"):
        build_model(Config(model=ModelConfig(num_classes=None)))
