"""Compiled networks give the same results. Run by `-m long`: compiling takes a minute or two."""

import shutil

import numpy as np
import pytest
import torch

import yolact
from tests.integration.conftest import lines, train

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU"),
]


def test_a_compiled_predictor_finds_the_same(sample_checkpoint):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    plain, compiled = (yolact.load(sample_checkpoint, compiled=flag)(image, 0.0) for flag in (False, True))
    assert len(plain) > 10
    torch.testing.assert_close(compiled.scores, plain.scores, atol=1e-5, rtol=1e-5)


def test_a_compiled_training_goes_the_same_way(config, tmp_path):
    losses = []
    for flag in ("false", "true"):
        settings = [f"train.compile={flag}", "train.max_steps=3", "eval.max_images=1", "model.backbone.name=resnet18"]
        assert train("--config", config, "--runs", tmp_path, "--name", flag, "--set", *settings) == 0
        losses.append([line["losses"] for line in lines(tmp_path / "tiny" / flag) if "losses" in line])
    for plain, compiled in zip(*losses, strict=True):
        assert compiled == pytest.approx(plain, rel=1e-2)
