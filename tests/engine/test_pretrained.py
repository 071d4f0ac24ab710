import logging
import urllib.error

import pytest
import torch
from torchvision.models import resnet18, resnet50

from yolact.config import BackboneConfig
from yolact.engine import pretrained
from yolact.engine.pretrained import for_channels, load_backbone
from yolact.errors import CheckpointError
from yolact.models import BACKBONES
from yolact.models.backbones import DarkNetFeatures, ResNetFeatures, TimmFeatures, take_channels


def test_a_file_under_weights_is_preferred_and_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS_FOLDER", tmp_path)
    network = resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    backbone = ResNetFeatures("resnet18")
    load_backbone(backbone, "resnet18", "imagenet")
    assert torch.equal(backbone.conv1.weight, network.conv1.weight)


def test_the_authors_darknet_names_are_understood(tmp_path):
    source = DarkNetFeatures()
    theirs = {k.replace("stem.", "_preconv.").replace("stages.", "layers."): v for k, v in source.state_dict().items()}
    torch.save(theirs, tmp_path / "darknet53.pth")
    backbone = DarkNetFeatures()
    load_backbone(backbone, "darknet53", str(tmp_path / "darknet53.pth"))
    assert torch.equal(backbone.stages[4][0][0].weight, source.stages[4][0][0].weight)


def test_the_plain_convolution_seeds_the_deformable_one(tmp_path):
    plain = ResNetFeatures("resnet50")
    torch.save(plain.state_dict(), tmp_path / "own.pth")
    backbone = ResNetFeatures("resnet50", (0, 4, 6, 3))
    load_backbone(backbone, "resnet50", str(tmp_path / "own.pth"))
    assert torch.equal(backbone.layer4[2].conv2.weight, plain.layer4[2].conv2.weight)
    assert not backbone.layer4[2].conv2.conv_offset_mask.weight.any()


def test_weights_of_another_backbone_are_refused(tmp_path):
    torch.save(resnet18().state_dict(), tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match="does not fit this backbone"):
        load_backbone(ResNetFeatures("resnet50"), "resnet50", str(tmp_path / "own.pth"))


def test_offline_without_a_file_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS_FOLDER", tmp_path / "weights")

    def offline(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(CheckpointError, match=r"could not be fetched .*no route to host.*backbone_weights=none"):
        load_backbone(ResNetFeatures("resnet18"), "resnet18", "imagenet")


def test_later_weights_of_torchvision_have_files_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS_FOLDER", tmp_path)
    network = resnet50()
    torch.save(network.state_dict(), tmp_path / "resnet50-11ad3fa6.pth")
    backbone = ResNetFeatures("resnet50")
    assert load_backbone(backbone, "resnet50", "imagenet_v2").endswith("resnet50-11ad3fa6.pth")
    assert torch.equal(backbone.conv1.weight, network.conv1.weight)
    with pytest.raises(CheckpointError, match="imagenet_v2, which torchvision does not have for 'resnet18'"):
        load_backbone(ResNetFeatures("resnet18"), "resnet18", "imagenet_v2")


def test_weights_of_timm_without_a_network_are_one_sentence(monkeypatch):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    backbone, create = TimmFeatures("resnet18d"), timm.create_model

    def offline(*arguments, pretrained, **options):
        if pretrained:
            raise OSError("no route\nto host")
        return create(*arguments, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        CheckpointError, match=r"timm's resnet18d could not be fetched \(.*no route.*backbone_weights=none"
    ):
        load_backbone(backbone, "timm/resnet18d", "imagenet")


def test_darknet_without_a_file_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match=r"fetch .*darknet53\.pth by `yolact weights darknet53`"):
        load_backbone(DarkNetFeatures(), "darknet53", "imagenet")


@pytest.mark.parametrize(("channels", "expected"), [(1, [9.0]), (2, [4.5, 4.5]), (4, [2.25] * 4), (3, [1.0, 2.0, 6.0])])
def test_the_first_convolution_is_averaged_and_repeated(channels, expected, caplog):
    backbone = torch.nn.Sequential(torch.nn.Conv2d(channels, 1, 1), torch.nn.Conv2d(1, 1, 1))
    weights = {"0.weight": torch.tensor([1.0, 2.0, 6.0]).view(1, 3, 1, 1), "1.weight": torch.ones(1, 1, 1, 1)}
    with caplog.at_level(logging.INFO):
        found = for_channels(backbone, weights)
    assert found["0.weight"].flatten().tolist() == expected
    assert torch.equal(found["1.weight"], weights["1.weight"])
    assert ("0.weight: averaged over its 3 channels" in caplog.text) == (channels != 3)


@pytest.mark.parametrize("name", ["resnet18", "resnet10_half", "darknet53", "convnext_tiny", "timm/resnet18d"])
@pytest.mark.parametrize("channels", [1, 5])
def test_a_gray_image_is_seen_as_before(name, channels, tmp_path):
    if name.startswith("timm/"):
        pytest.importorskip("timm", reason="timm is not installed")
    make = TimmFeatures if name.startswith("timm/") else BACKBONES[name]
    source, backbone = (
        make("resnet18d" if make is TimmFeatures else BackboneConfig(name=name)).eval() for _ in range(2)
    )
    torch.save(source.state_dict(), tmp_path / "rgb.pth")
    take_channels(backbone, channels)
    load_backbone(backbone, name, str(tmp_path / "rgb.pth"))
    gray = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        maps = zip(source(gray.expand(-1, 3, -1, -1)), backbone(gray.expand(-1, channels, -1, -1)), strict=True)
        assert all(torch.allclose(before, after, rtol=1e-3, atol=1e-4) for before, after in maps)
