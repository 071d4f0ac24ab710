"""A training run on six small pictures that has not begun, for the tests of the engine."""

from dataclasses import replace

import pytest
import torch

import train
from yolact.distributed import ALONE
from yolact.models import build_model


@pytest.fixture
def make_run(sample_config, tmp_path):
    """Return a function that builds a run; its keywords are those of TrainConfig."""

    def make(**settings):
        defaults = {
            "batch_size": 2, "reference_batch_size": None, "max_steps": 20, "warmup_steps": 0, "log_every": 1,
            "backbone_weights": "none", "freeze_batch_norm": "never",
        }  # fmt: skip
        config = replace(sample_config, train=replace(sample_config.train, **{**defaults, **settings}))
        torch.manual_seed(0)
        train_data, val_data = train.load_data(config)
        config = train.with_classes(config, train_data)
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        model, device = build_model(config), torch.device("cpu")
        return train.build_run(config, model, folder, device, train_data, val_data, ALONE)

    return make
