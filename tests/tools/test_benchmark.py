"""yolact benchmark: stages take turns, random weights find a usual number of objects, and the step is the trainer's."""

import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from yolact.cli import run
from yolact.cli.benchmark import PARTS
from yolact.config import dump_config
from yolact.device import pick_device
from yolact.errors import UserError
from yolact.models import build_model
from yolact.tools.benchmark import calibrate, prepare
from yolact.tools.timing import take_turns, timed


@pytest.fixture(autouse=True)
def _few_images(monkeypatch):
    monkeypatch.setattr("yolact.tools.benchmark.GENERATED", 4)


HOW = {"device": pick_device("cpu"), "precisions": ("fp32",), "repeats": 1, "batch_sizes": (1,), "num_images": 1}


def test_every_stage_comes_first_as_often_as_any_other():
    calls = []
    stages = {name: lambda number, name=name: calls.append((number, name)) for name in "abc"}
    rows = dict(take_turns(stages, repeats=6, device=torch.device("cpu")))
    assert all(found["cpu_ms"] >= 0 for found in rows.values())
    assert {name: found["calls"] for name, found in rows.items()} == {"a": 6, "b": 6, "c": 6}
    turns = [[name for number, name in calls if number == turn] for turn in range(9)]
    assert [turn[0] for turn in turns] == list("abcabcabc")
    assert all(sorted(turn) == ["a", "b", "c"] for turn in turns)


def test_times_by_hand():
    found = timed([4.0, 1.0, 2.0, 3.0, 100.0], num_images=2)
    assert (found["median_ms"], found["p95_ms"], found["min_ms"], found["mean_ms"]) == (3.0, 100.0, 1.0, 22.0)
    assert found["per_second"] == 2000 / 22


@pytest.mark.parametrize("head", ["anchors", "points"])
def test_calibrated_random_weights_find_as_many_objects_as_asked_for(tiny_config, head):
    model = build_model(replace(tiny_config, model=replace(tiny_config.model, head=head)))
    images = torch.rand(2, 3, 64, 64)
    momenta = [module.momentum for module in model.modules() if hasattr(module, "momentum")]
    calibrate(model, images, score=0.3, num_candidates=20)
    assert not model.training
    assert [module.momentum for module in model.modules() if hasattr(module, "momentum")] == momenta
    with torch.no_grad():
        predictions = model(images)
    assert int((model.head.coder((64, 64)).scores(predictions.class_logits).amax(-1) > 0.3).sum()) == 40
    assert predictions.box_deltas.std().item() == pytest.approx(1, abs=0.01)


def test_the_training_step_is_the_trainers(sample_config, tmp_path):
    """It clips the gradient, moves the average, counts, and leaves out what is not finite."""
    train = replace(sample_config.train, batch_size=2, ema_decay=0.5, clip_norm=0.01, max_nonfinite=2)
    subject = prepare(replace(sample_config, train=train), None, None, tmp_path, **HOW)
    trainer, step = subject.training_step("fp32")
    weight, average = trainer.model.model.head.shared.weight, trainer.average.model.head.shared.weight
    before, average_before = weight.detach().clone(), average.detach().clone()
    step(0)
    assert (trainer.step, trainer.position, trainer.window["steps"], trainer.unread) == (1, 2, 1, [])
    assert not torch.equal(weight, before)
    assert not torch.equal(average, average_before)
    gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(0.01, rel=1e-3)
    with torch.no_grad():
        trainer.model.model.head.class_logits.bias.fill_(torch.nan)
    before = weight.detach().clone()
    step(1)
    assert (trainer.step, trainer.nonfinite_steps) == (2, 1)
    assert torch.equal(weight, before)
    with pytest.raises(UserError, match="not finite in 2 steps in a row"):
        step(2)


def test_every_part_is_measured_and_written(sample_config, tmp_path, capsys):
    (tmp_path / "sample.yaml").write_text(dump_config(sample_config))
    (tmp_path / "images").mkdir()
    (tmp_path / "speed.png").write_text("a user's")
    for number, size in enumerate([(40, 60, 3), (70, 50, 3)]):
        cv2.imwrite(str(tmp_path / f"images/{number}.jpg"), np.full(size, 90, np.uint8))
    run([
        "benchmark", "--config", str(tmp_path / "sample.yaml"), "--images", str(tmp_path / "images"), "--repeats", "1",
        "--device", "cpu", "--precision", "fp32", "--batch-sizes", "1", "3", "--num-images", "5", "--set",
        "train.batch_size=2", "--output", str(tmp_path / "speed.json"),
    ])  # fmt: skip
    written = json.loads((tmp_path / "speed.json").read_text())
    assert list(PARTS) == [key for key in written if key in PARTS]
    assert "torch" in written["versions"]
    printed, noted = capsys.readouterr()
    for part in PARTS:
        for name, found in written[part].items():
            line = next(line for line in printed.splitlines() if line.startswith(f"  {name} "))
            assert ("not measured" in line) == (found == {})
            assert all(value > 0 for value in found.values())
    assert {"PyTorch, fp32", "torch.export, fp32", "on a GPU"} <= written["runtimes"].keys()
    assert "batch of 3, PyTorch, fp32" in written["throughput"]
    assert "step of 2 images, fp32" in written["training"]
    assert written["runtimes"]["on a GPU"] == written["training"]["GPU memory, fp32"] == {}
    assert written["evaluation"]["8 images, pycocotools"]["per_second"] > 0
    assert (tmp_path / "speed.png").read_text() == "a user's"  # nothing was scored
    assert "speed.png' is not of this run, which measured no AP" in noted


def test_a_trained_model_is_measured_in_every_runtime(sample_checkpoint, tmp_path, capsys, monkeypatch):
    """The files have PyTorch's AP, and what is not installed is said."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    run(["benchmark", "--weights", str(sample_checkpoint), "--repeats", "1", "--output", str(tmp_path / "speed.json")])
    rows = json.loads((tmp_path / "speed.json").read_text())["runtimes"]
    assert rows["OpenVINO, fp32"] == {}
    assert "needs the package openvino" in capsys.readouterr().out
    times = {f"{part}_ms" for part in ("network", "detection", "masks", "file", "file_cpu")}
    expected = {"mask_ap", "fps", "peak_mb", "size_mb", *times}
    for name in ("PyTorch, fp32", "ONNX Runtime, fp32", "torch.export, fp32"):
        if rows[name]:  # ONNX Runtime is an extra
            assert expected <= rows[name].keys()
            assert rows[name]["mask_ap"] == pytest.approx(rows["PyTorch, fp32"]["mask_ap"], abs=1e-3)
    assert (tmp_path / "speed.png").read_bytes()[1:4] == b"PNG"


def test_weights_and_data_that_exist_are_taken(sample_checkpoint, sample_config, tmp_path, capsys):
    run(["benchmark", "--weights", str(sample_checkpoint), "--parts", "loader", "--repeats", "1"])
    assert "sample" in capsys.readouterr().out
    command = ["benchmark", "--weights", str(sample_checkpoint), "--images", str(tmp_path)]
    with pytest.raises(UserError, match="holds no images"):
        run([*command, "--set", "data.val_annotations=nowhere.json"])
    assert "note: no mask AP, as there is no 'nowhere.json'" in capsys.readouterr().err
    kept = prepare(sample_config, None, None, tmp_path / "a", **HOW)
    assert kept.config.data == sample_config.data
    data = replace(sample_config.data, train_annotations="nowhere.json")
    config = replace(sample_config, data=data, model=replace(sample_config.model, num_classes=None))
    made = prepare(config, None, None, tmp_path / "b", **HOW)
    assert len(made.samples.dataset.categories) == made.model.num_classes == 80
    with pytest.raises(UserError, match="holds no images; give a folder of images with --images"):
        run(["benchmark", "--config", "shapes", "--images", str(tmp_path)])
    text = dump_config(replace(config, data=replace(sample_config.data, train_images="nowhere")))
    (tmp_path / "no_images.yaml").write_text(text)
    capsys.readouterr()
    with pytest.raises(UserError, match=r"The image folder nowhere .* does not exist"):
        run(["benchmark", "--config", str(tmp_path / "no_images.yaml"), "--parts", "evaluation", "training"])
    assert capsys.readouterr().out == ""  # before anything was measured
    with pytest.raises(UserError, match="of --output does not exist"):
        run(["benchmark", "--config", "shapes", "--output", str(tmp_path / "none/speed.json")])
    with pytest.raises(UserError, match=r"expected a name that ends with \.json, got 'a\.png'"):
        run(["benchmark", "--config", "shapes", "--output", "a.png"])
