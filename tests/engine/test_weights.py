import functools
import hashlib
import http.server
import io
import logging
import threading
import urllib.error
from dataclasses import replace

import pytest
import torch
from torchvision.models import Weights, WeightsEnum, resnet18

from yolact.engine import weights
from yolact.engine.weights import load_backbone, transfer_weights
from yolact.errors import CheckpointError
from yolact.models import build_model
from yolact.models.backbones import ResNetFeatures
from yolact.models.darknet import DarkNetFeatures


def test_a_torchvision_file_loads_and_its_classifier_is_left_out(tmp_path):
    network = resnet18()
    torch.save(network.state_dict(), tmp_path / "own.pth")
    backbone = ResNetFeatures("resnet18")
    assert load_backbone(backbone, "resnet18", str(tmp_path / "own.pth")) == str(tmp_path / "own.pth")
    assert torch.equal(backbone.layer4[1].conv2.weight, network.layer4[1].conv2.weight)


def test_a_file_under_weights_is_preferred_and_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "WEIGHTS_FOLDER", tmp_path)
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
    monkeypatch.setattr(weights, "WEIGHTS_FOLDER", tmp_path / "weights")

    def offline(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.urlopen", offline)
    with pytest.raises(
        CheckpointError, match=r"could not be fetched .*no route to host.*backbone_weights=none"
    ) as caught:
        load_backbone(ResNetFeatures("resnet18"), "resnet18", "imagenet")
    assert "\n" not in str(caught.value)


def saved_bytes(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server on loopback and the folder that it serves."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "served").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", tmp_path / "served"
        running.shutdown()


@pytest.mark.parametrize("is_right", [True, False])
def test_a_download_is_kept_if_it_has_the_right_bytes(server, monkeypatch, tmp_path, is_right):
    right, wrong = (saved_bytes(resnet18().state_dict()) for _ in range(2))
    name = f"resnet18-{hashlib.sha256(right).hexdigest()[:8]}.pth"
    address, folder = server
    (folder / name).write_bytes(right if is_right else wrong)

    class Served(WeightsEnum):
        IMAGENET1K_V1 = Weights(url=f"{address}/{name}", transforms=None, meta={})

    monkeypatch.setattr(weights, "_torchvision_weights", lambda _: Served.IMAGENET1K_V1)
    monkeypatch.setattr(weights, "WEIGHTS_FOLDER", tmp_path / "weights")
    if is_right:
        load_backbone(ResNetFeatures("resnet18"), "resnet18", "imagenet")
    else:
        with pytest.raises(CheckpointError, match="invalid hash value"):
            load_backbone(ResNetFeatures("resnet18"), "resnet18", "imagenet")
    assert [file.name for file in (tmp_path / "weights").iterdir()] == [name] * is_right


def test_darknet_without_a_file_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match=r"darknet53\.pth is not there"):
        load_backbone(DarkNetFeatures(), "darknet53", "imagenet")


def test_a_head_of_other_classes_is_remade_and_listed(tiny_config, caplog):
    source = build_model(tiny_config)
    model = build_model(replace(tiny_config, model=replace(tiny_config.model, num_classes=1)))
    with caplog.at_level(logging.INFO):
        remade = transfer_weights(model, source.state_dict(), "old.pth")
    assert set(remade) == {"head.class_logits.weight", "head.class_logits.bias", "semantic.weight", "semantic.bias"}
    assert "re-made head.class_logits.bias [6]: the file has [12]" in caplog.text
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]) == (name not in remade) or name.endswith("semantic.bias")


def test_another_kind_of_model_is_refused(tiny_config):
    with pytest.raises(CheckpointError, match=r"Only 0 of the model's \d+ tensors"):
        transfer_weights(build_model(tiny_config), {"fc.weight": torch.zeros(1)}, "classifier.pth")
