"""Fixtures for the whole suite: where the optional sample data lies, and one thread so that runs repeat."""

import importlib.util
import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import hypothesis
import numpy as np
import pytest
import torch
from pycocotools import mask as mask_tools

from tests.child import Ended, run_in_child
from tests.configurations import CLOSE_ANCHORS, MODEL
from tests.made import make_checkpoint
from yolact.config import Config, config_from_dict, config_to_dict
from yolact.data import CocoDataset
from yolact.engine.checkpoint import save_checkpoint
from yolact.errors import UserError
from yolact.models import build_model

# The same examples each time, and no limit of time, which a busy machine would exceed.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with sample data sets beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the sample data sets (../shared) are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], ModuleType]:
    """Return a function that imports a program of scripts/ by its name, anew at each call."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Require it of every error that is meant for users, in whatever test."""

    def check(error: UserError, *arguments: object) -> None:
        Exception.__init__(error, *arguments)
        assert "\n" not in str(error)

    monkeypatch.setattr(UserError, "__init__", check)


@pytest.fixture(autouse=True)
def _no_log_handlers() -> None:
    """Undo what a command that ran within this process has set up for its log lines, which print them."""
    ours, root = logging.getLogger("yolact"), logging.getLogger()
    logging.disable(logging.NOTSET)
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("yolact") and isinstance(logger, logging.Logger):  # also what a library has done to them
            logger.setLevel(logging.NOTSET)
            logger.disabled, logger.propagate = False, True
    root.setLevel(logging.WARNING)
    for logger in (ours, root):
        for handler in list(logger.handlers):
            if logger is ours or type(handler) is logging.StreamHandler:  # the others of the root are pytest's
                logger.removeHandler(handler)
                handler.close()


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of the time of a tiny training; fixtures of the session still draw."""
    monkeypatch.setattr("yolact.tools.report.curves.write_curves", lambda folder: None)


CLASSES = {"disc": 3, "square": 7}  # the ids have gaps and do not begin with 1


@pytest.fixture(scope="session")
def sample_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with six small images of discs and squares (`pictures/`) and their annotations (`annotations.json`).

    The last one holds no objects, the one before a crowd region; their ids begin with 10.
    """
    folder = tmp_path_factory.mktemp("sample_data")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(6):
        height, width = (60, 80) if number % 2 else (72, 64)
        image = np.full((height, width, 3), 40 + 5 * number, np.uint8)
        for place in range(0 if number == 5 else 2):
            x, y = int(rng.integers(4, width // 2 - 20) + place * width // 2), int(rng.integers(4, height - 24))
            name = "disc" if (number + place) % 2 else "square"
            mask = np.zeros((height, width), np.uint8)
            if name == "disc":
                cv2.circle(mask, (x + 9, y + 9), 9, 1, -1)
            else:
                mask[y : y + 18, x : x + 18] = 1
            image[mask > 0] = (60, 220, 90) if name == "disc" else (230, 120, 240)
            rle = mask_tools.encode(np.asfortranarray(mask))
            annotations.append({
                "id": len(annotations) + 1, "image_id": 10 + number, "category_id": CLASSES[name],
                "bbox": mask_tools.toBbox(rle).tolist(), "area": int(mask.sum()),
                "iscrowd": int(number == 4 and place == 1),
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
            })  # fmt: skip
        name = f"picture {number}.png"
        cv2.imwrite(str(folder / "pictures" / name), image)
        images.append({"id": 10 + number, "file_name": name, "height": height, "width": width})
    categories = [{"id": category_id, "name": name} for name, category_id in CLASSES.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def dataset(sample_data: Path) -> CocoDataset:
    """Return `sample_data` as it is read."""
    return CocoDataset(sample_data / "annotations.json", sample_data / "pictures")


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """A network of a few channels for three classes at 64 pixels."""
    return config_from_dict({"name": "tiny", "model": {**MODEL, "num_classes": 3}}, "the tests")


@pytest.fixture(scope="session")
def sample_config(sample_data: Path) -> Config:
    """Return a small configuration for `sample_data`, without workers."""
    images, annotations = str(sample_data / "pictures"), str(sample_data / "annotations.json")
    data = {"train_images": images, "train_annotations": annotations, "num_workers": 0}
    data |= {"val_images": images, "val_annotations": annotations}
    model = {**MODEL, **CLOSE_ANCHORS, "num_classes": 2, "fpn_channels": 32, "protonet_channels": 32}
    return config_from_dict({"name": "sample", "model": model, "data": data, "eval": {"num_workers": 0}}, "the tests")


@pytest.fixture(scope="session")
def sample_checkpoint(sample_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of an untrained model of `sample_config`, which is sure of much that it finds."""
    torch.manual_seed(0)
    model = build_model(sample_config)
    model.head.class_logits.weight.data.mul_(20)
    path = tmp_path_factory.mktemp("sample_checkpoint") / "last.pth"
    config, classes = config_to_dict(sample_config), (list(CLASSES), list(CLASSES.values()))
    save_checkpoint(make_checkpoint(model.state_dict(), config, *classes), path)
    return path


@pytest.fixture(scope="session")
def in_child() -> Callable[..., list[Ended]]:
    """Return `run_in_child`."""
    return run_in_child
