"""Small sources of each format, and what a written conversion holds when it is loaded."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolact.data.dataset import CocoDataset
from yolact.data.masks import IDENTITY, draw_masks

HEIGHT, WIDTH = 40, 60


@pytest.fixture
def write_picture() -> Callable[..., Path]:
    """Return a function that writes a noisy picture of 40 x 60, or of another size (H, W)."""

    def write(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), np.uint8)
        assert cv2.imwrite(str(path), noise)
        return path

    return write


@pytest.fixture
def write_labelme(write_picture: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes folder/<name>.json for shapes, and a picture <name>.png unless told otherwise."""

    def write(folder: Path, shapes: object, name: str = "a", picture: bool = True, **fields: object) -> Path:
        if picture:
            write_picture(folder / f"{name}.png")
        path = folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": f"{Path(name).name}.png",
            "imageData": None,
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
            **fields,
        }
        path.write_text(json.dumps(content))
        return path

    return write


Objects = dict[str, list[tuple[str, np.ndarray]]]


@pytest.fixture
def load() -> Callable[[Path, Path], Objects]:
    """Return a function that loads annotations and gives class name and mask of every object, by file name."""

    def load(annotations: Path, images: Path) -> Objects:
        dataset = CocoDataset(annotations, images)
        assert not dataset.dropped
        found: Objects = {}
        for index, picture in enumerate(dataset.images):
            assert dataset.load_image(index).shape[:2] == (picture.height, picture.width)
            records = dataset.objects(index)
            masks = draw_masks([record.segmentation for record in records], IDENTITY, (picture.height, picture.width))
            for record, mask in zip(records, masks, strict=True):
                assert record.area == mask.sum()
                rows, columns = np.nonzero(mask)
                # The box of a polygon is that of its points, and a thin tip has no pixels.
                assert record.bbox[0] <= columns.min() + 0.5
                assert record.bbox[1] <= rows.min() + 0.5
                assert record.bbox[2] >= columns.max() + 0.5
                assert record.bbox[3] >= rows.max() + 0.5
            names = [dataset.categories.names[record.label] for record in records]
            found[picture.file_name] = list(zip(names, masks.astype(bool), strict=True))
        return found

    return load


@pytest.fixture
def everything() -> Callable[[Path], dict[str, bytes | None]]:
    """Return a function that gives all names below a folder, with the content of the files."""

    def read(folder: Path) -> dict[str, bytes | None]:
        paths = folder.rglob("*")
        return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}

    return read
