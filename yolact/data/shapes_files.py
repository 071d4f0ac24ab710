"""Writing the generated shapes as a data set in COCO's format: all of it or nothing, and only once."""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from yolact.data.shapes import CATEGORY_IDS, CLASS_NAMES, VisibleShape, draw_shapes
from yolact.errors import DatasetError

VERSION = 2  # of the pictures; raise it with every change of them, so that stale ones are made anew
PNG_SHARE = 0.15  # the other files are JPEG
STAMP = "stamp.json"


def write_shapes(
    folder: str | Path,
    num_train: int,
    num_val: int,
    size: int = 256,
    seed: int = 0,
    *,
    track: Callable[[range, str], Iterable[int]] = lambda numbers, split: numbers,
) -> bool:
    """Write folder/train, folder/val, folder/instances_train.json and folder/instances_val.json.

    Args:
        folder: where; made with its parents. It appears when it is complete.
        num_train: pictures to train on.
        num_val: pictures to validate on.
        size: the longest side that is possible, in pixels.
        seed: the same seed gives the same pictures.
        track: wraps the picture numbers of a split, to show progress.

    Returns:
        False where the same set was there already.

    Raises:
        DatasetError: a number is out of range, the folder holds something else, or it cannot be written.
    """
    folder = Path(folder)
    if min(num_train, num_val) < 1 or size < 64 or seed < 0:
        raise DatasetError(
            f"Expected at least 1 picture each to train and to validate on, a size of at least 64 pixels and a seed of "
            f"at least 0, got {num_train}, {num_val}, {size} and {seed}; correct them."
        )
    stamp = {"version": VERSION, "train": num_train, "val": num_val, "size": size, "seed": seed}
    try:
        if _read_stamp(folder) == stamp:
            return False
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            made = Path(temporary) / "new"
            for number, (split, count) in enumerate((("train", num_train), ("val", num_val))):
                _write_split(made, split, track(range(count), split), size, (seed, number))
            (made / STAMP).write_text(json.dumps(stamp))
            if folder.exists():
                folder.rename(Path(temporary) / "old")
            made.rename(folder)
    except OSError as error:
        raise DatasetError(f"Cannot write the shapes to {folder}: {error.strerror}; choose another folder.") from None
    return True


def _read_stamp(folder: Path) -> dict[str, int] | None:
    """Return the stamp of the set in `folder`, None where there is nothing; refuse a folder of somebody else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        stamp: dict[str, int] = json.loads((folder / STAMP).read_bytes())
    except (OSError, ValueError):
        raise DatasetError(
            f"{folder} exists and was not made by this program, so it is left as it is; choose another folder."
        ) from None
    return stamp


def _write_split(folder: Path, split: str, numbers: Iterable[int], size: int, seeds: tuple[int, int]) -> None:
    (folder / split).mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in numbers:
        rng = np.random.default_rng([*seeds, number])
        picture, objects = draw_shapes(rng, size)
        name = f"{number:06d}.{'png' if rng.random() < PNG_SHARE else 'jpg'}"
        _write_picture(folder / split / name, picture, quality=int(rng.integers(80, 96)))
        height, width = picture.shape[:2]
        images.append({"id": number + 1, "file_name": name, "height": height, "width": width})
        for shape in objects:
            annotations.append(_annotation(shape, number + 1, len(annotations) + 1))
    categories = [
        {"id": category_id, "name": name, "supercategory": "shape"}
        for category_id, name in zip(CATEGORY_IDS, CLASS_NAMES, strict=True)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / f"instances_{split}.json").write_text(json.dumps(content))


def _write_picture(path: Path, picture: np.ndarray, quality: int) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    encoded, data = cv2.imencode(path.suffix, picture, options)
    assert encoded
    path.write_bytes(data.tobytes())


def _annotation(shape: VisibleShape, image_id: int, annotation_id: int) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(shape.mask, np.uint8))
    box = coco_mask.toBbox(rle).tolist()
    segmentation: object = {**rle, "counts": rle["counts"].decode()}
    if shape.polygon is not None:
        low, high = shape.polygon.min(axis=0), shape.polygon.max(axis=0)
        box = np.round([*low, *(high - low)], 2).tolist()
        segmentation = [np.round(shape.polygon.ravel(), 2).tolist()]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": CATEGORY_IDS[shape.label],
        "iscrowd": 0,
        "bbox": box,
        "area": float(shape.mask.sum()),
        "segmentation": segmentation,
    }
