"""A tiny configuration on a few generated pictures, and a run of it, for the tests of the command lines."""

import pytest
import yaml

import train
from yolact.data.shapes_files import write_shapes

TINY = {
    "name": "tiny",
    "model": {
        "image_size": 64,
        "backbone": {"name": "resnet18"},
        "anchors": {"scales": [[8], [16], [32], [48], [64]]},
        "fpn_channels": 16,
        "protonet_channels": 16,
        "num_prototypes": 8,
    },
    "train": {
        "max_steps": 12,
        "batch_size": 2,
        "reference_batch_size": None,
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup_steps": 2,
        "clip_norm": 10.0,
        "ema_decay": 0.9,
        "freeze_batch_norm": "never",
        "backbone_weights": "none",
        "log_every": 1,
        "save_every": 100,
        "eval_every": None,
    },
    "eval": {"num_workers": 0, "score_threshold": 0.3},
}


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """Path of a tiny configuration on eight generated pictures."""
    folder = tmp_path_factory.mktemp("train")
    write_shapes(folder / "shapes", 8, 3, 96, 0)
    data = {
        "train_images": str(folder / "shapes/train"),
        "train_annotations": str(folder / "shapes/instances_train.json"),
        "val_images": str(folder / "shapes/val"),
        "val_annotations": str(folder / "shapes/instances_val.json"),
        "num_workers": 0,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "data": data}))
    return path


@pytest.fixture(scope="session")
def finished(config, tmp_path_factory):
    """Folder of a whole run of that configuration."""
    runs = tmp_path_factory.mktemp("runs")
    assert train.main(["--config", str(config), "--runs", str(runs), "--name", "whole", "--device", "cpu"]) == 0
    return runs / "tiny/whole"
