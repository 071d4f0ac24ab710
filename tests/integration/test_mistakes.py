"""Mistakes that a user makes: one sentence on stderr, exit code 2, nothing half-written."""

import importlib
import json
import shutil

import pytest

import train
from yolact.errors import exit_on_user_error

evaluation = importlib.import_module("eval")


@pytest.fixture
def shapes(config, tmp_path):
    """A copy of the tiny data set that a test may damage."""
    return shutil.copytree(config.parent / "shapes", tmp_path / "shapes")


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def outcome(command, arguments, capsys):
    """Run a command line as the shell would; return its exit code and what it printed to stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        exit_on_user_error(lambda: command([*map(str, arguments), "--device", "cpu"]))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return stopped.value.code, lines[0]


def train_on(shapes, config):
    data = [f"data.{part}_annotations={shapes}/instances_{part}.json" for part in ("train", "val")]
    pictures = [f"data.{part}_images={shapes}/{part}" for part in ("train", "val")]
    return ["--config", config, "--runs", shapes.parent / "runs", "--name", "x", "--set", *data, *pictures]


def first_picture(shapes):
    name = json.loads((shapes / "instances_train.json").read_text())["images"][0]["file_name"]
    return shapes / "train" / name


DAMAGE = {
    "malformed annotation file": (lambda s: (s / "instances_train.json").write_text("{"), "instances_train.json"),
    "missing annotation file": (lambda s: (s / "instances_val.json").unlink(), "instances_val.json"),
    "annotation of a picture that is not listed": (
        lambda s: edit(s / "instances_train.json", lambda c: c["annotations"][0].update(image_id=12345)), "12345",
    ),
    "annotation of an undeclared category": (
        lambda s: edit(s / "instances_train.json", lambda c: c["annotations"][0].update(category_id=99)), "99",
    ),
    "missing picture": (lambda s: first_picture(s).unlink(), "train"),
    "other classes to validate": (
        lambda s: edit(s / "instances_val.json", lambda c: c["categories"][0].update(name="disc")), "disc",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_data_are_refused_before_anything_is_written(name, shapes, config, capsys):
    damage, named = DAMAGE[name]
    damage(shapes)
    code, message = outcome(train.main, train_on(shapes, config), capsys)
    assert code == 2
    assert named in message
    assert not (shapes.parent / "runs").exists()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda s: first_picture(s).write_bytes(b"<html>not found</html>"), "html"),
        (lambda s: edit(s / "instances_train.json", lambda c: [i.update(width=7) for i in c["images"]]), "7"),
    ],
    ids=["unreadable picture", "size unlike the file"],
)
def test_damaged_pictures_are_named_when_they_are_met(damage, named, shapes, config, capsys):
    picture = first_picture(shapes).name
    damage(shapes)
    code, message = outcome(train.main, train_on(shapes, config), capsys)
    assert code == 2
    assert picture in message or named in message
    assert not list((shapes.parent / "runs").rglob("*.tmp"))


def test_an_unreadable_picture_can_be_skipped_and_is_reported(shapes, config):
    first_picture(shapes).write_bytes(b"<html>not found</html>")
    arguments = [*map(str, train_on(shapes, config)), "data.unreadable=skip", "--device", "cpu"]
    assert train.main(arguments) == 0
    log = (shapes.parent / "runs/tiny/x/log.txt").read_text()
    assert "skipped at step" in log
    assert first_picture(shapes).name in log


def test_a_truncated_checkpoint(finished, tmp_path, capsys):
    data = (finished / "best.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: len(data) // 2])
    code, message = outcome(evaluation.main, ["--weights", tmp_path / "cut.pth", "--output", tmp_path / "out"], capsys)
    assert code == 2
    assert "cut.pth" in message
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_other_classes(finished, shapes, tmp_path, capsys):
    edit(shapes / "instances_val.json", lambda c: c["categories"][0].update(name="disc"))
    own = ["--set", f"data.val_annotations={shapes}/instances_val.json"]
    arguments = ["--weights", finished / "best.pth", "--output", tmp_path / "out", *own]
    code, message = outcome(evaluation.main, arguments, capsys)
    assert code == 2
    assert "'disc'" in message
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_written(finished, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = ["--weights", finished / "best.pth", "--output", tmp_path / "file"]
    code, message = outcome(evaluation.main, arguments, capsys)
    assert code == 2
    assert "cannot be written" in message


def test_ctrl_c_twice_leaves_without_a_traceback(capsys):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        exit_on_user_error(interrupted)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == ""
