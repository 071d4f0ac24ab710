"""What a machine can do to a training: one sentence with what to do, and a whole checkpoint to go on from.

Folders that cannot be written, files in the way and runs that exist or are in use: tests/engine/test_folder.py and
test_callbacks.py. A small /dev/shm: tests/data/test_workers.py.
"""

import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import train
from yolact.data.loader import TrainingSet
from yolact.engine.checkpoint import load_checkpoint
from yolact.errors import CheckpointError, DatasetError, LoaderError, UserError


@pytest.fixture
def start(cut):
    """Return a function that trains with a checkpoint every other step and some settings."""
    return lambda *settings: cut("--set", "train.save_every=2", *settings)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "tiny/cut"


def assert_whole(folder, step):
    assert load_checkpoint(folder / "last.pth")["step"] == step
    assert not list(folder.glob("*.tmp"))
    assert not multiprocessing.active_children()


def assert_goes_on(folder, finished):
    assert train("--resume", folder) == 0
    assert (folder / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()


def test_a_full_disk(start, folder, at_step):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    at_step(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1])))
    try:
        with pytest.raises(CheckpointError, match=r"File too large \(it needs \d+ MB, .* make room or choose another"):
            start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_whole(folder, step=2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_for_the_metrics(start, folder, finished, at_step):
    def fill():
        [file] = [fd for fd in Path("/proc/self/fd").iterdir() if fd.resolve() == folder / "metrics.jsonl"]
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), int(file.name))

    at_step(3, fill, before=True)
    with pytest.raises(UserError, match=r"metrics\.jsonl could not be written \(No space left on device\): make room"):
        start()
    assert_whole(folder, step=2)
    assert_goes_on(folder, finished)


def test_a_killed_worker(start, folder, finished, at_step):
    handler = signal.getsignal(signal.SIGCHLD)
    at_step(3, lambda: os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL), before=True)
    with pytest.raises(LoaderError, match=r"was ended by SIGKILL, which mostly means that memory ran out: lower data"):
        start("data.num_workers=2")
    assert signal.getsignal(signal.SIGCHLD) == handler
    step = load_checkpoint(folder / "last.pth")["step"]
    assert_whole(folder, step=step)
    assert f"saved at step {step}; when it is mended, go on with --resume" in (folder / "log.txt").read_text()
    assert_goes_on(folder, finished)


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


def test_a_hanging_worker(start, folder, finished, at_position, monkeypatch):
    at_position(9, lambda: time.sleep(1000))
    with pytest.raises(LoaderError, match=r"no batch for 2 seconds: see whether the storage .*data\.worker_timeout"):
        start("data.num_workers=2", "data.worker_timeout=2")
    assert_whole(folder, step=4)
    monkeypatch.undo()
    assert_goes_on(folder, finished)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_raises(start, folder, at_position, workers):
    def fail():
        raise IndexError("beyond the end")

    at_position(7, fail)
    with pytest.raises(DatasetError, match=r"No sample could be made of '.*\.\w+': IndexError \(beyond the end\)"):
        start(f"data.num_workers={workers}")
    assert_whole(folder, step=3)


def test_too_little_memory(start, folder, at_step):
    at_step(4, lambda: torch.empty(2**50), before=True)
    sentence = r"Out of memory on cpu at step 4, .*lower train\.batch_size .*go on from step 2 with --resume"
    with pytest.raises(UserError, match=sentence):
        start()
    assert_whole(folder, step=2)
