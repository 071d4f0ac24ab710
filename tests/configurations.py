"""Small configurations that several folders of tests share, and images to learn for the trainings among them.

`python -m tests.configurations VERB ...` is `yolact VERB ...` where their backbone is known.
"""

from pathlib import Path
from typing import Any

import yaml
from torch import Tensor, nn

from yolact import cli
from yolact.config import config_from_dict
from yolact.models import BACKBONES
from yolact.tools.shapes import write_shapes


class TinyBackbone(nn.Module):
    """Three convolutions: a training takes an eighth of the time that it takes with ResNet-18."""

    channels, strides = (64, 32, 32), (8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=8, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1, self.layer2 = (
            nn.Sequential(nn.Conv2d(before, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
            for before in (64, 32)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        fine = self.bn1(self.conv1(images)).relu()
        middle = self.layer1(fine)
        return [fine, middle, self.layer2(middle)]


BACKBONES["tiny"] = lambda settings: TinyBackbone()

MODEL = {  # as small as the networks get
    "image_size": 64,
    "backbone": {"name": "tiny"},
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


def data_of(shapes: Path) -> dict[str, str]:
    """Return where the generated images of a folder lie, as fields of a configuration's data."""
    images = {f"{part}_images": str(shapes / part) for part in ("train", "val")}
    return images | {f"{part}_annotations": str(shapes / f"instances_{part}.json") for part in ("train", "val")}


def write_config(folder: Path, content: dict[str, Any], num_images: int) -> Path:
    """Write generated images and a configuration for them into `folder`, and return the configuration's path.

    Args:
        folder: gets `shapes/` and a YAML file, which has the configuration's name.
        content: everything but where the data lie.
        num_images: to train on.
    """
    shapes = folder / "shapes"
    write_shapes(shapes, num_images, 3, 96, 0)
    data = {**content.get("data", {}), **data_of(shapes), "num_workers": 0}
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump({**content, "data": data}))
    return path


if __name__ == "__main__":
    cli.main()
