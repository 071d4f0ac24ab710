"""A tiny configuration on a few generated pictures, and a run of it, for the tests of the command lines."""

import pytest

import train
from tests.configurations import EVAL, MODEL, TRAIN, write_config

TINY = {
    "name": "tiny",
    "model": MODEL,
    "train": {**TRAIN, "max_steps": 12, "optimizer": "adamw", "schedule": "cosine", "warmup_steps": 2},
    "eval": EVAL,
}


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """Path of a tiny configuration on eight generated pictures."""
    return write_config(tmp_path_factory.mktemp("train"), TINY, 8)


@pytest.fixture(scope="session")
def finished(config, tmp_path_factory):
    """Folder of a whole run of that configuration."""
    runs = tmp_path_factory.mktemp("runs")
    assert train.main(["--config", str(config), "--runs", str(runs), "--name", "whole", "--device", "cpu"]) == 0
    return runs / "tiny/whole"
