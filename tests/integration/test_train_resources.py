"""What a machine can do to a training: one sentence with what to do, and a whole checkpoint to go on from.

Full disks and folders in use: tests/engine. Images and workers: tests/data/test_workers.py.
"""

import multiprocessing
import os
import signal
import time

import pytest
import torch

from tests.integration.conftest import train
from tests.reliability.trainings import wait_until
from yolact.data import CocoDataset
from yolact.engine.checkpoint import load_checkpoint
from yolact.errors import LoaderError, UserError


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


def test_a_killed_worker(start, folder, finished, at_step):
    handler = signal.getsignal(signal.SIGCHLD)
    at_step(3, lambda: os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL), before=True)
    with pytest.raises(LoaderError, match=r"was ended by SIGKILL, which mostly means that memory ran out: lower data"):
        start("data.num_workers=2")
    assert signal.getsignal(signal.SIGCHLD) == handler
    step = load_checkpoint(folder / "last.pth")["step"]
    assert_whole(folder, step=step)
    assert f"saved at step {step}; when it is mended, go on with --resume" in (folder / "log.txt").read_text()
    assert train("--resume", folder) == 0
    assert (folder / "metrics.jsonl").read_text() == (finished / "metrics.jsonl").read_text()


def test_a_hanging_worker(start, folder, monkeypatch):
    monkeypatch.setattr(CocoDataset, "load_reduced", lambda *_: time.sleep(1000))
    with pytest.raises(LoaderError, match=r"no batch for 2 seconds: see whether the storage .*data\.worker_timeout"):
        start("data.num_workers=2", "data.worker_timeout=2")
    assert not list(folder.glob("*.pth*"))
    wait_until(lambda: not multiprocessing.active_children())  # they have been killed


def test_too_little_memory(start, folder, at_step):
    at_step(4, lambda: torch.empty(2**50), before=True)
    sentence = r"Out of memory on cpu at step 4, .*lower train\.batch_size .*go on from step 2 with --resume"
    with pytest.raises(UserError, match=sentence):
        start()
    assert_whole(folder, step=2)
