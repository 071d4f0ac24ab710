"""VOC 2012 from its pictures to a trained and evaluated model, as configs/yolact_resnet50_voc2012.yaml has it."""

import importlib
import json
from pathlib import Path

import pytest
import torch

import train
from yolact.engine.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
evaluation = importlib.import_module("eval")
SMALL = [
    "model.image_size=96",
    "train.epochs=1.5",
    "train.batch_size=1",
    "train.reference_batch_size=null",
    "train.backbone_weights=none",
    "train.freeze_batch_norm=never",
    "train.log_every=1",
    "data.num_workers=0",
    "eval.num_workers=0",
]


@pytest.fixture
def runs(tmp_path):
    """Folder for runs, without the large checkpoints afterwards."""
    yield tmp_path / "runs"
    for path in (tmp_path / "runs").rglob("*.pth*"):
        path.unlink()


@pytest.fixture
def voc(shared, load_script, tmp_path):
    """Folder with the annotation files of the sample."""
    load_script("prepare_voc").main([str(shared / "voc_sample"), "--output", str(tmp_path / "voc")])
    return tmp_path / "voc"


def test_the_sample_trains_and_evaluates(shared, voc, runs, tmp_path):
    pictures = shared / "voc_sample/JPEGImages"
    data = [f"data.{part}_annotations={voc}/instances_{part}.json" for part in ("train", "val")]
    data += [f"data.{part}_images={pictures}" for part in ("train", "val")]
    config = ["--config", str(ROOT / "configs/yolact_resnet50_voc2012.yaml")]
    place = ["--runs", str(runs), "--name", "x", "--device", "cpu"]
    assert train.main([*config, *place, "--set", *data, *SMALL]) == 0
    folder = runs / "yolact_resnet50_voc2012/x"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "losses" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all(torch.isfinite(torch.tensor(list(line["losses"].values()))).all() for line in steps)
    checkpoint = load_checkpoint(folder / "last.pth")
    assert (checkpoint["class_names"][14], checkpoint["category_ids"]) == ("person", list(range(1, 21)))
    output = tmp_path / "evaluation"
    assert not evaluation.main(["--weights", str(folder / "last.pth"), "--output", str(output), "--device", "cpu"])
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["images"], metrics["annotations"]) == (1, "instances_val.json")
    assert {name for name, value in metrics["per_class"]["segm"].items() if value is not None} == {"bus", "car"}
    assert all(0 <= metrics[kind]["AP"] <= 1 for kind in ("segm", "bbox"))
