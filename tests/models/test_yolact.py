import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.made import make_target
from yolact.compat.dbolya import PUBLISHED
from yolact.config import BackboneConfig, Config, ModelConfig
from yolact.config.schema import SMALLEST_FOR_MASK_IOU
from yolact.data.rendering import MaskCrops
from yolact.errors import ConfigError
from yolact.models import build_model
from yolact.models.backbones import DeformableConv2d, ResNetFeatures, take_channels
from yolact.models.yolact import FeaturePyramid, MaskIoUNet


def with_backbone(config, **options):
    return replace(config, model=replace(config.model, backbone=BackboneConfig(**options)))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "darknet53"])
def test_shapes_of_the_predictions(tiny_config, backbone):
    model = build_model(with_backbone(tiny_config, name=backbone)).eval()
    p = model(torch.rand(2, 3, 64, 64))
    anchors = (64 + 16 + 4 + 1 + 1) * 3
    assert model.anchors.shape == (anchors, 4)
    assert [tuple(field.shape) for field in p] == [
        (2, anchors, 4), (2, anchors, 4), (2, anchors, 8), (2, 8, 16, 16), (2, 3, 8, 8)
    ]  # fmt: skip
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
    close = pytest.approx(millions, abs=6e-4)
    assert (count + statistics) / 1e6 == close or count / 1e6 == close


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
    plain = nn.functional.conv2d(x, layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(layer(x), plain / 2)


@pytest.fixture
def multi_scale(tiny_config):
    return build_model(replace(tiny_config, train=replace(tiny_config.train, image_sizes=(48, 100))))


@pytest.mark.parametrize(
    ("size", "cells"), [(48, [36, 9, 4, 1, 1]), (64, [64, 16, 4, 1, 1]), (100, [169, 49, 16, 4, 1])]
)
def test_training_at_several_sizes_keeps_the_anchors_in_pixels(multi_scale, size, cells):
    assert multi_scale(torch.rand(2, 3, size, size)).class_logits.shape == (2, 3 * sum(cells), 4)
    anchors = multi_scale.head.coder((size, size)).anchors
    sides = (anchors[:, 2:] - anchors[:, :2]).prod(1).sqrt()  # the scale, whatever the ratio
    expected = torch.tensor([8.0, 16, 32, 48, 64]).repeat_interleave(3 * torch.tensor(cells))
    torch.testing.assert_close(sides[::3], expected[::3])


def test_evaluation_knows_one_size_and_the_weights_none(multi_scale, tiny_config):
    assert multi_scale.state_dict().keys() == build_model(tiny_config).state_dict().keys()
    multi_scale.eval()
    multi_scale(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match=r"expects images \[B, 3, 64, 64\], got \[1, 3, 48, 48\]"):
        multi_scale(torch.rand(1, 3, 48, 48))


@pytest.mark.parametrize("shape", [[3, 80, 80], [3, 32, 64], [1, 64, 64]])
def test_images_of_another_size_are_refused(multi_scale, shape):
    with pytest.raises(ValueError, match=r"expects images \[B, 3, 64, 64\], got \[1, "):
        multi_scale(torch.rand(1, *shape))


class Plain(nn.Module):
    """A backbone of three convolutions."""

    def __init__(self, strides=(8, 16, 32)):
        super().__init__()
        self.channels, self.strides = (4, 6, 10), strides
        self.convs = nn.ModuleList([nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 6, 2, 2), nn.Conv2d(6, 10, 2, 2)])

    def forward(self, images):
        maps = []
        for conv in self.convs:
            images = conv(images)
            maps.append(images)
        return maps


def test_a_backbone_of_ones_own_takes_the_place_of_the_configured_one(tiny_config):
    backbone = Plain()
    model = build_model(with_backbone(tiny_config, name="my own"), backbone)
    assert model.backbone is backbone
    assert model(torch.rand(2, 3, 64, 64)).class_logits.shape == (2, 3 * 86, 4)
    with pytest.raises(
        ConfigError, match=r"end in maps of strides \[8, 16, 32\] and say .*; Plain says strides \(4, 8, 16\)"
    ):
        build_model(tiny_config, Plain(strides=(4, 8, 16)))
    backbone.channels = (4, 6, 11)
    with pytest.raises(
        ConfigError, match=r"\(4, 6, 11\), .* makes maps \[C, H, W\] of \[\(4, 8, 8\), \(6, 4, 4\), \(10, 2, 2\)\]"
    ):
        build_model(tiny_config, backbone)
    backbone.forward = lambda images: {"fine": images}
    with pytest.raises(ConfigError, match="must return a list of maps, from the finest; Plain returns a dict"):
        build_model(tiny_config, backbone)


def test_the_loader_makes_masks_of_the_sizes_of_the_maps(tiny_config):
    """Of 100 pixels this backbone's finest map has 12, that of others 13."""
    config = replace(tiny_config, train=replace(tiny_config.train, image_sizes=(100,)))
    model = build_model(config, Plain())
    for side in (64, 100):
        maps = model(torch.rand(2, 3, side, side))
        target = MaskCrops(14, model.map_sizes).of(make_target([[4, 4, 40, 30]], side=side))
        assert target["semantic_masks"].shape[1:] == maps.semantic_logits.shape[2:]


def test_images_of_other_channels_are_normalised_each_by_its_own(tiny_config):
    def build(**changes):
        return build_model(replace(tiny_config, model=replace(tiny_config.model, **changes)))

    one = build(channels=1)  # ImageNet's averages: 344.4 / 3 and 172.9 / 3
    assert one.pixel_mean.flatten().tolist() == pytest.approx([114.8 / 255])
    assert one.pixel_std.flatten().tolist() == pytest.approx([57.6333 / 255])
    four = build(channels=4, pixel_mean=(0.0, 51.0, 102.0, 255.0))
    assert four.pixel_mean.flatten().tolist() == pytest.approx([0, 0.2, 0.4, 1])
    assert four(torch.rand(1, 4, 64, 64)).prototypes.shape == (1, 8, 16, 16)
    with pytest.raises(ValueError, match=r"expects images \[B, 4, 64, 64\], got \[1, 3, 64, 64\]"):
        four(torch.rand(1, 3, 64, 64))
    # What a random first convolution gives is spread as before.
    spreads = [float(build(channels=count).backbone.conv1.weight.detach().std()) for count in (3, 48)]
    assert spreads[1] == pytest.approx(spreads[0] / 4, rel=0.05)


def test_a_backbone_of_other_channels_is_refused(tiny_config):
    four = replace(tiny_config, model=replace(tiny_config.model, channels=4))
    with pytest.raises(ConfigError, match=r"takes no image of 64 x 64 pixels and 4 channels \(model\.channels\): "):
        build_model(four, Plain())
    patch = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 1))
    with pytest.raises(ConfigError, match=r"does not begin with a convolution of three channels.*model\.channels=4"):
        take_channels(patch, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet5"}, r"model\.backbone\.name .* is 'resnet5'; did you mean 'resnet50'\?"),
        ({"name": "vit"}, r"is 'vit'; known are resnet18, .*darknet53"),
        ({"name": "darknet53", "deformable_blocks": (0, 4, 6, 3)}, r"darknet53 has no deformable form: set it to"),
    ],
)
def test_a_backbone_that_cannot_be_built_is_one_sentence(tiny_config, options, message):
    with pytest.raises(ConfigError, match=message):
        build_model(with_backbone(tiny_config, **options))


@pytest.mark.parametrize(
    ("name", "channels"), [("convnext_tiny", (96, 192, 384, 768)), ("timm/resnet18d", (64, 64, 128, 256, 512))]
)
def test_other_networks_give_their_maps(tiny_config, name, channels):
    if name.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is not installed")
    model = build_model(with_backbone(tiny_config, name=name))
    assert model.backbone.channels == channels
    assert model.backbone.strides[-4:] == (4, 8, 16, 32)
    assert model(torch.rand(1, 3, 64, 64)).prototypes.shape == (1, 8, 16, 16)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/nosuch", r"is 'timm/nosuch', which timm cannot build \(Unknown model \(nosuch\)\)\."),
        (
            "timm/vit_tiny_patch16_224",
            r"takes no image of 64 x 64 pixels .*: Input height \(64\) doesn't match model \(224\)",
        ),
        ("timm/swinv2_cr_tiny_ns_224", r"takes no image of 64 x 64 pixels|must end in maps of strides \[8, 16, 32\]"),
    ],
)
def test_networks_of_timm_without_such_maps_are_refused(tiny_config, name, message):
    pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(ConfigError, match=message):
        build_model(with_backbone(tiny_config, name=name))


def test_without_timm_its_networks_are_one_sentence(tiny_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"timm is not installed: run `pip install 'yolact\[timm\]'`"):
        build_model(with_backbone(tiny_config, name="timm/resnet18d"))


def test_an_unknown_number_of_classes_is_refused():
    with pytest.raises(ConfigError, match=r"model\.num_classes"):
        build_model(Config(model=ModelConfig(num_classes=None)))


def prototype_side(image_size):
    """Three halvings that round up lead to P3; the prototypes are twice its size."""
    for _ in range(3):
        image_size = -(-image_size // 2)
    return 2 * image_size


def test_the_smallest_image_gives_the_smallest_mask_that_fits():
    net = MaskIoUNet(num_classes=4)
    side = prototype_side(SMALLEST_FOR_MASK_IOU)
    assert net(torch.rand(2, 1, side, side)).shape == (2, 4)
    side = prototype_side(SMALLEST_FOR_MASK_IOU - 1)
    with pytest.raises(RuntimeError, match="Kernel size"):
        net(torch.rand(2, 1, side, side))


def leave_nan_in_freed_memory() -> None:
    blocks = [torch.full((size,), torch.nan) for size in (1000, 10_000, 100_000) for _ in range(20)]
    assert blocks


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (5, 1), (1, 2), (1, 5), (2, 2), (3, 3)])
def test_gradients_of_narrow_levels_in_bf16_are_those_of_fp32(size):
    torch.manual_seed(0)
    pyramid = FeaturePyramid([8], 16, num_extra=2)
    x = torch.randn(2, 8, *size)
    gradients = []
    for is_half in (False, True, True, True):
        leave_nan_in_freed_memory()
        pyramid.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            levels = pyramid([x])
        assert [level.shape[-1] for level in levels] == [size[1], (size[1] + 1) // 2, (size[1] + 3) // 4]
        sum(level.float().square().sum() for level in levels).backward()
        gradients.append([parameter.grad for parameter in pyramid.parameters()])
    for half in gradients[1:]:
        torch.testing.assert_close(half, gradients[0], rtol=0.1, atol=0.1)
