"""YOLACT next from training to export: points, task-aligned assignment, masks by RoIAlign, padded rectangles, tiles."""

import json
from dataclasses import replace

import pytest
import torch

from tests.configurations import write_config
from tests.integration.conftest import TINY, evaluate, train, whole_run
from tests.integration.test_train_resume import stop
from tests.made import make_target
from tests.reliability.trainings import differences
from yolact.cli import run
from yolact.config import LossConfig
from yolact.losses import ModelWithLoss
from yolact.models import build_model

OWN_TERMS = {"class_loss": "quality", "box_loss": "giou", "mask_loss": "roi_align"}
OWN_LOSS = {**OWN_TERMS, "roi_size": 14, "assigner": "task_aligned"}
NEXT = {
    "name": "next",
    "model": {**TINY["model"], "head": "points", "image_size": [64, 96], "resize": "pad"},
    "data": {"tiles": [64, 80]},
    "loss": {**OWN_LOSS, "class_weights": "inverse"},
    "train": {
        **TINY["train"], "decay_all": False, "backbone_lr": 0.5, "keep_statistics_from": 0.75,
        "image_sizes": [[48, 64], [64, 96]], "image_size_order": "progressive",
    },
    "eval": {**TINY["eval"], "crop": "after_resize", "score_threshold": 0.005},
}  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("next"), NEXT, 8)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    return whole_run(config, tmp_path_factory)


@pytest.mark.parametrize("step", [7, 9, 10])
def test_a_stopped_run_comes_out_the_same(config, finished, tmp_path, at_step, step):
    """After step 9 batch norms keep their statistics."""
    at_step(step, stop)
    assert train("--config", config, "--runs", tmp_path, "--name", "cut") == 143
    assert train("--resume", tmp_path / "next/cut") == 0
    assert differences(tmp_path / "next/cut", finished) == []


def test_the_other_commands_take_it(finished, config, tmp_path, capsys):
    weights, image = finished / "last.pth", next((config.parent / "shapes/val").iterdir())
    evaluate("--weights", weights, "--output", tmp_path / "eval")
    assert json.loads((tmp_path / "eval/metrics.json").read_text())["segm"]["AP"] is not None
    options = ["--weights", weights, "--score-threshold", "0", "--device", "cpu"]
    run([*map(str, ["predict", image, *options, "--output", tmp_path / "seen"])])
    run([*map(str, ["explain", image, *options, "--set", "eval.tiles=null", "--output", tmp_path / "why"])])
    run([*map(str, ["check", "--config", config, "--output", tmp_path / "check"])])
    assert "anchors" not in capsys.readouterr().out


@pytest.mark.parametrize("form", ["onnx", "onnx-raw"])
def test_an_exported_file_agrees(finished, config, tmp_path, form, capsys):
    """The command runs the file beside PyTorch on the images before it writes it."""
    arguments = ["export", "--weights", finished / "last.pth", "--format", form, "--output", tmp_path / "m.onnx"]
    run([*map(str, [*arguments, "--images", config.parent / "shapes/train"])])
    assert (tmp_path / "m.onnx").is_file()


def random_objects(count, side, crowds):
    corners = torch.rand(count, 2) * (64 - side)
    boxes, labels = torch.cat([corners, corners + side], 1), torch.randint(0, 3, (count,))
    return make_target(boxes.tolist(), labels.tolist(), range(crowds))


@pytest.mark.parametrize(
    ("count", "side", "crowds"), [(0, 1, 0), (1, 20, 0), (500, 6, 0), (7, 1, 0), (7, 0.3, 0), (5, 30, 5), (5, 30, 2)]
)
def test_whatever_an_image_holds_the_step_is_finite(tiny_config, count, side, crowds):
    model, loss = replace(tiny_config.model, head="points"), LossConfig(**OWN_LOSS)
    network = build_model(replace(tiny_config, model=model, loss=loss))
    losses = ModelWithLoss(network, loss)(torch.rand(2, 3, 64, 64), [random_objects(count, side, crowds)] * 2)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(one.grad is not None and one.grad.isfinite().all() for one in network.parameters())


def test_half_precision_trains(config, tmp_path):
    arguments = ["--config", config, "--runs", tmp_path, "--name", "half", "--set", "train.max_steps=2"]
    assert train(*arguments, "train.precision=bf16") == 0
    assert "left out" not in (tmp_path / "next/half/log.txt").read_text()
