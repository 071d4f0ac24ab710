"""The rules of COCO's annotations: what an entry must be before anything is drawn from it.

pycocotools trusts its input: a polygon with NaN hangs it, a coordinate of 1e9 eats all memory, and run lengths that
fall short return uninitialised memory. So every number is checked here, once, and an error names the entry.
"""

from collections import Counter
from collections.abc import Callable, Container
from pathlib import Path
from reprlib import repr as brief
from typing import Any, NamedTuple

import numpy as np

from yolact.data.categories import Categories
from yolact.data.image_folder import ImageFolder, leaves_folder
from yolact.data.images import MAX_PIXELS, MAX_WINDOWED_PIXELS
from yolact.data.segmentations import Rle, Segmentation, decode_counts
from yolact.errors import DatasetError
from yolact.text import printable

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


def is_number(value: object) -> bool:
    """Tell whether a value of a JSON file can be a coordinate or an area."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9  # false for NaN


class FieldRule(NamedTuple):
    """What a field must be."""

    expected: str  # in words
    allows: Callable[[Any], object]
    kind: str = "invalid-field"  # of the fault


WHOLE = FieldRule("a whole number of 64 bits", lambda value: type(value) is int and abs(value) <= LARGEST_WHOLE)
TEXT = FieldRule("text", lambda value: isinstance(value, str) and value)
CROWD = FieldRule("0 or 1", lambda value: value in (0, 1))
AREA = FieldRule("a number that is not negative", lambda value: is_number(value) and value >= 0)
BOX = FieldRule(
    "[x, y, width, height] in finite numbers",
    lambda value: isinstance(value, list) and len(value) == 4 and all(map(is_number, value)),
    "invalid-box",
)
SEGMENTATION = FieldRule(
    "a list of polygons or an RLE object", lambda value: isinstance(value, list | dict | None), "invalid-segmentation"
)


def parse_categories(entries: list[Any], path: Path) -> Categories:
    """Return the classes in ascending order of id; DatasetError if there are none, or one is wrong or repeated."""
    if not entries:
        raise DatasetError(f"The annotation file {path} declares no categories; add at least one.")
    names: dict[int, str] = {}
    known: set[str] = set()
    for number, entry in enumerate(entries):
        where = f"categories[{number}] of {path}"
        category_id, name = parse_whole(entry, "id", where), parse_text(entry, "name", where)
        _require_new("id", category_id, names, where)
        _require_new("name", name, known, where)
        names[category_id] = name
        known.add(name)
    return Categories(names=[names[category_id] for category_id in sorted(names)], ids=sorted(names))


def parse_images(
    entries: list[Any], path: Path, max_pixels: int = MAX_PIXELS, files: ImageFolder | None = None
) -> list[ImageRecord]:
    """Return the images in the order of the file; DatasetError if there are none, or one is wrong or repeated."""
    if not entries:
        raise DatasetError(f"The annotation file {path} lists no images; there is nothing to load.")
    images: dict[int, ImageRecord] = {}
    for number, entry in enumerate(entries):
        where = f"images[{number}] of {path}"
        image = parse_image(entry, where, max_pixels, files)
        _require_new("id", image.id, images, where)
        images[image.id] = image
    return list(images.values())


def parse_image(entry: Any, where: str, max_pixels: int = MAX_PIXELS, files: ImageFolder | None = None) -> ImageRecord:
    """Return one image, named `where` in errors; DatasetError if a field is wrong or the name leaves the folder.

    `files` proposes another file for such a name.
    """
    image = ImageRecord(
        id=parse_whole(entry, "id", where),
        file_name=parse_text(entry, "file_name", where),
        height=parse_whole(entry, "height", where),
        width=parse_whole(entry, "width", where),
    )
    name, shown = image.file_name, printable(image.file_name)
    if leaves_folder(name):
        hint = files.hint(name) if files else ""
        why = f"The file_name '{shown}' in {where} leaves the image folder; use a path below it{hint}."
        raise DatasetError(why, "name-leaves-folder")
    size = f"{where} ('{shown}') is {image.width} x {image.height} pixels (width x height), expected 1 to"
    if image.height < 1 or image.width < 1 or image.height * image.width > MAX_WINDOWED_PIXELS:
        raise DatasetError(f"{size} {MAX_WINDOWED_PIXELS:,} in all; correct it.", "invalid-picture-size")
    if image.height * image.width > max_pixels:
        cure = "set data.tiles and eval.tiles, such as to 640, or correct it."
        raise DatasetError(f"{size} {max_pixels:,} where images are decoded whole; {cure}", "picture-without-tiles")
    return image


def parse_object(
    entry: dict[str, Any], where: str, image: ImageRecord, categories: Categories, dropped: Counter[str]
) -> ObjectRecord | None:
    """Return one annotation, or None and a count in `dropped` where it has nothing to train on.

    DatasetError if the category is undeclared, or a field is not what COCO's format allows.
    """
    where = f"{where} (image '{printable(image.file_name)}')"
    category_id = parse_whole(entry, "category_id", where)
    try:
        label = categories.label(category_id)
    except KeyError:
        from_zero = " (do annotations count from 0, and 'categories' from 1?)" if category_id == 0 else ""
        raise DatasetError(
            f"{where} has category_id {category_id}, which 'categories' does not declare (it has "
            f"{brief(categories.ids)}){from_zero}; declare it or correct the annotation.",
            "undeclared-category",
        ) from None
    iscrowd = _field(entry, "iscrowd", where, CROWD, default=0)
    x, y, width, height = map(float, _field(entry, "bbox", where, BOX))
    area = _field(entry, "area", where, AREA) if "area" in entry else width * height
    # Also where it is not needed, because evaluation hands it to pycocotools.
    segmentation = parse_segmentation(entry, where, image)
    box = (x, y, x + width, y + height)
    reason = None if segmentation else "no segmentation"
    if x >= image.width or y >= image.height or box[2] <= 0 or box[3] <= 0:
        reason = "box outside the image"
    if box[2] <= x or box[3] <= y:
        reason = "box without area"
    if segmentation is None or reason:
        dropped[str(reason)] += 1
        return None
    annotation_id = parse_whole(entry, "id", where)
    return ObjectRecord(label, box, bool(iscrowd), segmentation, float(area), annotation_id)


def parse_segmentation(entry: dict[str, Any], where: str, image: ImageRecord) -> Segmentation | None:
    """Return the mask, or None where the annotation has none or an empty one.

    DatasetError if it is neither polygons nor run lengths, or they cannot belong to the image.
    """
    value = _field(entry, "segmentation", where, SEGMENTATION)
    if isinstance(value, dict):
        return _rle(value, where, image)
    return [_polygon(polygon, where, image) for polygon in value or () if polygon != []] or None


def _polygon(value: object, where: str, image: ImageRecord) -> np.ndarray:
    try:
        points = np.asarray(value)
    except (ValueError, OverflowError):
        points = np.empty(0, object)
    is_flat = points.ndim == 1 and points.dtype.kind in "if"
    if not is_flat or len(points) < 6 or len(points) % 2:
        kind = "short-polygon" if is_flat and len(points) < 6 else "invalid-polygon"
        expected = "a flat list [x1, y1, x2, y2, ...] of at least 6 numbers, in pairs"
        raise DatasetError(f"A polygon of {where} must be {expected}, but it is {brief(value)}; correct it.", kind)
    points = points.reshape(-1, 2)
    # A comparison with NaN is false, so this refuses NaN too. Half an image of overhang is generous.
    size = np.array([image.width, image.height])
    if not ((points >= -0.5 * size - 10) & (points <= 1.5 * size + 10)).all():
        kind = "polygon-far-outside" if np.isfinite(points).all() else "invalid-polygon"
        where = f"A polygon of {where} has a coordinate far outside its {image.width} x {image.height} image"
        raise DatasetError(f"{where}, or one that is NaN; correct it.", kind)
    return points.astype(np.float32)


def _rle(value: dict[str, Any], where: str, image: ImageRecord) -> Rle | None:
    size, counts = value.get("size"), value.get("counts")
    expected, total = [image.height, image.width], image.height * image.width
    try:
        runs = decode_counts(counts if isinstance(counts, str | list) else [None])  # type: ignore[list-item]
    except (ValueError, OverflowError):
        runs = np.empty(0, np.int64)
    if size != expected or runs.size == 0 or runs.min() < 0 or runs.max() > total or runs.sum() != total:
        raise DatasetError(
            f"The RLE of {where} must have size [height, width] = {expected} of its image, and counts (numbers or "
            f"COCO's text) that are not negative and add up to {total}, but it has size {brief(size)} and counts "
            f"{brief(counts)}, which add up to {int(runs.sum())}; correct it.",
            "invalid-rle" if size == expected else "rle-size-mismatch",
        )
    return Rle(image.height, image.width, runs.astype(np.uint32)) if runs[1::2].any() else None


def parse_whole(entry: Any, key: str, where: str) -> int:
    """Return a whole number of an entry; DatasetError if it is missing or something else."""
    whole: int = _field(entry, key, where, WHOLE)
    return whole


def parse_text(entry: Any, key: str, where: str) -> str:
    """Return a text of an entry that is not empty; DatasetError if it is missing or something else."""
    text: str = _field(entry, key, where, TEXT)
    return text


def _field(entry: Any, key: str, where: str, rule: FieldRule, default: object = None) -> Any:
    if not isinstance(entry, dict):
        raise DatasetError(f"{where} must be an object, not {brief(entry)}; export the file again.")
    value = entry.get(key, default)
    if not rule.allows(value):
        found = brief(value) if key in entry else "missing"
        raise DatasetError(f"'{key}' of {where} must be {rule.expected}, but it is {found}; correct it.", rule.kind)
    return value


def _require_new(key: str, value: int | str, known: Container[int | str], where: str) -> None:
    if value in known:
        raise DatasetError(f"{where} repeats the {key} {brief(value)}; give each its own.")
