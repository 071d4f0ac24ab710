"""A training on six small images that has not begun, for the tests of the engine."""

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from yolact.distributed import SINGLE
from yolact.engine.start import started
from yolact.engine.step import read_results, train_step
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


def batches(trainer):
    """Yield one step's batches after the other, as training does."""
    for batch in trainer.batches():
        yield [batch]


def do_steps(trainer, source, count):
    for group in itertools.islice(source, count):
        train_step(trainer, group)
        read_results(trainer)


def memory(trainer):
    """Copy everything that a step may change, the counters of batch norm apart, which nothing reads."""
    average = {} if trainer.average is None else trainer.average.model.state_dict()
    weights = {**trainer.model.model.state_dict(), **{f"average.{name}": value for name, value in average.items()}}
    counted = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    return copy.deepcopy([counted, trainer.optimizer.state_dict()["state"]])
