"""Checking a COCO annotation file before anything is drawn from it.

pycocotools trusts its input: a polygon with NaN hangs it, a coordinate of 1e9 eats all memory, and run lengths that
fall short return uninitialised memory. So every number is checked here, once, and an error names the entry.
"""

import json
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from yolact.data.categories import Categories
from yolact.data.masks import Rle, Segmentation, decode_counts
from yolact.data.pictures import MAX_PIXELS
from yolact.errors import DatasetError


class PictureRecord(NamedTuple):
    """One picture of the annotation file."""

    id: int
    file_name: str  # relative to the picture folder
    height: int
    width: int


class ObjectRecord(NamedTuple):
    """One object of a picture."""

    label: int  # 0..C-1
    bbox: tuple[float, float, float, float]  # xyxy, pixels of the picture
    iscrowd: bool
    segmentation: Segmentation
    area: float  # square pixels, as the file gives it
    id: int


def read_annotation_file(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the JSON and check its outline: the lists images, annotations and categories, of objects.

    Raises:
        DatasetError: the file is missing, is not JSON, or lacks one of the lists.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"Cannot read the annotation file {path}: {error.strerror}; check the path.") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"The annotation file {path} is not valid JSON ({error}); export it again.") from None
    if not isinstance(content, dict):
        raise DatasetError(
            f"The annotation file {path} holds a {type(content).__name__}, expected an object with images, annotations "
            "and categories; export it as COCO object detection."
        )
    for key in ("images", "annotations", "categories"):
        if key not in content:
            raise DatasetError(
                f"The annotation file {path} has no '{key}' (it has: {', '.join(map(str, content)) or 'nothing'}); "
                "export it as COCO object detection."
            )
        entries = content[key]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DatasetError(f"'{key}' of the annotation file {path} must be a list of objects; export it again.")
    return {key: content[key] for key in ("images", "annotations", "categories")}


def parse_categories(entries: list[dict[str, Any]], path: Path) -> Categories:
    """Return the classes in ascending order of id.

    Raises:
        DatasetError: there are none, or an id or name is missing, of the wrong type or used twice.
    """
    if not entries:
        raise DatasetError(f"The annotation file {path} declares no categories; add at least one.")
    names: dict[int, str] = {}
    for place, entry in enumerate(entries):
        where = f"categories[{place}] of {path}"
        category_id, name = _whole(entry, "id", where), _text(entry, "name", where)
        if category_id in names:
            raise DatasetError(f"{where} repeats the id {category_id}; give each category its own.")
        if name in names.values():
            raise DatasetError(f"{where} repeats the name '{name}'; give each category its own, or merge the two.")
        names[category_id] = name
    ids = sorted(names)
    return Categories(names=[names[category_id] for category_id in ids], ids=ids)


def parse_pictures(entries: list[dict[str, Any]], path: Path) -> list[PictureRecord]:
    """Return the pictures in the order of the file.

    Raises:
        DatasetError: there are none, a field is missing or wrong, an id is repeated, or a name leaves the folder.
    """
    if not entries:
        raise DatasetError(f"The annotation file {path} lists no images; there is nothing to load.")
    pictures, seen = [], set()
    for place, entry in enumerate(entries):
        where = f"images[{place}] of {path}"
        picture = PictureRecord(
            id=_whole(entry, "id", where),
            file_name=_text(entry, "file_name", where),
            height=_whole(entry, "height", where),
            width=_whole(entry, "width", where),
        )
        if picture.id in seen:
            raise DatasetError(f"{where} repeats the id {picture.id}; give each picture its own.")
        seen.add(picture.id)
        _check_picture(picture, where)
        pictures.append(picture)
    return pictures


def _check_picture(picture: PictureRecord, where: str) -> None:
    name, size = picture.file_name, f"{picture.width} x {picture.height}"
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if ".." in parts or name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
        raise DatasetError(f"The file_name '{name}' in {where} leaves the picture folder; use a path below it.")
    if picture.height < 1 or picture.width < 1 or picture.height * picture.width > MAX_PIXELS:
        raise DatasetError(
            f"{where} ('{name}') is {size} pixels (width x height), expected 1 to {MAX_PIXELS:,} in all; correct it."
        )


def parse_object(
    entry: dict[str, Any], where: str, picture: PictureRecord, categories: Categories, dropped: Counter[str]
) -> ObjectRecord | None:
    """Return one annotation, or None and a count in `dropped` where it has nothing to train on.

    Raises:
        DatasetError: the category is undeclared, or the box or segmentation is not what COCO's format allows.
    """
    where = f"{where} (picture '{picture.file_name}')"
    label = _label(entry, where, categories)
    iscrowd = entry.get("iscrowd", 0)
    if iscrowd not in (0, 1):
        raise DatasetError(f"'iscrowd' of {where} must be 0 or 1, not {iscrowd!r}; correct the annotation.")
    x, y, width, height = _box(entry, where)
    area = entry.get("area", width * height)
    if not _is_number(area):
        raise DatasetError(f"'area' of {where} must be a number, not {area!r}; correct the annotation.")
    if width <= 0 or height <= 0:
        dropped["box without area"] += 1
        return None
    if x >= picture.width or y >= picture.height or x + width <= 0 or y + height <= 0:
        dropped["box outside the picture"] += 1
        return None
    segmentation = _segmentation(entry.get("segmentation"), where, picture)
    if segmentation is None:
        dropped["no segmentation"] += 1
        return None
    return ObjectRecord(
        label=label,
        bbox=(x, y, x + width, y + height),
        iscrowd=bool(iscrowd),
        segmentation=segmentation,
        area=float(area),
        id=_whole(entry, "id", where),
    )


def _label(entry: dict[str, Any], where: str, categories: Categories) -> int:
    category_id = _whole(entry, "category_id", where)
    try:
        return categories.label(category_id)
    except KeyError:
        declared = ", ".join(map(str, categories.ids[:10])) + (", ..." if len(categories) > 10 else "")
        raise DatasetError(
            f"{where} has category_id {category_id}, which 'categories' does not declare (it has {declared}); declare "
            "it or correct the annotation."
        ) from None


def _box(entry: dict[str, Any], where: str) -> tuple[float, float, float, float]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise DatasetError(
            f"'bbox' of {where} must be [x, y, width, height] in finite numbers, not {box!r}; correct the annotation."
        )
    return float(box[0]), float(box[1]), float(box[2]), float(box[3])


def _segmentation(value: object, where: str, picture: PictureRecord) -> Segmentation | None:
    if isinstance(value, dict):
        return _rle(value, where, picture)
    if value is None:
        return None
    if not isinstance(value, list):
        raise DatasetError(
            f"'segmentation' of {where} must be a list of polygons or an RLE object, not a {type(value).__name__}; "
            "correct the annotation."
        )
    polygons = [_polygon(polygon, where, picture) for polygon in value if polygon != []]
    return polygons or None


def _polygon(value: object, where: str, picture: PictureRecord) -> np.ndarray:
    def refuse(why: str) -> DatasetError:
        return DatasetError(f"A polygon of {where} {why}; correct the annotation.")

    try:
        points = np.asarray(value)
    except (ValueError, OverflowError):
        points = np.empty(0, object)
    if points.ndim != 1 or points.dtype.kind not in "if":
        raise refuse("must be a flat list [x1, y1, x2, y2, ...] of numbers")
    if len(points) < 6 or len(points) % 2:
        raise refuse(f"has {len(points)} coordinates, expected an even number of at least 6")
    points = points.reshape(-1, 2).astype(np.float32)
    # A comparison with NaN is false, so this refuses NaN too. Half a picture of overhang is generous.
    size = np.array([picture.width, picture.height], np.float32)
    if not ((points >= -0.5 * size - 10) & (points <= 1.5 * size + 10)).all():
        raise refuse(f"has a coordinate far outside its {picture.width} x {picture.height} picture, or one that is NaN")
    return points


def _rle(value: dict[str, Any], where: str, picture: PictureRecord) -> Rle | None:
    size, counts = value.get("size"), value.get("counts")
    if size != [picture.height, picture.width]:
        raise DatasetError(
            f"The RLE of {where} has size {size!r}, expected [height, width] = [{picture.height}, {picture.width}] of "
            "its picture; correct the annotation."
        )
    try:
        runs = decode_counts(counts if isinstance(counts, str | list) else [None])  # type: ignore[list-item]
    except (ValueError, OverflowError):
        raise DatasetError(
            f"'counts' of the RLE of {where} is neither a list of whole numbers nor COCO's compressed text; correct "
            "the annotation."
        ) from None
    total = picture.height * picture.width
    if runs.size == 0 or runs.min() < 0 or runs.max() > total or runs.sum() != total:
        raise DatasetError(
            f"The runs of the RLE of {where} add up to {int(runs.sum())}, expected height x width = {total} in numbers "
            "that are not negative; correct the annotation."
        )
    if not runs[1::2].any():
        return None
    return Rle(picture.height, picture.width, runs.astype(np.uint32))


def _whole(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        found = repr(value) if key in entry else "missing"
        raise DatasetError(f"'{key}' of {where} must be a whole number, but it is {found}; correct it.")
    return value


def _text(entry: dict[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        found = repr(value) if key in entry else "missing"
        raise DatasetError(f"'{key}' of {where} must be text, but it is {found}; correct it.")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9  # false for NaN
