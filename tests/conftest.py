"""Fixtures for the whole suite: where the optional sample data lies, and one thread so that runs repeat."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as mask_tools

from yolact.config import AnchorConfig, BackboneConfig, Config, DataConfig, EvalConfig, ModelConfig, config_to_dict
from yolact.engine.checkpoint import FORMAT, save_checkpoint
from yolact.models import build_model

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with sample data sets beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the sample data sets (../shared) are not beside this checkout")
    return SHARED


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


CLASSES = {"disc": 3, "square": 7}  # the ids have gaps and do not begin with 1


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with six small pictures of discs and squares (`pictures/`) and their annotations (`annotations.json`).

    The last one holds no objects, the one before a crowd region; their ids begin with 10.
    """
    folder = tmp_path_factory.mktemp("sample_data")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(6):
        height, width = (60, 80) if number % 2 else (72, 64)
        picture = np.full((height, width, 3), 40 + 5 * number, np.uint8)
        for place in range(0 if number == 5 else 2):
            x, y = int(rng.integers(4, width // 2 - 20) + place * width // 2), int(rng.integers(4, height - 24))
            name = "disc" if (number + place) % 2 else "square"
            mask = np.zeros((height, width), np.uint8)
            if name == "disc":
                cv2.circle(mask, (x + 9, y + 9), 9, 1, -1)
            else:
                mask[y : y + 18, x : x + 18] = 1
            picture[mask > 0] = (60, 220, 90) if name == "disc" else (230, 120, 240)
            rle = mask_tools.encode(np.asfortranarray(mask))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 10 + number,
                    "category_id": CLASSES[name],
                    "bbox": mask_tools.toBbox(rle).tolist(),
                    "area": int(mask.sum()),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "iscrowd": int(number == 4 and place == 1),
                }
            )
        name = f"picture {number}.png"
        cv2.imwrite(str(folder / "pictures" / name), picture)
        images.append({"id": 10 + number, "file_name": name, "height": height, "width": width})
    categories = [{"id": category_id, "name": name} for name, category_id in CLASSES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def sample_config(sample_data: Path) -> Config:
    """Return a small configuration for `sample_data`, without workers."""
    return Config(
        name="sample",
        model=ModelConfig(
            num_classes=2,
            image_size=64,
            backbone=BackboneConfig(name="resnet18"),
            anchors=AnchorConfig(scales=((8.0,), (16.0,), (24.0,), (32.0,), (48.0,))),
            fpn_channels=32,
            protonet_channels=32,
            num_prototypes=8,
        ),
        data=DataConfig(
            train_images=str(sample_data / "pictures"),
            train_annotations=str(sample_data / "annotations.json"),
            val_images=str(sample_data / "pictures"),
            val_annotations=str(sample_data / "annotations.json"),
            num_workers=0,
        ),
        eval=EvalConfig(num_workers=0),
    )


@pytest.fixture(scope="session")
def sample_checkpoint(sample_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of an untrained model of `sample_config`."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("sample_checkpoint") / "last.pth"
    state = {
        "format": FORMAT,
        "step": 0,
        "model": build_model(sample_config).state_dict(),
        "ema": None,
        "config": config_to_dict(sample_config),
        "class_names": list(CLASSES),
        "category_ids": list(CLASSES.values()),
    }
    save_checkpoint(state, path)
    return path


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """A network of a few channels for three classes at 64 pixels."""
    model = ModelConfig(
        num_classes=3,
        image_size=64,
        backbone=BackboneConfig(name="resnet18"),
        anchors=AnchorConfig(scales=((8,), (16,), (32,), (48,), (64,))),
        fpn_channels=16,
        protonet_channels=16,
        num_prototypes=8,
    )
    return Config(name="tiny", model=model)
