"""Fetching published weights from a server on loopback that answers as the Hugging Face Hub does."""

import hashlib
import json
import logging

import pytest

from yolact.compat import hub
from yolact.compat.hub import RemoteFile, fetch_backbone, fetch_published, repository_files
from yolact.compat.published import BACKBONE_FILES, BACKBONES_REPOSITORY, MODELS
from yolact.engine.pretrained import AUTHORS_FILES
from yolact.errors import DownloadError

REPOSITORY, NAME = "dbolya/yolact-base", "yolact_base_54_800000.pth"
LIST = f"/api/models/{REPOSITORY}/tree/main"
HASH = "0" * 64


@pytest.fixture
def server(file_server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", file_server.url + "/")
    return file_server


def test_the_public_address_is_the_default(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert hub._endpoint() == "https://huggingface.co"
    monkeypatch.setenv("HF_ENDPOINT", " ")
    assert hub._endpoint() == "https://huggingface.co"


def test_the_files_of_a_repository(server):
    server.files[LIST] = json.dumps(
        [
            {"type": "directory", "oid": "ab", "size": 0, "path": "figures"},
            {"type": "file", "oid": "ab", "size": 20, "path": "README.md"},
            {
                "type": "file",
                "oid": "ab",
                "size": 7,
                "path": "a b.pth",
                "lfs": {"oid": HASH, "size": 7},
                "xetHash": "x",
            },
        ]
    ).encode()
    assert repository_files(REPOSITORY) == {
        "README.md": RemoteFile(f"{server.url}/{REPOSITORY}/resolve/main/README.md", 20, None),
        "a b.pth": RemoteFile(f"{server.url}/{REPOSITORY}/resolve/main/a%20b.pth", 7, HASH),
    }


GOOD = {"type": "file", "oid": "ab", "size": 7, "path": "a.pth", "lfs": {"oid": HASH, "size": 7}}


@pytest.mark.parametrize(
    "content",
    [
        {"error": "Repository not found"},
        None,
        ["a.pth"],
        [{"path": "a.pth"}],
        *(
            [{**GOOD, "path": path}]
            for path in ("../a.pth", "/etc/a.pth", "b\\a.pth", "c:a.pth", "..", ".", "", "a\n", 5)
        ),
        *([{**GOOD, "size": size, "lfs": None}] for size in ("7", 7.0, -7, True, None)),
        [{**GOOD, "size": 8}],
        *([{**GOOD, "lfs": lfs}] for lfs in ("x", {}, {"oid": HASH[1:], "size": 7}, {"oid": HASH, "size": "7"})),
    ],
)
def test_a_list_that_is_not_as_the_hub_gives_it_is_refused(server, content):
    server.files[LIST] = json.dumps(content).encode()
    with pytest.raises(DownloadError, match=r"tree/main is not a list of files as the Hub gives it .*HF_ENDPOINT"):
        repository_files(REPOSITORY)


@pytest.mark.parametrize("name", MODELS.keys() - hub.UNPUBLISHED.keys())
def test_each_published_model_comes_under_its_published_name(server, tmp_path, name):
    content = name.encode() * 100
    server.publish(MODELS[name].repository, {MODELS[name].file_name: content, ".gitattributes": b"x"})
    path = fetch_published(name, tmp_path)
    assert path == tmp_path / MODELS[name].file_name
    assert path.read_bytes() == content


@pytest.mark.parametrize("file_name", BACKBONE_FILES)
def test_each_backbone(server, tmp_path, file_name):
    server.publish(BACKBONES_REPOSITORY, {file: file.encode() * 100 for file in BACKBONE_FILES})
    assert fetch_backbone(file_name, tmp_path).read_bytes() == file_name.encode() * 100


def test_models_and_backbones_are_those_of_the_other_tables():
    assert {name for name, model in MODELS.items() if model.repository is None} <= hub.UNPUBLISHED.keys()
    assert len(MODELS.keys() - hub.UNPUBLISHED.keys()) == 6
    assert set(BACKBONE_FILES) == set(AUTHORS_FILES.values())


def test_the_hash_of_the_repository_decides(server, tmp_path):
    server.publish(REPOSITORY, {NAME: b"right"})
    server.files[f"/{REPOSITORY}/resolve/main/{NAME}"] = b"wrong"
    with pytest.raises(DownloadError, match=f"instead of {hashlib.sha256(b'right').hexdigest()}"):
        fetch_published("yolact_base", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_only_weights_of_another_name_are_taken_and_named(server, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    server.publish(REPOSITORY, {"pytorch_model.pth": b"weights", "README.md": b"x"})
    assert fetch_published("yolact_base", tmp_path).name == NAME
    assert (tmp_path / NAME).read_bytes() == b"weights"
    assert "taking its only weights, pytorch_model.pth" in caplog.text


@pytest.mark.parametrize("files", [["a.pth", "b.pth"], ["README.md"]])
def test_weights_are_not_guessed(server, tmp_path, files):
    server.publish(REPOSITORY, dict.fromkeys(files, b"weights"))
    with pytest.raises(DownloadError, match=rf"{REPOSITORY} holds no '{NAME}'"):
        fetch_published("yolact_base", tmp_path)


def test_a_lone_file_of_the_backbones_is_not_taken_for_another(server, tmp_path):
    server.publish(BACKBONES_REPOSITORY, {"darknet53.pth": b"weights"})
    with pytest.raises(DownloadError, match=r"holds no 'resnet50.*its weights: darknet53\.pth"):
        fetch_backbone("resnet50-19c8e357.pth", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolact_im400", "published no weights"),
        ("yolact_resnet50_pascal", "only behind a link"),
        ("yolact_bse", "did you mean 'yolact_base'"),
    ],
)
def test_what_was_not_published_is_said_without_asking(server, tmp_path, name, message):
    with pytest.raises(DownloadError, match=message):
        fetch_published(name, tmp_path)
    assert server.log == []


def test_an_unknown_backbone(tmp_path):
    with pytest.raises(DownloadError, match=r"darknet53\.pth"):
        fetch_backbone("resnet18.pth", tmp_path)


def test_a_repository_that_is_not_there_is_one_sentence(server, tmp_path):
    with pytest.raises(DownloadError, match=r"404 Not Found.*check the address, or bring the file from .* by hand\.$"):
        fetch_published("yolact_base", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_what_is_there_is_taken_unchecked(server, tmp_path, caplog):
    (tmp_path / NAME).write_bytes(b"mine")
    assert fetch_published("yolact_base", tmp_path) == tmp_path / NAME  # the server lists nothing
    assert "was not checked" in caplog.text
    server.publish(REPOSITORY, {NAME: b"right"})
    with pytest.raises(DownloadError, match=r"is there but is not the file.*remove it"):
        fetch_published("yolact_base", tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"mine"
