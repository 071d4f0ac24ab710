"""Small configurations that several folders of tests share, and images to learn for the trainings among them."""

from pathlib import Path
from typing import Any

import yaml

from yolact.config import config_from_dict
from yolact.tools.shapes import write_shapes

MODEL = {  # as small as the networks get
    "image_size": 64,
    "backbone": {"name": "resnet18"},
    "anchors": {"scales": [[8], [16], [32], [48], [64]]},
    "fpn_channels": 16,
    "protonet_channels": 16,
    "num_prototypes": 8,
}
TRAIN = {
    "batch_size": 2,
    "reference_batch_size": None,
    "clip_norm": 10.0,
    "ema_decay": 0.9,
    "freeze_batch_norm": "never",
    "backbone_weights": "none",
    "log_every": 1,
    "save_every": 100,
    "eval_every": None,
}
EVAL = {"num_workers": 0, "score_threshold": 0.3}

CLOSE_ANCHORS = {"anchors": {"scales": [[8], [16], [24], [32], [48]]}}
SMALL_RESNET50 = config_from_dict(  # a backbone that the authors' code has too
    {
        "name": "small",
        "model": {**MODEL, **CLOSE_ANCHORS, "num_classes": 2, "backbone": {"name": "resnet50"}, "num_prototypes": 4},
    },
    "the tests",
)


def write_config(folder: Path, content: dict[str, Any], num_images: int) -> Path:
    """Write generated images and a configuration for them into `folder`, and return the configuration's path.

    Args:
        folder: gets `shapes/` and a YAML file, which has the configuration's name.
        content: everything but the data.
        num_images: to train on.
    """
    shapes = folder / "shapes"
    write_shapes(shapes, num_images, 3, 96, 0)
    data = {
        "train_images": str(shapes / "train"),
        "train_annotations": str(shapes / "instances_train.json"),
        "val_images": str(shapes / "val"),
        "val_annotations": str(shapes / "instances_val.json"),
        "num_workers": 0,
    }
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump({**content, "data": data}))
    return path
