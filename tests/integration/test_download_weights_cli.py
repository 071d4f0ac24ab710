"""scripts/download_weights.py against a server on loopback: as a user runs it, and killed in the middle."""

import os
import random
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from yolact.compat.published import BACKBONE_FILES, BACKBONES_REPOSITORY, MODELS
from yolact.errors import exit_on_user_error

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "download_weights.py"
NAME = MODELS["yolact_base"].file_name
WEIGHTS = random.Random(0).randbytes(1_000_000)


@pytest.fixture(scope="module")
def command(load_script):
    return load_script("download_weights")


@pytest.fixture
def server(file_server, monkeypatch):
    """A server with everything that was published."""
    monkeypatch.setenv("HF_ENDPOINT", file_server.url)
    file_server.publish(BACKBONES_REPOSITORY, {file: file.encode() for file in BACKBONE_FILES})
    for model in MODELS.values():
        if model.repository:
            file_server.publish(model.repository, {model.file_name: WEIGHTS})
    return file_server


def outcome(command, arguments, capsys):
    """Run a command line as the shell would; return its exit code, what it printed, and its lines on stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        exit_on_user_error(lambda: command.main([*map(str, arguments)]))
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return stopped.value.code, printed.out, printed.err.splitlines()


def test_everything(command, server, tmp_path, capsys):
    code, printed, _ = outcome(command, ["--all", "--folder", tmp_path / "w"], capsys)
    assert not code
    files = sorted(path.name for path in (tmp_path / "w").iterdir())
    assert files == sorted([*BACKBONE_FILES, *(model.file_name for model in MODELS.values() if model.file_name)])
    assert (tmp_path / "w" / NAME).read_bytes() == WEIGHTS
    assert f"yolact_base: {tmp_path / 'w' / NAME}" in printed
    assert len(printed.splitlines()) == 9


def test_names_of_models_and_backbones(command, server, tmp_path, capsys):
    code, printed, _ = outcome(command, ["yolact_base", "resnet50", "yolact_base", "--folder", tmp_path], capsys)
    assert not code
    assert [line.split(":")[0] for line in printed.splitlines()] == ["yolact_base", "resnet50"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resnet50-19c8e357.pth", NAME]


def test_after_a_failure_the_others_still_come(command, server, tmp_path, capsys):
    del server.files[f"/{MODELS['yolact_base'].repository}/resolve/main/{NAME}"]
    code, printed, errors = outcome(command, ["--all", "--folder", tmp_path], capsys)
    assert code == 2
    assert len(printed.splitlines()) == 8
    assert any(line.startswith("yolact_base: ") and "404 Not Found" in line for line in errors)
    assert errors[-1] == "error: 1 of 9 could not be fetched: yolact_base; see above why."
    assert len(list(tmp_path.iterdir())) == 8


def test_the_list_needs_no_network_and_says_what_is_there(command, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (tmp_path / NAME).write_bytes(WEIGHTS)
    (tmp_path / "darknet53.pth.part").write_bytes(WEIGHTS * 2)
    code, printed, errors = outcome(command, ["--list", "--folder", tmp_path], capsys)
    assert (bool(code), errors) == (False, [])
    rows = {line.split()[0]: line for line in printed.splitlines() if line}
    assert re.fullmatch(rf"yolact_base +{NAME} +YOLACT-550, ResNet-101 +yes, 1\.0 MB", rows["yolact_base"])
    assert rows["darknet53"].endswith("a part, 2.0 MB")
    assert rows["resnet101"].endswith("no")
    assert {*MODELS, "resnet50", "resnet101", "darknet53", "yolact_resnet50_pascal:"} - rows.keys() == {"yolact_im400"}
    assert "published no weights" in rows["yolact_im400:"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yolact_bas", "did you mean 'yolact_base'?"),
        ("resnet51", "did you mean 'resnet50'?"),
        ("mask-rcnn", "known are yolact_resnet50, "),
        ("yolact_im400", "published no weights"),
        ("yolact_resnet50_pascal", "only behind a link"),
    ],
)
def test_a_name_that_cannot_be_fetched_stops_before_anything_comes(command, server, tmp_path, capsys, name, message):
    code, _, errors = outcome(command, ["resnet50", name, "--folder", tmp_path / "w"], capsys)
    assert (code, len(errors)) == (2, 1)
    assert errors[0].startswith("error: ")
    assert message in errors[0]
    assert server.log == []
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("arguments", [[], ["--all", "--list"], ["yolact_base", "--all"]])
def test_what_to_do_must_be_clear(command, arguments, capsys):
    code, _, errors = outcome(command, arguments, capsys)
    assert code == 2
    assert "either names, or --all, or --list" in errors[-1]


def test_without_a_network_there_is_one_sentence(command, monkeypatch, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed}")
    code, printed, errors = outcome(command, ["yolact_base", "--folder", tmp_path / "w"], capsys)
    assert (code, printed, len(errors)) == (2, "", 1)
    assert "Connection refused" in errors[0]
    assert f"https://huggingface.co/dbolya/yolact-base to '{tmp_path / 'w' / NAME}' by hand" in errors[0]
    assert not (tmp_path / "w").exists()


def test_a_kill_in_the_middle_leaves_a_part_that_the_next_run_continues(command, server, tmp_path, capsys):
    server.faults = [("stall", 600_000)]
    arguments = [sys.executable, str(SCRIPT), "yolact_base", "--folder", str(tmp_path)]
    part = tmp_path / f"{NAME}.part"
    with subprocess.Popen(arguments, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while not (part.exists() and part.stat().st_size == 600_000):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert not (tmp_path / NAME).exists()
    assert part.read_bytes() == WEIGHTS[:600_000]
    server.log.clear()
    code, _, errors = outcome(command, ["yolact_base", "--folder", tmp_path], capsys)
    assert not code
    assert [asked for path, asked, _ in server.log if path.endswith(NAME)] == ["bytes=600000-"]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == WEIGHTS
    assert any("SHA-256 is right" in line for line in errors)
