"""A training that is stopped anywhere, in any way, goes on as if it had not been."""

import json
import os
import shutil
import signal
import weakref
from pathlib import Path

import pytest
import torch

import train
from yolact.data.loader import EvaluationSet
from yolact.engine import fit
from yolact.engine.checkpoint import FORMAT, load_checkpoint
from yolact.errors import UserError
from yolact.predictor import load_model

OLD_CHECKPOINTS = sorted((Path(__file__).parents[1] / "engine/checkpoints").iterdir())


def start(config, runs, *more):
    return train.main(["--config", str(config), "--runs", str(runs), "--name", "cut", "--device", "cpu", *more])


def go_on(folder, *more):
    return train.main(["--resume", str(folder), "--device", "cpu", *more])


@pytest.fixture
def at_step(monkeypatch):
    """Return a function that lets something happen after an optimizer step, once."""
    do_step = fit.train_step

    def arrange(step, happen):
        def train_step(run, batches):
            do_step(run, batches)
            if run.step == step:
                monkeypatch.setattr(fit, "train_step", do_step)
                happen()

        monkeypatch.setattr(fit, "train_step", train_step)

    return arrange


def assert_equal(folder, whole):
    """The two runs have the same metrics.jsonl, weights, average and optimizer."""
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    ours, theirs = (load_checkpoint(path / "last.pth") for path in (folder, whole))
    for key in ("model", "ema", "optimizer"):
        one, other = (torch.utils._pytree.tree_leaves(state[key]) for state in (ours, theirs))
        assert all(map(same, one, other))
        assert len(one) == len(other)
    assert (ours["step"], ours["best"]) == (theirs["step"], theirs["best"])


def same(one, other):
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_a_signal_saves_after_the_step_and_the_run_goes_on_exactly(config, finished, tmp_path, at_step):
    at_step(5, lambda: signal.raise_signal(signal.SIGUSR1))
    assert start(config, tmp_path) == 138
    folder = tmp_path / "tiny/cut"
    assert load_checkpoint(folder / "last.pth")["step"] == 5
    assert train.main(["--resume", "--runs", str(tmp_path), "--device", "cpu"]) == 0
    assert f"resumed {folder}/last.pth at step 5\n" in (folder / "log.txt").read_text()
    assert_equal(folder, finished)


def test_a_signal_before_the_first_step(config, finished, tmp_path, monkeypatch):
    sample = train.CocoDataset.load_reduced

    def load(*arguments):
        monkeypatch.setattr(train.CocoDataset, "load_reduced", sample)
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("waiting for a batch was not ended by the signal")

    monkeypatch.setattr(train.CocoDataset, "load_reduced", load)
    assert start(config, tmp_path) == 143
    folder = tmp_path / "tiny/cut"
    assert load_checkpoint(folder / "last.pth")["step"] == 0
    assert go_on(folder) == 0
    assert_equal(folder, finished)


def test_a_signal_in_an_evaluation_ends_it_and_it_is_done_again(config, finished, tmp_path, monkeypatch):
    sample = EvaluationSet.__getitem__

    def load(dataset, index):
        if index == 1:
            monkeypatch.setattr(EvaluationSet, "__getitem__", sample)
            signal.raise_signal(signal.SIGTERM)
        return sample(dataset, index)

    monkeypatch.setattr(EvaluationSet, "__getitem__", load)
    assert start(config, tmp_path) == 143
    folder = tmp_path / "tiny/cut"
    assert '"evaluation"' not in (folder / "metrics.jsonl").read_text()
    assert not (folder / "best.pth").exists()
    assert go_on(folder) == 0
    assert_equal(folder, finished)
    assert (
        load_checkpoint(folder / "best.pth")["metrics"]["segm"]
        == load_checkpoint(finished / "best.pth")["metrics"]["segm"]
    )
    assert go_on(folder) == 0  # nothing is left to do
    assert_equal(folder, finished)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(config, finished, tmp_path, at_step, capsys):
    at_step(7, lambda: signal.raise_signal(signal.SIGTERM))
    assert start(config, tmp_path, "--set", "train.save_every=3") == 143
    folder = tmp_path / "tiny/cut"
    content = bytearray((folder / "last.pth").read_bytes())
    content[len(content) // 2] ^= 4
    (folder / "last.pth").write_bytes(content)
    (folder / "best.pth.tmp").write_bytes(b"left by a kill")
    capsys.readouterr()
    assert go_on(folder) == 0
    log = (folder / "log.txt").read_text()
    assert f"WARNING: {folder}/last.pth: the checkpoint is damaged" in capsys.readouterr().out
    assert f"resumed {folder}/last.prev.pth at step 6 instead; the steps since then are done again" in log
    assert "removed what a killed run had not finished writing: best.pth.tmp" in log
    assert_equal(folder, finished)
    assert load_checkpoint(folder / "last.prev.pth")["step"] == 12
    assert not list(folder.glob("*.tmp"))


def test_a_picture_that_is_mended_lets_the_run_go_on(config, finished, tmp_path):
    shapes = config.parent / "shapes/train"
    name = next(line for line in sorted(os.listdir(shapes)))
    kept = shutil.copy(shapes / name, tmp_path / name)
    try:
        (shapes / name).write_bytes(b"<html>not found</html>")
        with pytest.raises(UserError, match=name):
            start(config, tmp_path)
    finally:
        shutil.copy(kept, shapes / name)
    folder = tmp_path / "tiny/cut"
    assert "when it is mended: python train.py --resume" in (folder / "log.txt").read_text()
    assert go_on(folder) == 0
    assert_equal(folder, finished)


def test_another_model_is_not_gone_on_with(finished):
    with pytest.raises(UserError, match=r"last\.pth does not fit this model or its optimizer \(.*--weights") as caught:
        go_on(finished, "--set", "model.fpn_channels=24")
    assert "\n" not in str(caught.value)


def test_nothing_to_go_on_with(tmp_path):
    with pytest.raises(UserError, match=r"no checkpoint to resume in .*runs and its folders"):
        train.main(["--resume", "--runs", str(tmp_path / "runs")])


def test_other_numbers_of_pictures_are_told(config, finished, tmp_path, at_step):
    at_step(2, lambda: signal.raise_signal(signal.SIGTERM))
    start(config, tmp_path)
    assert go_on(tmp_path / "tiny/cut", "--set", "data.max_train_images=4", "train.max_steps=3") == 0
    log = (tmp_path / "tiny/cut/log.txt").read_text()
    assert "WARNING: there are 4 pictures to train on, and there were 8: they come in another order now" in log


def test_deterministic_algorithms_give_the_same_metrics(config, finished, tmp_path):
    try:
        assert start(config, tmp_path, "--set", "train.deterministic=true", "train.max_steps=2") == 0
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    lines = [
        [json.loads(line)["losses"] for line in (folder / "metrics.jsonl").read_text().splitlines()[:2]]
        for folder in (tmp_path / "tiny/cut", finished)
    ]
    assert lines[0][0] == lines[1][0]


def test_this_format_has_a_file_for_those_to_come():
    assert FORMAT in [path.stem for path in OLD_CHECKPOINTS]


@pytest.mark.parametrize("path", OLD_CHECKPOINTS, ids=lambda path: path.stem)
def test_checkpoints_of_every_format_so_far_predict(path):
    loaded = load_model(path)
    assert loaded.class_names == ["circle", "square", "triangle", "star", "ring"]
    assert loaded.category_ids == [3, 7, 11, 20, 42]
    weights = load_checkpoint(path)["ema"]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in loaded.model.state_dict().items())


@pytest.mark.parametrize("path", OLD_CHECKPOINTS, ids=lambda path: path.stem)
def test_checkpoints_of_every_format_so_far_go_on(config, tmp_path, path):
    """They were written by the first version of their format; then, to be small, their weights became one number."""
    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copy(path, folder / "last.pth")
    shapes = config.parent / "shapes"
    data = [f"data.{part}_annotations={shapes}/instances_{part}.json" for part in ("train", "val")]
    pictures = [f"data.{part}_images={shapes}/{part}" for part in ("train", "val")]
    assert go_on(folder, "--set", *data, *pictures, "train.max_steps=5") == 0
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == [4, 5, 5]


@pytest.mark.parametrize("option", ["--resume", "--weights"])
def test_a_checkpoint_that_was_read_is_not_kept_in_memory(config, finished, tmp_path, monkeypatch, option):
    kept = []

    def read(path, *more):
        checkpoint = load_checkpoint(path, *more)
        kept.extend(weakref.ref(value) for value in checkpoint["model"].values())
        return checkpoint

    def look(run):
        alive.extend(value for value in kept if value() is not None)
        return 15

    alive = []
    monkeypatch.setattr(train, "load_checkpoint", read)
    monkeypatch.setattr("yolact.engine.folder.load_checkpoint", read)
    monkeypatch.setattr(train, "fit", look)
    if option == "--resume":
        shutil.copytree(finished, tmp_path / "copy")
        assert go_on(tmp_path / "copy") == 128 + 15
    else:
        assert start(config, tmp_path, option, str(finished / "last.pth")) == 128 + 15
    assert len(kept) > 100
    assert alive == []
