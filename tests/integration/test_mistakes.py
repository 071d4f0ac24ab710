"""Mistakes that a user makes: one sentence on stderr, exit code 2, nothing half-written."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.configurations import data_of
from tests.integration.conftest import evaluate, train
from yolact import cli
from yolact.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def refused(command, *arguments):
    """Require that a command line is refused in one sentence, and return it."""
    with pytest.raises(UserError) as caught:
        command(*arguments)
    return str(caught.value)


@pytest.fixture
def shapes(config, tmp_path):
    """A copy of the tiny data set that a test may damage."""
    return shutil.copytree(config.parent / "shapes", tmp_path / "shapes")


@pytest.fixture
def on_shapes(config, shapes):
    """Arguments of a training on that copy, into the folder `runs` beside it."""
    data = [f"data.{key}={place}" for key, place in data_of(shapes).items()]
    return ["--config", config, "--runs", shapes.parent / "runs", "--name", "x", "--set", *data]


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def first_image(shapes):
    name = json.loads((shapes / "instances_train.json").read_text())["images"][0]["file_name"]
    return shapes / "train" / name


DAMAGE = {
    "malformed annotation file": (lambda s: (s / "instances_train.json").write_text("{"), "instances_train.json"),
    "missing annotation file": (lambda s: (s / "instances_val.json").unlink(), "instances_val.json"),
    "missing image": (lambda s: first_image(s).unlink(), "train"),
    "other classes to validate": (
        lambda s: edit(s / "instances_val.json", lambda c: c["categories"][0].update(name="disc")), "disc",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_data_are_refused_before_anything_is_written(name, shapes, on_shapes):
    damage, named = DAMAGE[name]
    damage(shapes)
    assert named in refused(train, *on_shapes)
    assert not (shapes.parent / "runs").exists()


def test_damaged_images_are_named_when_they_are_met_or_skipped_and_reported(shapes, on_shapes):
    name = first_image(shapes).name
    first_image(shapes).write_bytes(b"<html>not found</html>")
    assert name in refused(train, *on_shapes)
    assert not list((shapes.parent / "runs").rglob("*.tmp"))
    assert train(*on_shapes, "data.unreadable=skip", "train.max_steps=4", "--name", "skipped") == 0
    log = (shapes.parent / "runs/tiny/skipped/log.txt").read_text()
    assert "skipped at step" in log
    assert name in log


TRAIN_MISTAKES = [
    (["--config", "configs/none.yaml"], "configs/none.yaml"),
    (["--set", "train.batchsize=4"], "batch_size"),
    (["--set", "train.batch_size=four"], "train.batch_size"),
    (["--set", "model.num_classes=80"], "declares 5 categories"),
    (["--weights", "none.pth"], "none.pth"),
    (["--runs", "/proc/runs"], "/proc/runs"),
    (["--name", "../../evil"], "--name must be usable as the name of a folder, got '../../evil'"),
]


@pytest.mark.parametrize(("more", "message"), TRAIN_MISTAKES)
def test_mistakes_in_a_training(config, tmp_path, more, message):
    assert message in refused(train, "--config", config, "--runs", tmp_path / "runs", *more)
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_stays_where_it_is(finished, capsys):
    assert "leave --name out" in refused(train, "--resume", finished, "--name", "foo")
    with pytest.raises(SystemExit, match="2"):
        train("--resume", finished, "--runs", finished.parent)
    assert "--runs is for a new run, or for --resume without a value" in capsys.readouterr().err


def test_a_new_run_does_not_write_into_an_old_one(config, finished):
    arguments = ["--config", config, "--runs", finished.parents[1], "--name", "whole"]
    assert "already holds a run" in refused(train, *arguments)


EVAL_MISTAKES = [
    (["--weights", "none.pth"], "none.pth"),
    (["--weights", "cut.pth"], "cut.pth"),
    (["--config", "none.yaml"], "none.yaml"),
    (["--set", "eval.nms=fastest"], "eval.nms"),
    (["--set", "data.val_annotations=none.json"], "none.json"),
    (["--set", "data.val_annotations=other.json"], "'disc'"),
    (["--set", "data.val_images=damaged"], "damaged/"),
    (["--output", "file"], "cannot be written"),
]


@pytest.mark.parametrize(("more", "message"), EVAL_MISTAKES)
def test_mistakes_in_an_evaluation(finished, shapes, tmp_path, monkeypatch, capsys, more, message):
    monkeypatch.chdir(tmp_path)
    Path("cut.pth").write_bytes((finished / "best.pth").read_bytes()[:1000])
    Path("other.json").write_text((shapes / "instances_val.json").read_text())
    edit(Path("other.json"), lambda content: content["categories"][0].update(name="disc"))
    shutil.copytree(shapes / "val", "damaged")
    for image in Path("damaged").iterdir():
        image.write_bytes(b"\x89PNG")
    Path("file").touch()
    before = sorted(os.listdir())
    assert message in refused(evaluate, "--weights", finished / "best.pth", "--output", "out", *more)
    assert sorted(os.listdir()) == before
    assert "masks" not in capsys.readouterr().out


@pytest.mark.parametrize("program", ["train.py", "eval.py"])
def test_a_mistake_is_one_line_and_exit_code_2(config, program, monkeypatch, capsys):
    options = {"train.py": ["--config", config], "eval.py": ["--weights", "none.pth"]}[program]
    monkeypatch.setattr(sys, "argv", [program, *map(str, options), "--device", "cuda:99"])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(ROOT / program), run_name="__main__")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: Device 'cuda:99' was asked for")
    assert said.err.count("\n") == 1


def test_ctrl_c_twice_leaves_without_a_traceback(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    with pytest.raises(SystemExit) as stopped:
        cli.main("train")
    assert stopped.value.code == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_has_read_enough_gets_no_traceback():
    read, write = os.pipe()
    os.close(read)  # as by `| head`
    command = [sys.executable, "-m", "yolact.cli", "weights", "--list"]
    process = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (process.returncode, process.stderr) == (141, "")
