"""The examples of docs/extending.md, as they stand there: each in a short file of a user's own, all in one training."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import yolact
from tests.configurations import EVAL, MODEL, TRAIN, write_config
from yolact.data import CocoDataset
from yolact.errors import UserError

PAGE = (Path(__file__).parents[1] / "docs/extending.md").read_text(encoding="utf-8")
USE, *PARTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    """What the examples define."""
    names: dict[str, Any] = {}
    for part in PARTS:
        exec(part, names)
    return names


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> yolact.Config:
    content = {"name": "own", "model": MODEL, "train": {**TRAIN, "max_steps": 2, "warmup_steps": 0}, "eval": EVAL}
    content["train"]["ema_decay"] = None  # the backbone's checkpoints are large
    return yolact.load_config(write_config(tmp_path_factory.mktemp("own"), content, 4))


def test_each_part_has_at_most_fifteen_lines() -> None:
    assert len(PARTS) == 6
    assert [part for part in PARTS if len([line for line in part.splitlines() if line.strip()]) > 15] == []


def test_the_parts_train_and_evaluate(
    parts: dict[str, Any], config: yolact.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the run folder goes
    monkeypatch.setattr(yolact, "load_config", lambda name: config, raising=False)
    names = dict(parts)
    exec(USE, names)
    trainer = names["trainer"]
    assert trainer.step == 2
    assert set(trainer.model.terms) == {"box", "class", "mask", "semantic", "boundary"}
    lines = (trainer.folder / "metrics.jsonl").read_text()
    assert '"boundary"' in lines
    assert '"mean_iou"' in lines
    assert 0 <= trainer.metrics["mean_iou"] <= 1

    predictor = yolact.load(trainer.folder / "best.pth", backbone=parts["RegNet"]())
    dataset = CocoDataset(config.data.val_annotations, config.data.val_images)
    evaluation = yolact.evaluate(predictor, dataset, evaluators=[parts["MeanIoU"]()], progress=False)
    assert evaluation.metrics["mean_iou"] == pytest.approx(trainer.metrics["mean_iou"])
    for settings, images in ((None, 3), (replace(config.eval, max_images=2), 2)):
        assert yolact.evaluate(predictor, dataset, settings, progress=False).metrics["images"] == images


def test_a_training_needs_a_configuration_or_a_run() -> None:
    with pytest.raises(UserError, match=r"needs a configuration, .* or resume=DIR"):
        yolact.train()


def test_the_callback_ends_the_training(parts: dict[str, Any], config: yolact.Config, tmp_path: Path) -> None:
    longer = replace(config, train=replace(config.train, max_steps=6, eval_every=1))
    trainer = yolact.train(longer, runs=tmp_path, device="cpu", callbacks=[parts["StopWhenGood"](0.0)])
    assert trainer.step == 1
    assert trainer.saved == trainer.folder / "last.pth"
