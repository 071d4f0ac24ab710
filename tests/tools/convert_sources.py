"""Small sources of each format, and what a written conversion holds when it is loaded."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from yolact.data.dataset import CocoDataset
from yolact.data.segmentations import IDENTITY, draw_masks
from yolact.evaluation.coco import compute_metrics
from yolact.tools.convert.common import Conversion
from yolact.tools.convert.writing import write_conversion

HEIGHT, WIDTH = 40, 60
TRIANGLE = [[1, 1], [9, 1], [9, 7]]


def write_image(path: Path, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    """Write a noisy image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), np.uint8))
    return path


def write_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), mask.astype(np.uint8) if mask.dtype == bool else mask)


def shape(label: str = "cat", points: Any = TRIANGLE, kind: Any = "polygon", group: Any = None, **more: Any) -> Any:
    """Return a shape of a labelme file."""
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}, **more}


def write_labelme(folder: Path, shapes: object, name: str = "a", image: bool = True, **fields: object) -> Path:
    """Write folder/<name>.json, and an image <name>.png unless told otherwise."""
    if image:
        write_image(folder / f"{name}.png")
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    content = {"shapes": shapes, "imagePath": f"{Path(name).name}.png", "imageData": None, **size, **fields}
    path.write_text(json.dumps(content))
    return path


def write_yolo(folder: Path, labels: dict[str, str | None], images: str = "images", texts: str = "labels") -> Path:
    """Write label files, {name without suffix: text or None}, and an image for each."""
    for name, text in labels.items():
        write_image(folder / images / f"{name}.png")
        if text is not None:
            (folder / texts / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / texts / f"{name}.txt").write_text(text)
    return folder


def names_of(conversion: Conversion) -> dict[str, list[str]]:
    """Return the names of the images of each split."""
    return {split: [image.name for image in images] for split, images in conversion.splits.items()}


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def drawn(*polygons: list[float], size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    """Return what pycocotools draws."""
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(list(polygons), *size))) > 0


def load(annotations: Path, images: Path) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Load annotations; return class name and mask of every object, by file name.

    Predictions of just these masks score an AP of 1.
    """
    dataset, found = CocoDataset(annotations, images), {}
    perfect: list[dict[str, Any]] = []
    assert not dataset.dropped
    for index, image in enumerate(dataset.images):
        size = image.height, image.width
        assert dataset.load_image(index).shape[:2] == size
        records = dataset.objects(index)
        masks = draw_masks([record.segmentation for record in records], IDENTITY, size).astype(bool)
        assert [record.area for record in records] == masks.sum(axis=(1, 2)).tolist()
        for record, mask in zip(records, masks, strict=True):
            places = np.argwhere(mask)[:, ::-1]  # a polygon's box is that of its points, and thin tips have no pixels
            assert (places.min(axis=0) + 0.5 >= record.bbox[:2]).all()
            assert (places.max(axis=0) + 0.5 <= record.bbox[2:]).all()
        for record, mask in zip(records, masks, strict=True):
            runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            category_id = dataset.categories.ids[record.label]
            if not record.iscrowd:
                perfect.append({"image_id": image.id, "category_id": category_id, "score": 1.0, "segmentation": runs})
        names = [dataset.categories.names[record.label] for record in records]
        found[image.file_name] = list(zip(names, masks, strict=True))
    if perfect:
        precision = compute_metrics(dataset, perfect, "segm").summary["AP"]
        assert np.isclose(precision, 1)  # but for what pycocotools adds to denominators
    return found


def converted(conversion: Conversion, output: Path) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Write a conversion without splits, and load it."""
    [written] = write_conversion(conversion, output, True)
    return load(written.annotations, written.folder)
