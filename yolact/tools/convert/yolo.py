"""YOLO segmentation text: a line `class x1 y1 x2 y2 ...` for each object, in shares of the image's sides."""

import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np

from yolact.config.loading import read_mapping
from yolact.data.images import SUFFIXES, read_image
from yolact.errors import DatasetError
from yolact.tools.convert import common
from yolact.tools.convert.common import Conversion, FoundImage
from yolact.tools.convert.objects import FoundObject, Polygon, join_object

YAML_SUFFIXES = (".yaml", ".yml")
BOX_NUMBERS = 4  # a line of detection: class, centre, width and height
OVERHANG = 0.01  # of a side by which rounding may put a point outside
MAX_CLASS = 999_999


def read_yolo(source: Path) -> Conversion:
    """Read a folder in Ultralytics' layout, or the data set that its YAML file (data.yaml or the only one) describes.

    Class k becomes category k + 1. Images without a label file are images without objects.

    DatasetError where there are no images or labels, the YAML file says something wrong, or no image can be used;
    ConfigError where it is not valid YAML.
    """
    folder, settings = _settings(source)
    conversion, names = Conversion(folder), _class_names(folder, settings)
    lists = _image_lists(conversion, settings)
    images = [name for part in lists.values() for name in part]
    labels = {_label_name(name) for name in images}
    if not any((folder / label).is_file() for label in labels):
        raise DatasetError(
            f"None of the {len(images)} images below '{folder}' has a label file, such as '{_label_name(images[0])}' "
            f"for '{images[0]}'; give the folder that holds images and labels."
        )
    found = {image.name: image for image in conversion.collect(images, partial(_read_image, conversion, names))}
    parents = {os.path.dirname(label) for label in labels if "labels" in label.split("/")}
    for text in Conversion(folder).list_files(folder, {".txt"}):
        if os.path.dirname(text) in parents and text not in labels and not text.endswith("classes.txt"):
            conversion.note("label files without an image, passed over", text)
    if not names:
        used = {item.class_name for image in found.values() for item in image.objects}
        names = {int(name): name for name in sorted(used, key=int)}
        conversion.note("sets without class names (data.yaml or classes.txt), so that classes are numbers", str(folder))
    conversion.class_names = {index + 1: name for index, name in sorted(names.items())}
    splits = {split: [found[name] for name in part if name in found] for split, part in lists.items()}
    if "" in splits:
        splits = common.own_splits(splits[""])
    conversion.splits = {split: part for split, part in splits.items() if part}
    return conversion


def _settings(source: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the data set and what its YAML file says, which may be nothing."""
    if source.suffix.lower() in YAML_SUFFIXES:
        files = [source]
    else:
        files = sorted(file for file in source.glob("*") if file.suffix.lower() in YAML_SUFFIXES)
        files = [file for file in files if file.stem == "data"] or files
    if len(files) > 1:
        raise DatasetError(f"'{source}' holds {len(files)} YAML files; give the one that describes the data set.")
    if not files:
        return source, {}
    settings = read_mapping(files[0])
    if "kpt_shape" in settings:
        raise DatasetError(f"{files[0]} describes keypoints ('kpt_shape'), not masks; export it as segmentation.")
    return files[0].parent, settings


def _class_names(folder: Path, settings: dict[str, Any]) -> dict[int, str]:
    """Return the class names by number, from the settings or classes.txt; none where there are none."""
    given = settings.get("names")
    if given is None:
        texts = [path for path in (folder / "classes.txt", folder / "labels" / "classes.txt") if path.is_file()]
        given = [line.strip() for line in common.read_lines(texts[0]) if line.strip()] if texts else []
    entries = dict(enumerate(given)) if isinstance(given, list) else given
    is_right = isinstance(entries, dict) and all(type(key) is int and 0 <= key <= MAX_CLASS for key in entries)
    common.check(is_right, f"the YAML file in '{folder}'", "names", "a list, or names by number", given)
    names = {key: str(value) if type(value) is int else value for key, value in entries.items()}
    for name in names.values():
        is_right = isinstance(name, str) and name != "" and common.is_plain(name)
        common.check(is_right, f"'{folder}'", "names", "texts, in quotes where YAML reads them otherwise", name)
    [(name, count)] = Counter(names.values()).most_common(1) or [("", 0)]
    if count > 1:
        raise DatasetError(f"{count} classes of '{folder}' have the name '{name}'; give each its own.")
    return names


def _image_lists(conversion: Conversion, settings: dict[str, Any]) -> dict[str, list[str]]:
    """Return the names of the images below the folder, by split as the settings have it, else all under "".

    Without a YAML file that says where they are, images below folders named "images" count where there are any, else
    all images.
    """
    folder = conversion.folder
    entries = {split: settings[split] for split in common.SPLITS if settings.get(split)}
    if not entries:
        names = conversion.list_files(folder, SUFFIXES)
        if not names:
            raise DatasetError(f"There are no images below '{folder}'; check the path.")
        return {"": [name for name in names if "images" in name.split("/")[:-1]] or names}
    path = settings.get("path")
    roots = [folder / path, folder] if isinstance(path, str) else [folder]
    lists: dict[str, list[str]] = {}
    for split, entry in entries.items():
        texts = entry if isinstance(entry, list) else [entry]
        lists[split] = sorted({name for text in texts for name in _listed(conversion, text, roots, split)})
        for other in set(lists) - {split}:
            for name in set(lists[split]).intersection(lists[other]):
                raise DatasetError(
                    f"The YAML file has the image '{name}' in '{other}' and in '{split}'; take it out of one, or take "
                    f"'{split}' out of the file and split with --val-share."
                )
    if not any(lists.values()):
        raise DatasetError("The entries 'train' and 'val' of the YAML file lead to no images; correct them.")
    return lists


def _listed(conversion: Conversion, text: object, roots: list[Path], split: str) -> Iterator[str]:
    """Yield the images that an entry of the YAML file leads to: those of a folder, or of a text file of names."""
    folder = conversion.folder
    name = _locate(folder, text, roots)
    if name is None:
        raise DatasetError(
            f"'{split}' of the YAML file is {brief(text)}, which leads to nothing below '{folder}'; correct it, or "
            "take 'train' and 'val' out of the file if the folders are named so."
        )
    path = folder / name
    if path.is_dir():
        yield from (posixpath.normpath(f"{name}/{image}") for image in conversion.list_files(path, SUFFIXES))
        return
    for line in filter(None, map(str.strip, common.read_lines(path))):
        found = _locate(folder, line, [path.parent, *roots])
        if found is None:
            raise DatasetError(f"{path} lists {brief(line)}, which leads to nothing below '{folder}'; correct it.")
        yield found


def _locate(folder: Path, text: object, roots: list[Path]) -> str | None:
    """Return what `text` names, relative to the folder; None if that does not exist or lies elsewhere.

    Roboflow writes `../train/images` where `train/images` is meant.
    """
    if not isinstance(text, str) or not common.is_plain(text):
        return None
    text = text.replace("\\", "/")
    paths = (path for root in roots for path in (root / text, root / text.removeprefix("../")))
    names = (common.name_below(folder, path) for path in paths)
    return next((name for name in names if name is not None and os.path.exists(folder / name)), None)


def _label_name(image: str) -> str:
    """Return the label file of an image: beside it, or below "labels" where the image is below "images"."""
    return common.swap_folder(os.path.splitext(image)[0], "images", "labels") + ".txt"


def _read_image(conversion: Conversion, names: dict[int, str], name: str) -> FoundImage:
    """Return an image with its objects; DatasetError where the image or a line is wrong."""
    height, width, _ = read_image(conversion.folder / name).shape
    path = conversion.folder / _label_name(name)
    objects: list[FoundObject] = []
    if not path.is_file():
        conversion.note("images without a label file, taken as images without objects", name)
        return FoundImage(name, (height, width), objects)
    for number, line in enumerate(common.read_lines(path), start=1):
        where = f"line {number} of {path}"
        if not line.strip():
            continue
        index, points = parse_line(line, where)
        if names and index not in names:
            raise DatasetError(f"{where} has class {index}, but there are {len(names)} class names; correct it.")
        if points is None:
            conversion.note("boxes (lines of 5 numbers, as for detection) without a mask, passed over", where)
            continue
        polygon = points * (width, height)
        item = join_object(names.get(index, str(index)), [polygon], (height, width), where)
        objects += conversion.kept(item, where)
    return FoundImage(name, (height, width), objects)


def parse_line(line: str, where: str) -> tuple[int, Polygon | None]:
    """Return the class and the outline of a line that is not blank.

    The outline is float64 [M, 2] (x, y) in shares of the image's width and height, None for a box. DatasetError where
    the line is not a whole number and at least three points within the image; `where` names it.
    """
    try:
        first, *values = [float(word) for word in line.split()]
    except ValueError:
        first, values = np.nan, []
    outside = [value for value in values if not -OVERHANG <= value <= 1 + OVERHANG]  # and NaN
    if not (first.is_integer() and 0 <= first <= MAX_CLASS):
        why = "does not begin with the number of a class, or holds something other than numbers"
    elif outside:
        why = f"holds {outside[0]:g}, which is not between 0 and 1"
    elif len(values) == BOX_NUMBERS:
        return int(first), None
    elif len(values) < 6 or len(values) % 2:
        why = f"holds {len(values)} numbers after the class"
    else:
        return int(first), np.array(values).reshape(-1, 2)
    raise DatasetError(f"{where} {why}; expected `class x1 y1 x2 y2 x3 y3 ...` in shares of the image's sides.")
