"""A training that is stopped anywhere, in any way, goes on as if it had not been."""

import os
import shutil
import signal
import weakref
from pathlib import Path

import pytest
import torch

from tests.configurations import data_of
from tests.integration.conftest import evaluate, lines, train
from tests.reliability.trainings import differences
from yolact.data import CocoDataset
from yolact.data.loader import EvaluationSet
from yolact.engine.checkpoint import FORMAT, load_checkpoint
from yolact.engine.trainer import Trainer
from yolact.errors import UserError
from yolact.loaded import load_model

OLD_CHECKPOINTS = sorted((Path(__file__).parents[1] / "engine/checkpoints").iterdir())
STOPPED = 128 + signal.SIGTERM


def stop(*_):
    signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def folder(tmp_path):
    """Folder of the run that `cut` makes."""
    return tmp_path / "tiny/cut"


def test_a_signal_before_the_first_step(cut, folder, finished, monkeypatch):
    def load(*_):
        stop()
        pytest.fail("waiting for a batch was not ended by the signal")

    with monkeypatch.context() as patch:
        patch.setattr(CocoDataset, "load_reduced", load)
        assert cut() == STOPPED
    assert load_checkpoint(folder / "last.pth")["step"] == 0
    assert train("--resume", folder) == 0
    assert differences(folder, finished) == []


def test_a_signal_in_an_evaluation_ends_it_and_it_is_done_again(cut, folder, finished, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(EvaluationSet, "__getitem__", stop)
        assert cut() == STOPPED
    assert not any("evaluation" in line for line in lines(folder))
    assert not (folder / "best.pth").exists()
    for _ in range(2):  # the second time, nothing is left to do
        assert train("--resume", folder) == 0
        assert differences(folder, finished) == []
    best, expected = (load_checkpoint(run / "best.pth")["metrics"]["segm"] for run in (folder, finished))
    assert best == expected


def test_a_damaged_checkpoint_gives_way_to_the_one_before(cut, folder, finished, at_step, capsys):
    at_step(7, stop)
    assert cut("--set", "train.save_every=3") == STOPPED
    content = bytearray((folder / "last.pth").read_bytes())
    content[len(content) // 2] ^= 4
    (folder / "last.pth").write_bytes(content)
    (folder / "best.pth.12.tmp").write_bytes(b"left by a kill")
    capsys.readouterr()
    assert train("--resume", folder) == 0
    log = (folder / "log.txt").read_text()
    assert f"WARNING: {folder}/last.pth: the checkpoint is damaged" in capsys.readouterr().out
    assert f"resumed {folder}/last.prev.pth at step 6 instead; the steps since then are done again" in log
    assert "removed what a killed run had not finished writing: best.pth.12.tmp" in log
    assert differences(folder, finished) == ["config"]  # save_every
    assert load_checkpoint(folder / "last.prev.pth")["step"] == 12
    assert not list(folder.glob("*.tmp"))


def test_an_image_that_is_mended_lets_the_run_go_on(cut, folder, config, finished, tmp_path):
    images = config.parent / "shapes/train"
    name = min(os.listdir(images))
    kept = shutil.copy(images / name, tmp_path / name)
    try:
        (images / name).write_bytes(b"<html>not found</html>")
        with pytest.raises(UserError, match=name):
            cut()
    finally:
        shutil.copy(kept, images / name)
    assert f"when it is mended, go on with --resume {folder}" in (folder / "log.txt").read_text()
    assert train("--resume", folder) == 0
    assert differences(folder, finished) == []


def test_another_model_is_not_gone_on_with(finished):
    with pytest.raises(UserError, match=r"last\.pth does not fit this model or its optimizer \(.*backbone=.*--weights"):
        train("--resume", finished, "--set", "model.fpn_channels=24")


def test_steps_of_another_size_and_a_plan_that_is_behind_are_refused(cut, folder, at_step, capsys):
    at_step(7, stop)
    assert cut() == STOPPED
    kept = {name: (folder / name).read_bytes() for name in ("config.yaml", "last.pth", "metrics.jsonl")}
    for settings, said in (
        (["train.batch_size=8"], r"have 2 images \(train\.batch_size 2 .* makes it 8 \(8 x 1\).* keep the product"),
        (["train.accumulate=3"], r"makes it 6 \(2 x 3\)"),
        (["train.max_steps=6"], r"is at step 7, and the plan has 6 now: raise train\.max_steps"),
        (["train.epochs=1"], r"is at step 7, and the plan has 4 now"),
    ):
        with pytest.raises(UserError, match=said):
            train("--resume", folder, "--set", *settings)
        assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert train("--resume", folder, "--set", "train.batch_size=1", "train.accumulate=2") == 0
    assert f"done: best mask AP 0.0000; {folder}/best.pth" in capsys.readouterr().out
    (folder / "best.pth").unlink()
    assert train("--resume", folder, "--set", "train.batch_size=1", "train.accumulate=2") == 0
    assert f"done, without a best.pth; {folder}/last.pth" in capsys.readouterr().out


def test_relative_paths_are_those_of_where_the_training_began(config, tmp_path, monkeypatch):
    monkeypatch.chdir(config.parent)
    data = [f"data.{key}={place}" for key, place in data_of(Path("shapes")).items()]
    options = ["--runs", tmp_path, "--name", "one", "--set", *data]
    assert train("--config", config, *options, "train.max_steps=1") == 0
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tiny/one"
    assert train("--resume", folder, "--set", "train.max_steps=2") == 0
    assert f"the data are those of {config.parent}, where the run began" in (folder / "log.txt").read_text()
    assert lines(folder)[-1]["step"] == 2
    assert evaluate("--weights", folder / "last.pth", "--output", tmp_path / "eval") is None
    shutil.copytree(config.parent / "shapes", tmp_path / "shapes")  # those of the working directory come first
    assert load_model(folder / "last.pth", overrides=data).config.data.val_images == "shapes/val"


def test_deterministic_algorithms_give_the_same_metrics(cut, folder, finished):
    try:
        assert cut("--set", "train.deterministic=true", "train.max_steps=1") == 0
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert lines(folder)[0]["losses"] == lines(finished)[0]["losses"]


def test_this_format_has_a_file_for_those_to_come():
    assert FORMAT in [path.stem for path in OLD_CHECKPOINTS]


@pytest.mark.parametrize("path", OLD_CHECKPOINTS, ids=lambda path: path.stem)
def test_checkpoints_of_every_format_so_far_predict_and_go_on(config, tmp_path, path):
    """They were written by the first version of their format; then, to be small, their weights became one number."""
    loaded = load_model(path)
    assert loaded.class_names == ["circle", "square", "triangle", "star", "ring"]
    assert loaded.category_ids == [3, 7, 11, 20, 42]
    weights = load_checkpoint(path)["ema"]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.model.state_dict().items())
    shutil.copy(path, tmp_path / "last.pth")
    data = [f"data.{key}={place}" for key, place in data_of(config.parent / "shapes").items()]
    assert train("--resume", tmp_path, "--set", *data, "train.max_steps=5") == 0
    assert [line["step"] for line in lines(tmp_path)] == [4, 5, 5]


@pytest.mark.parametrize("option", ["--resume", "--weights"])
def test_a_checkpoint_that_was_read_is_not_kept_in_memory(cut, finished, tmp_path, monkeypatch, option):
    kept, alive = [], []

    def read(path, *more):
        checkpoint = load_checkpoint(path, *more)
        kept.extend(weakref.ref(value) for value in checkpoint["model"].values())
        return checkpoint

    monkeypatch.setattr("yolact.engine.fine_tuning.load_checkpoint", read)
    monkeypatch.setattr("yolact.engine.folder.load_checkpoint", read)
    monkeypatch.setattr(Trainer, "fit", lambda trainer: alive.extend(value for value in kept if value() is not None))
    if option == "--resume":
        assert train("--resume", shutil.copytree(finished, tmp_path / "copy")) == 0
    else:
        assert cut("--weights", finished / "last.pth") == 0
    assert len(kept) > 50
    assert alive == []
