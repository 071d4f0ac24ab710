"""YOLO segmentation text: a line `class x1 y1 x2 y2 ...` for each object, in shares of the image's sides.

A line may also be `class rle HEIGHT WIDTH COUNTS`, with COCO's run lengths.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np

from yolact.config.loading import read_mapping
from yolact.data.annotations import ImageRecord, parse_segmentation
from yolact.data.images import SUFFIXES, read_size
from yolact.data.segmentations import Rle
from yolact.errors import DatasetError
from yolact.ops.rle import encode_ends
from yolact.text import printable
from yolact.tools.convert import common
from yolact.tools.convert.common import SPLITS, Conversion, FoundImage, Part, RunLengths, is_text

BOX_NUMBERS = 4  # a line of detection: class, centre, width and height
OVERHANG = 0.01  # of a side by which rounding may put a point outside
MAX_CLASS = 999_999
EXPECTED = "expected `class x1 y1 x2 y2 x3 y3 ...` in shares of the image's sides"


def read_yolo(source: Path) -> Conversion:
    """Read a folder in Ultralytics' layout, or the data set that its YAML file (data.yaml or the only one) describes.

    Class k becomes category k + 1. Images without a label file are images without objects. ConfigError where the YAML
    file is no YAML, DatasetError where it is wrong otherwise, or no image has labels that can be used.
    """
    folder, settings = _settings(source)
    conversion, names = Conversion(folder), _class_names(folder, settings)
    splits = _image_splits(conversion, settings)
    labels = {name: common.label_stem(name, "labels") + ".txt" for name in splits}
    conversion.require_labels(labels, [name for name, label in labels.items() if (folder / label).is_file()])

    def read(name: str, label: str) -> FoundImage:
        size = read_size(folder / name)
        lines = _read_lines(conversion, folder / label)
        parts = common.each(lines, lambda line: _read_line(conversion, *line, names, size))
        return FoundImage(name, size, conversion.objects(parts, size))

    images = conversion.collect(labels, read)
    if "" not in splits.values():
        parts = ((split, [image for image in images if splits[image.name] == split]) for split in SPLITS)
        conversion.splits = {split: part for split, part in parts if part}
    if not names:
        names = {int(name): name for name in conversion.class_names.values()}
        conversion.note("sets without class names (data.yaml or classes.txt), so that classes are numbers", folder)
    conversion.declare({index + 1: name for index, name in sorted(names.items())})
    parents = {os.path.dirname(label) for label in labels.values() if "labels" in label.split("/")}
    texts = {*conversion.list_files(folder, {".txt"})}.difference(labels.values())
    lost = (text for text in sorted(texts) if os.path.dirname(text) in parents and not text.endswith("classes.txt"))
    conversion.note("label files without an image, passed over", *lost)
    return conversion


def _settings(source: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the data set and what its YAML file says, which may be nothing."""
    files = [file for file in [source, *sorted(source.glob("*"))] if file.suffix.lower() in (".yaml", ".yml")]
    files = [file for file in files if file.stem == "data"] or files
    if not files:
        return source, {}
    if len(files) > 1:
        raise DatasetError(f"'{source}' holds {len(files)} YAML files; give the one that describes the data set.")
    settings = read_mapping(files[0])
    if "kpt_shape" in settings:
        raise DatasetError(f"{files[0]} describes keypoints ('kpt_shape'), not masks; export it as segmentation.")
    return files[0].parent, settings


def _class_names(folder: Path, settings: dict[str, Any]) -> dict[int, str]:
    """Return the class names by number, from the settings or classes.txt; none where there are none."""
    given = settings.get("names")
    if given is None:
        texts = [path for path in (folder / "classes.txt", folder / "labels" / "classes.txt") if path.is_file()]
        given = list(filter(None, _lines(texts[0]))) if texts else []
    entries = dict(enumerate(given)) if isinstance(given, list) else given
    is_right = isinstance(entries, dict) and all(type(key) is int and 0 <= key <= MAX_CLASS for key in entries)
    names = {key: str(name) if type(name) is int else name for key, name in entries.items()} if is_right else {}
    is_right = is_right and all(map(is_text, names.values())) and len(set(names.values())) == len(names)
    expected = "a list, or texts by number, each once, in quotes where YAML reads them otherwise"
    common.check(is_right, f"'{folder}'", "names", expected, given)
    return names


def _image_splits(conversion: Conversion, settings: dict[str, Any]) -> dict[str, str]:
    """Return the split of each image that the settings lead to; else "" for those below folders "images", or all."""
    folder = conversion.folder
    entries = {split: settings[split] for split in SPLITS if settings.get(split)}
    if not entries:
        names = conversion.list_files(folder, SUFFIXES)
        return dict.fromkeys([name for name in names if "images" in name.split("/")[:-1]] or names, "")
    roots = [folder / str(settings.get("path", "")), folder, Path()]
    splits: dict[str, str] = {}
    for split, entry in entries.items():
        found: set[str] = set()
        for text in entry if isinstance(entry, list) else [entry]:
            path = folder / _locate(folder, text, roots, f"'{split}' of the YAML file")
            if path.is_dir():
                files = (path / name for name in conversion.list_files(path, SUFFIXES))
                found |= {str(common.name_below(folder, file)) for file in files}
            else:
                places = [path.parent, *roots]
                found |= {_locate(folder, line, places, str(path)) for line in _lines(path) if line}
        for name in sorted(found):
            if splits.setdefault(name, split) != split:
                raise DatasetError(
                    f"The YAML file has the image '{name}' in '{splits[name]}' and in '{split}'; take it out of one, "
                    f"or take '{split}' out of the file and split with --val-share."
                )
    return splits


def _locate(folder: Path, text: object, roots: list[Path], where: str) -> str:
    """Return what `text` names, relative to the folder; DatasetError if that does not exist or lies elsewhere.

    Roboflow writes `../train/images` where `train/images` is meant, and CVAT `data/images/a.jpg` for `images/a.jpg`.
    """
    given = text.replace("\\", "/") if isinstance(text, str) and is_text(text) else "/"
    names = given, given.removeprefix("../"), given.removeprefix("data/")
    for path in (root / name for root in roots for name in names):
        name = common.name_below(folder, path)
        if name is not None and os.path.exists(path):
            return name
    raise DatasetError(f"{where} has {brief(text)}, which leads to nothing below '{folder}'; correct or remove it.")


def _lines(path: Path) -> list[str]:
    text = common.read_labels(path, lambda data: data.decode("utf-8-sig"), "text in UTF-8")
    return [line.strip() for line in text.splitlines()]


def _read_lines(conversion: Conversion, path: Path) -> list[tuple[str, str]]:
    """Return what names each line of a label file that is not empty, and its text."""
    if not path.is_file():
        conversion.note("images without a label file, taken as images without objects", path)
        return []
    return [(f"line {number} of {path}", line) for number, line in enumerate(_lines(path), start=1) if line]


def _read_line(
    conversion: Conversion, where: str, line: str, names: dict[int, str], image_size: tuple[int, int]
) -> Iterator[Part]:
    """Yield the object of a line; DatasetError where it is no class with points within the image, or run lengths."""
    first, *words = line.split()
    rest = words if words[:1] != ["rle"] else []
    try:
        index, *values = [float(word) for word in (first, *rest)]
    except ValueError:
        index, values = math.nan, []
    outside = [value for value in values if not -OVERHANG <= value <= 1 + OVERHANG]  # and NaN
    if not (index.is_integer() and 0 <= index <= MAX_CLASS) or outside or (rest and len(rest) < BOX_NUMBERS):
        found = f"{outside[0]:g}" if outside else f"'{printable(line, 40)}'"
        raise DatasetError(f"{where} holds {found}, {EXPECTED}.")
    if names and index not in names:
        raise DatasetError(f"{where} has class {index:g}, but there are {len(names)} class names; correct it.")
    name = names.get(int(index), str(int(index)))
    if len(values) == BOX_NUMBERS:
        conversion.note("boxes (lines of 5 numbers, as for detection) without a mask, passed over", where)
    elif words[:1] == ["rle"]:
        yield Part(name, _run_lengths(words[1:], where, image_size), where)
    elif not values or len(values) % 2:
        hint = "; if the last is a confidence (save_conf), save without it" if values else ""
        raise DatasetError(
            f"{where} holds '{printable(line, 40)}', {len(values)} numbers after the class, {EXPECTED}{hint}."
        )
    else:
        yield Part(name, np.reshape(values, (-1, 2)) * image_size[::-1], where)


def _run_lengths(words: list[str], where: str, image_size: tuple[int, int]) -> RunLengths:
    """Return run lengths that a line has as `rle HEIGHT WIDTH COUNTS`, of COCO's text or of numbers."""
    height, width, *counts = words if len(words) > 2 else [*words, "", "", ""]
    is_text = len(counts) == 1 and not counts[0].isdigit()
    is_right = all(word.isascii() and word.isdigit() and len(word) < 12 for word in (height, width, *counts[is_text:]))
    if not is_right:
        raise DatasetError(f"{where} holds run lengths, expected `class rle height width counts` as COCO has them.")
    value = {"size": [int(height), int(width)], "counts": counts[0] if is_text else [*map(int, counts)]}
    found = parse_segmentation({"segmentation": value}, where, ImageRecord(0, where, *image_size))
    runs = found.runs if isinstance(found, Rle) else [image_size[0] * image_size[1]]
    return encode_ends(np.cumsum(runs, dtype=np.int64)[:-1], image_size)
