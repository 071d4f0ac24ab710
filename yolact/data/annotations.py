"""Checking a COCO annotation file before anything is drawn from it.

pycocotools trusts its input: a polygon with NaN hangs it, a coordinate of 1e9 eats all memory, and run lengths that
fall short return uninitialised memory. So every number is checked here, once, and an error names the entry.
"""

import json
from collections import Counter
from pathlib import Path, PurePosixPath, PureWindowsPath
from reprlib import repr as brief
from typing import Any, NamedTuple

import numpy as np

from yolact.data.categories import Categories
from yolact.data.images import MAX_PIXELS
from yolact.data.masks import Rle, Segmentation, decode_counts
from yolact.errors import DatasetError
from yolact.text import printable

LISTS = ("images", "annotations", "categories")
LARGEST_WHOLE = 2**63 - 1  # other readers of the format, such as hotcoco, fail on more


class ImageRecord(NamedTuple):
    """One image of the annotation file."""

    id: int
    file_name: str  # relative to the image folder
    height: int
    width: int


class ObjectRecord(NamedTuple):
    """One object of an image."""

    label: int  # 0..C-1
    bbox: tuple[float, float, float, float]  # xyxy, pixels of the image
    iscrowd: bool
    segmentation: Segmentation
    area: float  # square pixels, as the file gives it
    id: int


def read_annotation_file(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the lists images, annotations and categories, of JSON objects; DatasetError if the file has no such."""
    content = read_outline(path)
    for key, entries in content.items():
        if not all(isinstance(entry, dict) for entry in entries):
            raise _not_objects(key, path)
    return content


def read_outline(path: Path) -> dict[str, list[Any]]:
    """Return the three lists as `read_annotation_file` does, whatever their entries are."""
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
    for key in LISTS:
        if key not in content:
            raise DatasetError(
                f"The annotation file {path} has no '{key}' (it has: {printable(', '.join(content)) or 'nothing'}); "
                "export it as COCO object detection."
            )
        if not isinstance(content[key], list):
            raise _not_objects(key, path)
    return {key: content[key] for key in LISTS}


def _not_objects(key: str, path: Path) -> DatasetError:
    return DatasetError(f"'{key}' of the annotation file {path} must be a list of objects; export it again.")


def parse_categories(entries: list[dict[str, Any]], path: Path) -> Categories:
    """Return the classes in ascending order of id.

    DatasetError if there are none, or an id or name is missing, of the wrong type or used twice.
    """
    if not entries:
        raise DatasetError(f"The annotation file {path} declares no categories; add at least one.")
    names: dict[int, str] = {}
    for number, entry in enumerate(entries):
        where = f"categories[{number}] of {path}"
        category_id, name = parse_whole(entry, "id", where), parse_text(entry, "name", where)
        if category_id in names:
            raise DatasetError(f"{where} repeats the id {category_id}; give each category its own.")
        if name in names.values():
            raise DatasetError(
                f"{where} repeats the name '{printable(name)}'; give each category its own, or merge the two."
            )
        names[category_id] = name
    ids = sorted(names)
    return Categories(names=[names[category_id] for category_id in ids], ids=ids)


def parse_images(entries: list[dict[str, Any]], path: Path) -> list[ImageRecord]:
    """Return the images in the order of the file; DatasetError if there are none, one is wrong or an id is repeated."""
    if not entries:
        raise DatasetError(f"The annotation file {path} lists no images; there is nothing to load.")
    images: dict[int, ImageRecord] = {}
    for number, entry in enumerate(entries):
        where = f"images[{number}] of {path}"
        image = parse_image(entry, where)
        if image.id in images:
            raise DatasetError(f"{where} repeats the id {image.id}; give each image its own.")
        images[image.id] = image
    return list(images.values())


def parse_image(entry: dict[str, Any], where: str) -> ImageRecord:
    """Return one image, named `where` in errors; DatasetError if a field is wrong or the name leaves the folder."""
    image = ImageRecord(
        id=parse_whole(entry, "id", where),
        file_name=parse_text(entry, "file_name", where),
        height=parse_whole(entry, "height", where),
        width=parse_whole(entry, "width", where),
    )
    name, shown = image.file_name, printable(image.file_name)
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if ".." in parts or name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
        why = f"The file_name '{shown}' in {where} leaves the image folder; use a path below it."
        raise DatasetError(why, "name-leaves-folder")
    if image.height < 1 or image.width < 1 or image.height * image.width > MAX_PIXELS:
        raise DatasetError(
            f"{where} ('{shown}') is {image.width} x {image.height} pixels (width x height), expected 1 to "
            f"{MAX_PIXELS:,} in all; correct it.",
            "invalid-picture-size",
        )
    return image


def parse_object(
    entry: dict[str, Any], where: str, image: ImageRecord, categories: Categories, dropped: Counter[str]
) -> ObjectRecord | None:
    """Return one annotation, or None and a count in `dropped` where it has nothing to train on.

    DatasetError if the category is undeclared, or a field is not what COCO's format allows.
    """
    where = f"{where} (image '{printable(image.file_name)}')"
    label = _label(entry, where, categories)
    iscrowd = entry.get("iscrowd", 0)
    if iscrowd not in (0, 1):
        raise _refused(f"'iscrowd' of {where} must be 0 or 1, not {brief(iscrowd)}", "invalid-field")
    box = _box(entry.get("bbox"), where)
    area = entry.get("area", 0.0)
    if not is_number(area) or area < 0:
        raise _refused(f"'area' of {where} must be a number that is not negative, not {brief(area)}", "invalid-field")
    # Also where it is not needed, because evaluation hands it to pycocotools.
    segmentation = parse_segmentation(entry, where, image)
    reason = box_drop_reason(box, image)
    if segmentation is None or reason:
        dropped[reason or "no segmentation"] += 1
        return None
    if "area" not in entry:
        area = (box[2] - box[0]) * (box[3] - box[1])
    return ObjectRecord(label, box, bool(iscrowd), segmentation, float(area), id=parse_whole(entry, "id", where))


def box_drop_reason(box: tuple[float, float, float, float], image: ImageRecord) -> str | None:
    """Return why an object with this box, xyxy, gives nothing to train on; None if it may give something."""
    if box[2] <= box[0] or box[3] <= box[1]:
        return "box without area"
    if box[0] >= image.width or box[1] >= image.height or box[2] <= 0 or box[3] <= 0:
        return "box outside the image"
    return None


def _refused(why: str, kind: str) -> DatasetError:
    return DatasetError(f"{why}; correct the annotation.", kind)


def _label(entry: dict[str, Any], where: str, categories: Categories) -> int:
    category_id = parse_whole(entry, "category_id", where)
    try:
        return categories.label(category_id)
    except KeyError:
        declared = ", ".join(map(str, categories.ids[:10])) + (", ..." if len(categories) > 10 else "")
        raise DatasetError(
            f"{where} has category_id {category_id}, which 'categories' does not declare (it has {declared}); declare "
            "it or correct the annotation.",
            "undeclared-category",
        ) from None


def _box(box: Any, where: str) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        why = f"'bbox' of {where} must be [x, y, width, height] in finite numbers, not {brief(box)}"
        raise _refused(why, "invalid-box")
    x, y, width, height = map(float, box)
    return x, y, x + width, y + height


def parse_segmentation(entry: dict[str, Any], where: str, image: ImageRecord) -> Segmentation | None:
    """Return the mask, or None where the annotation has none or an empty one.

    DatasetError if it is neither polygons nor run lengths, or they cannot belong to the image.
    """
    value = entry.get("segmentation")
    if isinstance(value, dict):
        return _rle(value, where, image)
    if value is None:
        return None
    if not isinstance(value, list):
        found = type(value).__name__
        why = f"'segmentation' of {where} must be a list of polygons or an RLE object, not a {found}"
        raise _refused(why, "invalid-segmentation")
    return [_polygon(polygon, where, image) for polygon in value if polygon != []] or None


def _polygon(value: object, where: str, image: ImageRecord) -> np.ndarray:
    try:
        points = np.asarray(value)
    except (ValueError, OverflowError):
        points = np.empty(0, object)
    where = f"A polygon of {where}"
    if points.ndim != 1 or points.dtype.kind not in "if":
        raise _refused(f"{where} must be a flat list [x1, y1, x2, y2, ...] of numbers", "invalid-polygon")
    if len(points) < 6 or len(points) % 2:
        why = f"{where} has {len(points)} coordinates, expected an even number of at least 6"
        raise _refused(why, "short-polygon" if len(points) < 6 else "invalid-polygon")
    points = points.reshape(-1, 2)
    # A comparison with NaN is false, so this refuses NaN too. Half an image of overhang is generous.
    size = np.array([image.width, image.height])
    if not ((points >= -0.5 * size - 10) & (points <= 1.5 * size + 10)).all():
        why = f"{where} has a coordinate far outside its {image.width} x {image.height} image, or one that is NaN"
        raise _refused(why, "polygon-far-outside" if np.isfinite(points).all() else "invalid-polygon")
    return points.astype(np.float32)


def _rle(value: dict[str, Any], where: str, image: ImageRecord) -> Rle | None:
    size, counts = value.get("size"), value.get("counts")
    where, expected = f"RLE of {where}", [image.height, image.width]
    if size != expected:
        why = f"The {where} has size {brief(size)}, expected [height, width] = {expected} of its image"
        raise _refused(why, "rle-size-mismatch")
    try:
        runs = decode_counts(counts if isinstance(counts, str | list) else [None])  # type: ignore[list-item]
    except (ValueError, OverflowError):
        why = f"'counts' of the {where} is neither a list of whole numbers nor COCO's compressed text"
        raise _refused(why, "invalid-rle") from None
    total = image.height * image.width
    if runs.size == 0 or runs.min() < 0 or runs.max() > total or runs.sum() != total:
        why = f"The runs of the {where} add up to {int(runs.sum())}, expected height x width = {total} in numbers"
        raise _refused(f"{why} that are not negative", "invalid-rle")
    return Rle(image.height, image.width, runs.astype(np.uint32)) if runs[1::2].any() else None


def parse_whole(entry: dict[str, Any], key: str, where: str) -> int:
    """Return a whole number of an entry; DatasetError if it is missing or something else."""
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST_WHOLE:
        raise _wrong_field(entry, key, where, "a whole number of 64 bits")
    return value


def parse_text(entry: dict[str, Any], key: str, where: str) -> str:
    """Return a text of an entry that is not empty; DatasetError if it is missing or something else."""
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise _wrong_field(entry, key, where, "text")
    return value


def _wrong_field(entry: dict[str, Any], key: str, where: str, expected: str) -> DatasetError:
    found = brief(entry[key]) if key in entry else "missing"
    return DatasetError(f"'{key}' of {where} must be {expected}, but it is {found}; correct it.", "invalid-field")


def is_number(value: object) -> bool:
    """Tell whether a value of a JSON file can be a coordinate or an area."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9  # false for NaN
