"""What a machine can do to a training: one sentence with what to do, and a whole checkpoint to go on from.

Folders that cannot be written, files in the way and runs that exist or are in use: tests/engine/test_folder.py and
test_log.py. A small /dev/shm: tests/data/test_workers.py.
"""

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

import train
from yolact.data.loader import TrainingSet
from yolact.engine import fit
from yolact.engine.checkpoint import load_checkpoint
from yolact.errors import CheckpointError, DatasetError, LoaderError, UserError

CUT = "tiny/cut"


def start(config, runs, *more):
    command = ["--config", str(config), "--runs", str(runs), "--name", "cut", "--device", "cpu", "--set"]
    return train.main([*command, "train.save_every=2", *more])


def assert_whole(folder, step):
    assert load_checkpoint(folder / "last.pth")["step"] == step
    assert not list(folder.glob("*.tmp"))
    assert not multiprocessing.active_children()


def assert_goes_on(folder, finished):
    assert train.main(["--resume", str(folder), "--device", "cpu"]) == 0
    assert (folder / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()


@pytest.fixture
def before_step(monkeypatch):
    """Return a function that lets something happen before an optimizer step, once."""
    do_step = fit.train_step

    def arrange(step, happen):
        def train_step(run, batches):
            if run.step + 1 == step:
                monkeypatch.setattr(fit, "train_step", do_step)
                happen()
            do_step(run, batches)

        monkeypatch.setattr(fit, "train_step", train_step)

    return arrange


def test_a_full_disk(config, tmp_path, before_step):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before_step(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, limits[1])))
    try:
        with pytest.raises(CheckpointError, match=r"File too large \(it needs \d+ MB, .* make room or choose another"):
            start(config, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_whole(tmp_path / CUT, step=2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_for_the_figures(config, finished, tmp_path, before_step):
    def fill():
        [file] = [fd for fd in Path("/proc/self/fd").iterdir() if fd.resolve() == tmp_path / CUT / "metrics.jsonl"]
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), int(file.name))

    before_step(3, fill)
    with pytest.raises(UserError, match=r"metrics\.jsonl could not be written \(No space left on device\): make room"):
        start(config, tmp_path)
    assert_whole(tmp_path / CUT, step=2)
    assert_goes_on(tmp_path / CUT, finished)


def test_a_killed_loader_process(config, finished, tmp_path, before_step):
    before_step(3, lambda: os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL))
    with pytest.raises(LoaderError, match=r"was ended by SIGKILL, which mostly means that memory ran out: lower data"):
        start(config, tmp_path, "data.num_workers=2")
    assert_whole(tmp_path / CUT, step=3)
    assert "saved at step 3; when it is mended: python train.py --resume" in (tmp_path / CUT / "log.txt").read_text()
    assert_goes_on(tmp_path / CUT, finished)


@pytest.fixture
def at_position(monkeypatch):
    """Return a function that lets something happen in place of a training sample, in whichever process makes it."""
    make = TrainingSet._sample

    def arrange(position, happen):
        def sample(self, rng, index, size):
            if rng.bit_generator.seed_seq.entropy == [self.seed, position]:
                happen()
            return make(self, rng, index, size)

        monkeypatch.setattr(TrainingSet, "_sample", sample)

    yield arrange
    monkeypatch.undo()


def test_a_hanging_loader_process(config, finished, tmp_path, at_position, monkeypatch):
    at_position(9, lambda: time.sleep(1000))
    with pytest.raises(LoaderError, match=r"no batch for 2 seconds: see whether the storage .*data\.worker_timeout"):
        start(config, tmp_path, "data.num_workers=2", "data.worker_timeout=2")
    assert_whole(tmp_path / CUT, step=4)
    monkeypatch.undo()
    assert_goes_on(tmp_path / CUT, finished)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_raises(config, tmp_path, at_position, workers):
    def fail():
        raise IndexError("beyond the end")

    at_position(7, fail)
    with pytest.raises(DatasetError, match=r"No sample could be made of '.*\.\w+': IndexError \(beyond the end\)"):
        start(config, tmp_path, f"data.num_workers={workers}")
    assert_whole(tmp_path / CUT, step=3)


def test_too_little_memory(config, tmp_path, before_step):
    before_step(4, lambda: torch.empty(2**50))
    sentence = r"Out of memory on cpu at step 4, .*lower train\.batch_size .*go on from step 2 with: python train\.py"
    with pytest.raises(UserError, match=sentence):
        start(config, tmp_path)
    assert_whole(tmp_path / CUT, step=2)
