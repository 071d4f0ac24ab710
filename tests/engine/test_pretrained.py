import functools
import hashlib
import http.server
import io
import threading
import urllib.error

import pytest
import torch
from torchvision.models import Weights, WeightsEnum, resnet18

from yolact.engine import pretrained
from yolact.engine.weights import load_backbone
from yolact.errors import CheckpointError
from yolact.models.backbones import ResNetFeatures
from yolact.models.darknet import DarkNetFeatures


def test_a_torchvision_file_loads_and_its_classifier_is_left_out(tmp_path):
    network = resnet18()
    torch.save(network.state_dict(), tmp_path / "own.pth")
    backbone = ResNetFeatures("resnet18")
    assert load_backbone(backbone, "resnet18", str(tmp_path / "own.pth")) == str(tmp_path / "own.pth")
    assert torch.equal(backbone.layer4[1].conv2.weight, network.layer4[1].conv2.weight)


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
    with pytest.raises(
        CheckpointError, match=r"could not be fetched .*no route to host.*backbone_weights=none"
    ) as caught:
        load_backbone(ResNetFeatures("resnet18"), "resnet18", "imagenet")
    assert "\n" not in str(caught.value)


@pytest.fixture
def server(tmp_path):
    """A web server on loopback and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", folder
        running.shutdown()


def downloaded(server, content, monkeypatch, tmp_path):
    """Let ResNet-18's weights come from the server, under the hash of the right content."""
    address, folder = server
    right = saved_bytes(resnet18().state_dict())
    name = f"resnet18-{hashlib.sha256(right).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(content or right)

    class Served(WeightsEnum):
        IMAGENET1K_V1 = Weights(url=f"{address}/{name}", transforms=None, meta={})

    monkeypatch.setattr(pretrained, "_torchvision_weights", lambda _: Served.IMAGENET1K_V1)
    monkeypatch.setattr(pretrained, "WEIGHTS_FOLDER", tmp_path / "weights")
    load_backbone(ResNetFeatures("resnet18"), "resnet18", "imagenet")
    return tmp_path / "weights" / name


def saved_bytes(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_a_download_is_kept_for_the_next_time(server, monkeypatch, tmp_path):
    assert downloaded(server, None, monkeypatch, tmp_path).is_file()


def test_a_download_with_the_wrong_bytes_is_refused(server, monkeypatch, tmp_path):
    wrong = saved_bytes(resnet18().state_dict())  # other random weights
    with pytest.raises(CheckpointError, match="invalid hash value"):
        downloaded(server, wrong, monkeypatch, tmp_path)
    assert not list((tmp_path / "weights").iterdir())


def test_darknet_without_a_file_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "WEIGHTS_FOLDER", tmp_path)
    with pytest.raises(CheckpointError, match=r"darknet53\.pth is not there"):
        load_backbone(DarkNetFeatures(), "darknet53", "imagenet")
