"""Compiled networks give the same results. Run by `-m long`: compiling takes a minute or two."""

import json
import shutil

import numpy as np
import pytest
import torch

import train
import yolact

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU"),
]


def test_a_compiled_predictor_finds_the_same(sample_checkpoint):
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    plain, compiled = (yolact.load(sample_checkpoint, compiled=flag)(picture, 0.0) for flag in (False, True))
    assert len(plain) > 10
    torch.testing.assert_close(compiled.scores, plain.scores, atol=1e-5, rtol=1e-5)


def test_a_compiled_training_goes_the_same_way(config, tmp_path):
    losses = []
    for flag in ("false", "true"):
        arguments = ["--config", str(config), "--runs", str(tmp_path), "--name", flag, "--device", "cpu"]
        assert train.main([*arguments, "--set", f"train.compile={flag}", "train.max_steps=3", "eval.max_images=1"]) == 0
        lines = (tmp_path / "tiny" / flag / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["losses"] for line in lines if "losses" in line])
    for plain, compiled in zip(*losses, strict=True):
        assert compiled == pytest.approx(plain, rel=1e-2)
