"""The Semantic Boundaries Dataset (SBD, benchmark_RELEASE) as a data set in COCO's format.

For each picture, inst/<name>.mat holds the struct GTinst: Segmentation gives each pixel the number of its object, 0 for
none, and Categories the class of object 1, 2 and so on, from 1 to 20 as in VOC. Its boundaries are not needed.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from yolact.data.class_lists import VOC_CATEGORY_IDS, VOC_CLASSES
from yolact.data.images import read_image
from yolact.data.mat_files import Load, MatReader
from yolact.data.voc import VOID, read_names
from yolact.errors import DatasetError
from yolact.tools.convert.objects import FoundObject, coco_content, encode_numbers, pixel_object


def find_sbd(folder: Path) -> Path | None:
    """Return SBD's folder of data, which holds img and inst: `folder` or its subfolder `dataset`; None for neither."""
    places = (folder, folder / "dataset")
    return next((place for place in places if (place / "inst").is_dir() and (place / "img").is_dir()), None)


def read_split(folder: Path, split: str) -> list[str]:
    """Return the picture names that <split>.txt lists.

    Raises:
        DatasetError: the list is missing, empty or wrong.
    """
    return read_names(folder / f"{split}.txt", "unpack SBD's benchmark.tgz again")


def read_objects(folder: Path, name: str, reader: MatReader) -> tuple[tuple[int, int], list[FoundObject], Counter[str]]:
    """Return the size (H, W) of a picture, its objects in the order of their numbers, and what was passed over.

    Args:
        folder: holds img and inst.
        name: of the picture.
        reader: of the .mat file.

    Raises:
        DatasetError: a file is missing or damaged, or the two do not belong together.
    """
    path = folder / "inst" / f"{name}.mat"
    found = reader.read_struct(path, "GTinst", ("Segmentation", "Categories"))
    numbers, categories = found["Segmentation"], found["Categories"].ravel()
    if numbers.ndim != 2 or numbers.dtype.kind != "u" or not numbers.size:
        raise DatasetError(
            f"Segmentation of {path} is {numbers.dtype} of shape {numbers.shape}, expected unsigned whole numbers in "
            "two dimensions; unpack SBD again."
        )
    if categories.dtype.kind not in "uif" or not np.isin(categories, VOC_CATEGORY_IDS).all():
        raise DatasetError(
            f"Categories of {path} holds {categories[:5].tolist()}, expected numbers of classes from 1 to "
            f"{len(VOC_CLASSES)}; unpack SBD again."
        )
    height, width = read_image(folder / "img" / f"{name}.jpg").shape[:2]
    if numbers.shape != (height, width):
        raise DatasetError(
            f"Segmentation of {path} is {numbers.shape[1]} x {numbers.shape[0]} pixels (width x height), but "
            f"img/{name}.jpg is {width} x {height}; unpack SBD again."
        )
    objects, passed = _split_objects(np.where(numbers == VOID, 0, numbers), categories.astype(int).tolist())
    return (height, width), objects, passed


def _split_objects(numbers: np.ndarray, categories: list[int]) -> tuple[list[FoundObject], Counter[str]]:
    objects: list[FoundObject] = []
    passed: Counter[str] = Counter()
    for number, runs in encode_numbers(numbers):
        if number > len(categories):
            passed["areas without a category"] += 1
            continue
        item = pixel_object(VOC_CLASSES[categories[number - 1] - 1], runs)
        if item is not None:
            objects.append(item)
    if len(objects) < len(categories):
        passed["categories without a pixel"] += len(categories) - len(objects)
    return objects, passed


def convert_split(folder: Path, names: Iterable[str], load: Load) -> tuple[dict[str, Any], Counter[str], Counter[str]]:
    """Return the COCO file of the named pictures, with RLE masks, the objects of each class, and what was passed over.

    Args:
        folder: holds img and inst.
        names: of the pictures.
        load: scipy.io.loadmat.

    Raises:
        DatasetError: as `read_objects`.
    """
    rows = []
    counts: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    with MatReader(load) as reader:
        for name in names:
            size, objects, more = read_objects(folder, name, reader)
            rows.append((f"{name}.jpg", size, objects))
            counts.update(item.class_name for item in objects)
            passed += more
    return coco_content(rows, dict(zip(VOC_CATEGORY_IDS, VOC_CLASSES, strict=True))), counts, passed
