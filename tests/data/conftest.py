"""A tiny data set whose every number is known."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from yolact.config import AugmentConfig
from yolact.data.annotations import ObjectRecord
from yolact.data.dataset import CocoDataset
from yolact.data.loader import Place, TrainingSet
from yolact.data.transforms import Sample, make_transforms
from yolact.evaluation.coco import read_truth
from yolact.structures import Resize
from yolact.tools.inspect.findings import Finding
from yolact.tools.inspect.reading import InspectedSet, Source, inspect_files

HEIGHT, WIDTH = 40, 60


def rectangle(number: int, image_id: int, category_id: int, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    """Return the annotation of an object that fills its box."""
    outline = [x, y, x + width, y, x + width, y + height, x, y + height]
    shape = {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0, "segmentation": [outline]}
    return {"id": number, "image_id": image_id, "category_id": category_id, **shape}


def box_record(x0: float, y0: float, x1: float, y1: float, **fields: Any) -> ObjectRecord:
    """Return such an object as data sets hold it."""
    polygon = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    values = {"label": 0, "iscrowd": False, "segmentation": [polygon], "area": float((x1 - x0) * (y1 - y0)), "id": 1}
    return ObjectRecord(**{"bbox": (x0, y0, x1, y1), **values, **fields})


def augmented(rng: np.random.Generator, sample: Sample, augment: AugmentConfig) -> Sample:
    for transform in make_transforms(augment):
        sample = transform(rng, sample)
    return sample


def content() -> dict[str, Any]:
    """Three pictures of 40 x 60: two objects (polygon, crowd RLE), one object (polygon), none. Ids have gaps."""
    size, names = {"height": HEIGHT, "width": WIDTH}, {9: "a.png", 4: "below/b.png", 5: "c.png"}
    columns = [0, 5 * HEIGHT, HEIGHT * (WIDTH - 5)]  # 0 to 4
    crowd = {"iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": columns}}
    return {
        "images": [{"id": number, "file_name": name, **size} for number, name in names.items()],
        "annotations": [
            rectangle(1, 9, 42, 10, 5, 20, 15),
            {**rectangle(2, 9, 7, 0, 0, 5, 40), **crowd},
            rectangle(8, 4, 7, 40, 20, 10, 10),
        ],
        "categories": [{"id": 42, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 20, "name": "cow"}],
    }


@pytest.fixture(scope="session")
def write_set_to() -> Callable[..., tuple[Path, Path]]:
    """Return a function that writes the data set into a folder, with `change(content)` applied: (JSON, pictures)."""

    def write(parent: Path, change: Callable[[dict[str, Any]], object] | None = None) -> tuple[Path, Path]:
        data, folder = content(), parent / "pictures"
        rng = np.random.default_rng(0)
        for record in data["images"]:
            path = folder / record["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            small = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)
            assert cv2.imwrite(str(path), cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC))
        if change is not None:
            change(data)
        annotation_file = parent / "instances.json"
        annotation_file.write_text(json.dumps(data))
        return annotation_file, folder

    return write


@pytest.fixture
def write_set(tmp_path: Path, write_set_to: Callable[..., tuple[Path, Path]]) -> Callable[..., tuple[Path, Path]]:
    """Return a function that writes the data set, with `change(content)` applied, and gives (JSON, folder)."""
    return functools.partial(write_set_to, tmp_path)


def use(file: Path, folder: Path, unreadable: str = "raise") -> tuple[CocoDataset, list[str]]:
    """Train on the first images of a data set and hand its masks to pycocotools as evaluation does.

    Returns the data set and what was skipped.
    """
    dataset, skipped = CocoDataset(file, folder), []
    samples = TrainingSet(dataset, Resize((64, 64)), make_transforms(AugmentConfig()), 0, unreadable)
    for index in range(min(len(dataset), 4)):
        image, target, reasons = samples[Place(index, index)]
        assert image.shape == (3, 64, 64)
        assert target["boxes"].isfinite().all()
        assert len(target["boxes"]) == len(target["masks"]) == len(target["labels"])
        skipped += reasons
    truth, _ = read_truth(dataset, "segm")
    for entry in truth.dataset["annotations"]:
        image, mask = truth.imgs[entry["image_id"]], truth.annToMask(entry)
        assert mask.shape == (image["height"], image["width"])
        assert mask.max() <= 1
        assert np.isfinite(entry["area"])
    return dataset, skipped


def inspect(file: Path, folder: Path) -> list[Finding]:
    """Return what an inspection finds."""
    inspected = InspectedSet(Source("train", file, folder))
    inspect_files(inspected)
    return list(inspected.findings.values())
