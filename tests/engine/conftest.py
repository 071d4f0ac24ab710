"""A training on six small images that has not begun, for the tests of the engine."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from yolact.distributed import SINGLE
from yolact.engine.start import started
from yolact.engine.trainer import Parts


@pytest.fixture
def make_trainer(sample_config, tmp_path):
    """Return a function that builds a trainer; its keywords are those of TrainConfig, and parts given in code."""
    open_ones = []

    def make(name="run", parts=None, **settings) -> object:
        defaults = {
            "batch_size": 2, "reference_batch_size": None, "max_steps": 20, "warmup_steps": 0, "log_every": 1,
            "backbone_weights": "none", "freeze_batch_norm": "never",
        }  # fmt: skip
        config = replace(sample_config, train=replace(sample_config.train, **{**defaults, **settings}))
        runs = Path(tmp_path) / str(len(open_ones))
        context = started(config, SINGLE, torch.device("cpu"), runs=runs, name=name, parts=parts or Parts())
        open_ones.append(context)
        return context.__enter__()

    yield make
    for context in open_ones:
        context.__exit__(None, None, None)
