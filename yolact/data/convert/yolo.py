"""YOLO segmentation text: a line `class x1 y1 x2 y2 ...` for each object, in shares of the picture's sides."""

from functools import partial
from pathlib import Path

import numpy as np

from yolact.data.convert.common import Conversion, FoundPicture, Notes, Track, collect, own_splits
from yolact.data.convert.objects import FoundObject, Polygon, polygon_object
from yolact.data.convert.yolo_layout import find_names, find_pictures, find_settings, label_name, unused_labels
from yolact.data.images import read_image
from yolact.errors import DatasetError

BOX_NUMBERS = 4  # a line of detection: class, centre, width and height
BOXES = "boxes (lines of 5 numbers, as for detection) without a mask, passed over"
OVERHANG = 0.01  # of a side by which rounding may put a point outside


def read_yolo(source: Path, track: Track) -> Conversion:
    """Read a folder in Ultralytics' layout, or the data set that a `data.yaml` describes.

    Class k becomes category k + 1. Pictures without a label file are pictures without objects.

    Raises:
        DatasetError: there are no pictures or labels, the YAML file is wrong, or no picture can be used.
        ConfigError: the YAML file is not valid YAML.
    """
    notes = Notes()
    folder, settings = find_settings(source)
    names = find_names(folder, settings)
    if not names:
        notes.remarks.append("There are no class names (data.yaml or classes.txt), so the classes have their numbers.")
    lists = find_pictures(folder, settings, notes)
    pictures = [name for split in lists.values() for name in split]
    if not any((folder / label_name(name)).is_file() for name in pictures):
        raise DatasetError(
            f"None of the {len(pictures)} pictures below '{folder}' has a label file, such as "
            f"'{label_name(pictures[0])}' for '{pictures[0]}'; give the folder that holds pictures and labels."
        )
    found = collect(pictures, partial(_read_picture, folder, names, notes), notes, track)
    for label in unused_labels(folder, pictures):
        notes.add("label files without a picture, passed over", label)
    by_name = {picture.name: picture for picture in found}
    splits = {split: [by_name[name] for name in part if name in by_name] for split, part in lists.items()}
    splits = {split: part for split, part in splits.items() if part}
    used = {item.class_name for picture in found for item in picture.objects}
    names = names or {int(name): name for name in sorted(used, key=int)}
    classes = {index + 1: name for index, name in names.items()}
    return Conversion(folder, own_splits(found) if "" in splits else splits, classes, notes)


def _read_picture(folder: Path, names: dict[int, str], notes: Notes, name: str) -> FoundPicture:
    """Return a picture with its objects.

    Raises:
        DatasetError: the picture or a line is wrong.
    """
    height, width, _ = read_image(folder / name).shape
    image_size = (height, width)
    path = folder / label_name(name)
    objects: list[FoundObject] = []
    if not path.is_file():
        notes.add("pictures without a label file, taken as pictures without objects", name)
        return FoundPicture(name, image_size, objects)
    for number, line in enumerate(_read_lines(path), start=1):
        where = f"line {number} of {path}"
        if not line.strip():
            continue
        index, points = parse_line(line, where)
        if names and index not in names:
            raise DatasetError(
                f"{where} has class {index}, which has none of the {len(names)} class names; correct it."
            )
        if points is None:
            notes.add(BOXES, where)
            continue
        polygon = points * (width, height)
        item = polygon_object(names.get(index, str(index)), [polygon], image_size, where)
        if item is None:
            notes.add("objects that cover no pixel, passed over", where)
        else:
            objects.append(item)
    return FoundPicture(name, image_size, objects)


def parse_line(line: str, where: str) -> tuple[int, Polygon | None]:
    """Return the class and the outline of a line.

    Args:
        line: not blank.
        where: names the line in errors.

    Returns:
        The class, 0 or more, and float64 [M, 2] (x, y) in shares of the picture's width and height; None for a box.

    Raises:
        DatasetError: it is not a whole number and at least three points within the picture.
    """

    def refuse(why: str) -> DatasetError:
        return DatasetError(f"{where} {why}; expected `class x1 y1 x2 y2 x3 y3 ...` in shares of the picture's sides.")

    try:
        first, *values = [float(word) for word in line.split()]
    except ValueError:
        raise refuse("holds something other than numbers") from None
    if not (first.is_integer() and 0 <= first < 1e6):
        raise refuse(f"begins with {first:g}, which is no class")
    outside = [value for value in values if not -OVERHANG <= value <= 1 + OVERHANG]  # and NaN
    if outside:
        raise refuse(f"holds {outside[0]:g}, which is not between 0 and 1")
    if len(values) == BOX_NUMBERS:
        return int(first), None
    if len(values) < 6 or len(values) % 2:
        raise refuse(f"holds {len(values)} numbers after the class")
    return int(first), np.array(values).reshape(-1, 2)


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DatasetError(f"Cannot read the label file {path}: {error.strerror}; check its permissions.") from None
    except ValueError:
        raise DatasetError(f"The label file {path} is not text; export it again.") from None
