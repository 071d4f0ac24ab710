"""Folders of labelme's JSON files, one for each image."""

import base64
import json
import math
import os
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from yolact.data.annotations import is_number, parse_text
from yolact.data.images import SUFFIXES, decode_image, read_image
from yolact.errors import DatasetError
from yolact.tools.convert.common import Conversion, FoundImage, check, is_plain, name_below, own_splits, read_file
from yolact.tools.convert.mask_files import decode_values, foreground
from yolact.tools.convert.objects import FoundObject, Polygon, RunLengths, encode_mask, join_object

# How many points the kinds that have an area may have; of outlines, fewer than three are no area.
OUTLINES = {"polygon": (3, math.inf), "rectangle": (2, 4), "oriented_rectangle": (4, 4), "rotation": (4, 4)}
KINDS = {**OUTLINES, "circle": (2, 2), "mask": (2, 2)}
CIRCLE_ERROR = 0.05  # pixels by which the sides of the polygon may fall short of a circle


def read_labelme(folder: Path) -> Conversion:
    """Read all label files below a folder; their labels in alphabetical order become the classes.

    Raises:
        DatasetError: there are no label files, or none can be used.
    """
    conversion = Conversion(folder)
    paths = [folder / name for name in conversion.list_files(folder, {".json"})]
    images = conversion.collect(paths, partial(_read_image, conversion))
    if not images:
        raise DatasetError(f"There are no label files of labelme (JSON with 'shapes') below '{folder}'; check it.")
    labelled = {image.name for image in images}
    for name in Conversion(folder).list_files(folder, SUFFIXES):
        if name not in labelled:
            conversion.note("images without a usable label file, left out", name)
    conversion.splits = own_splits(images)
    labels = {item.class_name for image in images for item in image.objects}
    conversion.class_names = dict(enumerate(sorted(labels), start=1))
    return conversion


def _read_image(conversion: Conversion, path: Path) -> FoundImage | None:
    """Return what a label file says of its image, None where it is no label file of labelme."""
    content = _read_json(path)
    if not isinstance(content, dict) or "shapes" not in content:
        conversion.note("JSON files that are not labelme's, passed over", str(path))
        return None
    name, embedded = _find_image(conversion, content, path)
    size: Any = (content.get("imageHeight"), content.get("imageWidth"))
    size = None if size == (None, None) else size
    is_right = size is None or all(type(side) is int and side > 0 for side in size)
    check(is_right, path, "imageHeight and imageWidth", "whole numbers above 0", size)
    image = decode_image(embedded(), path, size) if embedded else read_image(conversion.folder / name, size)
    image_size = (image.shape[0], image.shape[1])
    return FoundImage(name, image_size, _read_shapes(conversion, content["shapes"], image_size, path), embedded)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"The label file {path} is not valid JSON ({error}); save it again.") from None


def _find_image(conversion: Conversion, content: dict[str, Any], path: Path) -> tuple[str, Any]:
    """Return the image's name below the source, and a function that gives its content if only the label file has it.

    labelme writes a path relative to the label file, by the rules of the system that it ran on. Where it leads nowhere,
    because the files were moved, the image of that name beside the label file is meant.
    """
    folder, given = conversion.folder, _plain_text(content, "imagePath", path)
    windows = PureWindowsPath(given)
    name = None if windows.drive else name_below(folder, path.parent / windows.as_posix())
    if name is not None and os.path.isfile(folder / name):
        return name, None
    if windows.name not in ("", ".."):
        moved = (path.parent / windows.name).relative_to(folder).as_posix()
        if os.path.isfile(folder / moved):
            conversion.note("label files whose imagePath leads nowhere, with the image beside them instead", str(path))
            return moved, None
        if content.get("imageData") is not None:
            # Read when it is needed, as the images of all label files might fill the memory.
            return moved, lambda: _base64(_read_json(path), "imageData", path)
    why = "leaves the source folder" if name is None else "does not exist"
    raise DatasetError(
        f"The image '{given}' of {path} {why} '{folder}', and the label file does not hold it as imageData; give the "
        "folder that holds both, or correct 'imagePath'."
    )


def _plain_text(entry: dict[str, Any], key: str, where: object) -> str:
    text = parse_text(entry, key, str(where))
    check(is_plain(text), where, key, "text without control characters", text)
    return text


def _base64(entry: Any, key: str, where: object) -> bytes:
    try:
        return base64.b64decode(entry[key], validate=True)
    except (LookupError, TypeError, ValueError):
        raise DatasetError(f"'{key}' of {where} is not base64 text; save the file again.") from None


def _read_shapes(conversion: Conversion, shapes: Any, image_size: tuple[int, int], path: Path) -> list[FoundObject]:
    """Return the objects of a label file; shapes of one label and group_id are parts of one object."""
    check(isinstance(shapes, list), path, "shapes", "a list", shapes)
    parts: dict[Any, list[Polygon | RunLengths]] = {}
    first: dict[Any, tuple[str, str]] = {}  # label and position of an object's first part
    for index, shape in enumerate(shapes):
        where = f"shapes[{index}] of {path}"
        check(isinstance(shape, dict), path, f"shapes[{index}]", "an object", shape)
        label, group = _plain_text(shape, "label", where), shape.get("group_id")
        check(group is None or type(group) is int, where, "group_id", "a whole number or null", group)
        area = _read_area(conversion, shape, image_size, where)
        if area is not None:
            key = index if group is None else (label, group)
            parts.setdefault(key, []).append(area)
            first.setdefault(key, (label, where))
    objects = []
    for key, (label, where) in first.items():
        objects += conversion.kept(join_object(label, parts[key], image_size, where), where)
    return objects


def _read_area(
    conversion: Conversion, shape: dict[str, Any], image_size: tuple[int, int], where: str
) -> Polygon | RunLengths | None:
    """Return the outline or the pixels of a shape; None, and a note, where it has no area."""
    kind, pairs = shape.get("shape_type"), shape.get("points")
    kind = "polygon" if kind is None else kind  # labelme before version 3.16
    check(isinstance(kind, str), where, "shape_type", "text", kind)
    if kind not in KINDS:
        conversion.note(f"shapes of the kind {kind!r}, which have no area, passed over", where)
        return None
    is_right = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in pairs
    )
    check(is_right, where, "points", "a list of [x, y] in finite numbers", pairs)
    points = np.array(pairs, np.float64).reshape(-1, 2)
    least, most = KINDS[kind]
    if kind in OUTLINES and len(points) < min(least, 3):
        conversion.note(f"shapes of the kind '{kind}' with fewer than three points, passed over", where)
        return None
    is_right = least <= len(points) <= most and (kind, len(points)) != ("rectangle", 3)
    check(is_right, where, "points", f"as many as the kind '{kind}' has", pairs)
    if kind == "mask":
        return _stored_mask(shape, points, image_size, where)
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    return _circle(points, image_size) if kind == "circle" else points


def _circle(points: Polygon, image_size: tuple[int, int]) -> Polygon:
    """Return a circle, given by its centre and a point on it, as a polygon whose sides nearly touch it."""
    radius = math.dist(*points)
    number = max(12, math.ceil(math.pi / math.acos(max(1 - CIRCLE_ERROR / max(radius, CIRCLE_ERROR), 0))))
    angles = np.linspace(0, 2 * math.pi, number, endpoint=False)
    outline = points[0] + radius * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    # A circle may reach far out of the image, unlike outlines drawn by hand; within it nothing changes.
    return np.clip(outline, 0, image_size[::-1])


def _stored_mask(shape: dict[str, Any], points: Polygon, image_size: tuple[int, int], where: str) -> RunLengths:
    """Return a mask that is stored as a PNG, of which the points are the first and the last pixel."""
    crop = foreground(decode_values(_base64(shape, "mask", where), f"'mask' of {where}"))
    (left, top), (right, bottom) = np.round(points).astype(int).tolist()
    height, width = bottom - top + 1, right - left + 1
    if max(abs(crop.shape[0] - height), abs(crop.shape[1] - width)) > 1:
        raise DatasetError(
            f"'mask' of {where} is {crop.shape[1]} x {crop.shape[0]} pixels (width x height), but its points say "
            f"{width} x {height}; save the file again."
        )
    canvas = np.zeros(image_size, bool)
    x, y = max(left, 0), max(top, 0)
    inside = crop[y - top : max(image_size[0] - top, 0), x - left : max(image_size[1] - left, 0)]
    canvas[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return encode_mask(canvas)
