from dataclasses import replace

import pytest
import torch
from torch import nn

from yolact.config import BackboneConfig
from yolact.models import build_model
from yolact.models.inference import fold_batch_norms, for_inference

BACKBONES = {
    "resnet18": BackboneConfig(name="resnet18"),
    "resnet10_half": BackboneConfig(name="resnet10_half"),
    "resnet50": BackboneConfig(name="resnet50"),
    "darknet53": BackboneConfig(name="darknet53"),
    "deformable": BackboneConfig(name="resnet50", deformable_blocks=(0, 4, 6, 3)),
}


def make(tiny_config, backbone, **options):
    """Return a model in evaluation mode whose batch norms do something."""
    model = build_model(
        replace(tiny_config, model=replace(tiny_config.model, backbone=BACKBONES[backbone], **options))
    ).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


@pytest.mark.parametrize("backbone", BACKBONES)
def test_folding_changes_rounding_only(tiny_config, backbone):
    model = make(tiny_config, backbone)
    images = torch.rand(2, 3, 64, 64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copied = for_inference(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copied.modules())
    with torch.no_grad():
        for ours, theirs in zip(copied(images), model(images), strict=True):
            assert ours.dtype == torch.float32
            assert (ours - theirs).norm() <= 1e-4 * theirs.norm()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_half_the_bits_are_used_where_they_can_be(tiny_config):
    model = make(tiny_config, "deformable", image_size=256, mask_iou=True)
    copied = for_inference(model, torch.bfloat16)
    assert copied.head.shared.weight.dtype == copied.semantic.weight.dtype == torch.bfloat16
    assert copied.anchors.dtype == copied.pixel_mean.dtype == torch.float32
    assert {p.dtype for p in copied.mask_iou.parameters()} == {torch.float32}
    assert copied.backbone.layer4[0].conv2.weight.dtype == torch.float32
    half = torch.rand(1, 3, 256, 256).bfloat16()
    with torch.no_grad():
        assert copied.backbone.conv1(half).dtype == torch.bfloat16  # it takes no input of another type than its weights
        with pytest.raises(RuntimeError):
            copied.backbone.conv1(half.float())
    images = torch.rand(1, 3, 256, 256)
    with torch.no_grad():
        exact, coarse = (network(images).class_logits for network in (model, copied))
    assert coarse.dtype == torch.bfloat16
    assert (coarse.float() - exact).norm() < 0.1 * exact.norm()


def test_a_norm_that_certainly_follows_no_convolution_stays():
    """One that begins a Sequential takes whatever comes in, although a convolution stands before it in the module."""
    inner = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model = nn.Sequential(nn.Conv2d(3, 3, 1), inner, nn.ReLU(), nn.BatchNorm2d(3)).eval()
    for norm in (inner[0], inner[3], model[3]):
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
    x = torch.rand(2, 3, 4, 4)
    expected = model(x)
    fold_batch_norms(model)
    kept = [isinstance(norm, nn.BatchNorm2d) for norm in (inner[0], inner[3], model[3])]
    assert kept == [True, False, True]
    torch.testing.assert_close(model(x), expected)
