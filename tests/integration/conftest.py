"""A tiny configuration on a few generated images, a run of it, and command lines within this process."""

import json

import pytest

from tests.configurations import EVAL, MODEL, TRAIN, write_config
from yolact.cli import run
from yolact.engine import trainer as trainers

TINY = {
    "name": "tiny",
    "model": MODEL,
    "train": {**TRAIN, "max_steps": 12, "optimizer": "adamw", "schedule": "cosine", "warmup_steps": 2},
    "eval": EVAL,
}


def train(*arguments):
    """Train on the CPU and return the exit code."""
    return run(["train", "--device", "cpu", *map(str, arguments)])


def evaluate(*arguments):
    return run(["eval", "--device", "cpu", *map(str, arguments)])


def lines(folder):
    """Return the lines of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def whole_run(config, tmp_path_factory):
    """Train to the end and return the run's folder."""
    runs = tmp_path_factory.mktemp("runs")
    assert train("--config", config, "--runs", runs, "--name", "whole") == 0
    return runs / config.stem / "whole"


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """Path of a tiny configuration on eight generated images."""
    return write_config(tmp_path_factory.mktemp("train"), TINY, 8)


@pytest.fixture(scope="session")
def finished(config, tmp_path_factory):
    """Folder of a whole run of that configuration."""
    return whole_run(config, tmp_path_factory)


@pytest.fixture
def cut(config, tmp_path):
    """Return a function that trains as `finished` was trained, into tmp_path/tiny/cut; options may follow."""
    return lambda *more: train("--config", config, "--runs", tmp_path, "--name", "cut", *more)


@pytest.fixture
def at_step(monkeypatch):
    """Return a function that lets something happen once, after an optimizer step or before it."""
    do_step = trainers.train_step

    def arrange(step, happen, before=False):
        def train_step(trainer, batches):
            if trainer.step + 1 != step:
                return do_step(trainer, batches)
            monkeypatch.setattr(trainers, "train_step", do_step)
            for action in (happen, lambda: do_step(trainer, batches))[:: 1 if before else -1]:
                action()
            return None

        monkeypatch.setattr(trainers, "train_step", train_step)

    return arrange
