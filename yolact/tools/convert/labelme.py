"""Folders of labelme's JSON files, one for each image."""

import base64
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from yolact.data.images import SUFFIXES, decode_image, read_size
from yolact.errors import DatasetError
from yolact.tools.convert import common
from yolact.tools.convert.common import Conversion, FoundImage, Part, Polygon, RunLengths, check, is_text
from yolact.tools.convert.mask_files import decode_values, foreground
from yolact.tools.convert.outlines import ellipse, rectangle

# How many points the kinds that have an area may have.
OUTLINES = {"polygon": range(3, sys.maxsize), "rectangle": (2, 4), "oriented_rectangle": (4,), "rotation": (4,)}
KINDS = {**OUTLINES, "circle": (2,), "mask": (2,)}


def is_labelme(content: Any) -> bool:
    """Tell whether a JSON file is a label file of labelme."""
    return isinstance(content, dict) and "shapes" in content


def read_labelme(source: Path, folder: Path | None = None) -> Conversion:
    """Read a label file, or all below a folder; the images lie below `folder`, or the source's.

    DatasetError where there are none, or none can be used.
    """
    conversion = Conversion.of(source, folder)

    def read(_: str, path: Path) -> FoundImage | None:
        content = common.read_json(path)
        if not is_labelme(content):
            conversion.note("JSON files that are not labelme's, passed over", path)
            return None
        name, embedded = _find_image(conversion, content, path)
        given: Any = (content.get("imageHeight"), content.get("imageWidth"))
        size = None if given == (None, None) else given
        is_right = size is None or all(type(side) is int and side > 0 for side in size)
        check(is_right, path, "imageHeight and imageWidth", "whole numbers above 0", size)
        size = decode_image(embedded(), path, size).shape[:2] if embedded else read_size(conversion.folder / name, size)
        shapes = content["shapes"]
        check(isinstance(shapes, list), path, "shapes", "a list of objects", shapes)
        entries = [(shape, f"shapes[{index}] of {path}") for index, shape in enumerate(shapes)]
        parts = common.each(entries, lambda entry: _read_shape(conversion, *entry, size))
        return FoundImage(name, size, conversion.objects(parts, size), embedded=embedded)

    images = conversion.collect({str(path): path for path in conversion.label_files(source, ".json")}, read)
    if not images:
        raise DatasetError(f"There are no label files of labelme (JSON with 'shapes') at '{source}'; check it.")
    unlabelled = {*conversion.list_files(conversion.folder, SUFFIXES)} - {image.name for image in images}
    conversion.note("images without a usable label file, left out", *sorted(unlabelled))
    return conversion


def _find_image(conversion: Conversion, content: dict[str, Any], path: Path) -> tuple[str, Callable[[], bytes] | None]:
    """Return the image's name below the source, and a function that gives its content if only the label file has it.

    labelme writes a path relative to the label file, by the rules of the system that it ran on. Where it leads nowhere,
    because the files were moved, the image of that name beside the label file, or in the folder of images, is meant.
    """
    text: Any = content.get("imagePath")
    check(is_text(text), path, "imagePath", "text without control characters", text)
    given = PureWindowsPath(text)
    is_below = common.name_below(conversion.folder, path) is not None
    places = path.parent / given.as_posix(), (path.parent if is_below else conversion.folder) / given.name
    name, beside = (common.name_below(conversion.folder, place) for place in places)
    if name is not None and os.path.isfile(conversion.folder / name):
        return name, None
    if beside is not None and os.path.isfile(conversion.folder / beside):
        conversion.note("label files whose imagePath leads nowhere, with the image of that name instead", path)
        return beside, None
    if beside is not None and given.name.strip(".") and content.get("imageData") is not None:
        # Read when it is needed, as the images of all label files might fill the memory.
        return beside, lambda: _base64(common.read_json(path), "imageData", path)
    raise DatasetError(
        f"The image '{text}' of {path} is no file below '{conversion.folder}', and the label file does "
        "not hold it as imageData; give the folder of the images by --images, or correct 'imagePath'."
    )


def _base64(entry: Any, key: str, where: object) -> bytes:
    try:
        return base64.b64decode(entry[key], validate=True)
    except (LookupError, TypeError, ValueError):
        raise DatasetError(f"'{key}' of {where} is not base64 text; save the file again.") from None


def _read_shape(conversion: Conversion, shape: Any, where: str, image_size: tuple[int, int]) -> Iterator[Part]:
    """Yield a shape of a label file if it has an area; those of one label and group_id are one object."""
    check(isinstance(shape, dict), where, "shape", "an object", shape)
    label, kind, group = (shape.get(key) for key in ("label", "shape_type", "group_id"))
    check(is_text(label), where, "label", "text without control characters", label)
    check(group is None or type(group) in (int, str), where, "group_id", "a whole number, text or null", group)
    kind = "polygon" if kind is None else kind  # labelme before version 3.16
    check(isinstance(kind, str), where, "shape_type", "text", kind)
    if kind not in KINDS:
        conversion.note(f"shapes of the kind {kind!r}, which have no area, passed over", where)
        return
    points = common.points_of(shape, where)
    if kind in OUTLINES and len(points) < min(KINDS[kind][0], 3):
        conversion.note(f"shapes of the kind '{kind}' with fewer than three points, passed over", where)
        return
    check(len(points) in KINDS[kind], where, "points", f"as many as the kind '{kind}' has", points.tolist())
    area: Polygon | RunLengths = points
    if kind == "mask":
        area = _stored_mask(shape, points, image_size, where)
    elif kind == "circle":
        radius = math.dist(*points)
        area = ellipse(points[0], (radius, radius), 0, image_size)
    elif len(points) == 2:
        area = rectangle(*points.ravel())
    yield Part(label, area, where, group)


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
    canvas = Image.new("L", image_size[::-1])
    canvas.paste(Image.fromarray(crop), (left, top))
    return common.encode_mask(np.asarray(canvas) > 0)
