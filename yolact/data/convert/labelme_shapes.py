"""The shapes of a labelme file as objects."""

import base64
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from yolact.data.annotations import is_number, parse_text
from yolact.data.convert.common import Notes, is_plain
from yolact.data.convert.numbered import decode_values, foreground
from yolact.data.convert.objects import (
    FoundObject,
    Polygon,
    RunLengths,
    encode_mask,
    encode_polygons,
    pixel_object,
    polygon_object,
    union,
)
from yolact.errors import DatasetError

# The kinds whose points are an outline, with how many there may be; the last two are turned rectangles.
OUTLINES = {"polygon": (3, math.inf), "rectangle": (4, 4), "oriented_rectangle": (4, 4), "rotation": (4, 4)}
CIRCLE_ERROR = 0.05  # pixels by which the sides of the polygon may fall short of a circle


class _Part(NamedTuple):
    key: object  # equal for the parts of one object
    label: str
    mask: Polygon | RunLengths
    where: str


def read_shapes(shapes: object, image_size: tuple[int, int], path: Path, notes: Notes) -> list[FoundObject]:
    """Return the objects of a label file; shapes of one label and group_id are parts of one object.

    Args:
        shapes: the file's list.
        image_size: (H, W) of the picture.
        path: of the file, for messages.
        notes: take the shapes that are not areas.

    Raises:
        DatasetError: a field of a shape is wrong.
    """
    if not isinstance(shapes, list):
        raise DatasetError(f"'shapes' of {path} must be a list, not {type(shapes).__name__}; save it again.")
    groups: dict[object, list[_Part]] = {}
    for place, shape in enumerate(shapes):
        part = _read_part(shape, place, image_size, f"shapes[{place}] of {path}", notes)
        if part is not None:
            groups.setdefault(part.key, []).append(part)
    objects = []
    for parts in groups.values():
        item = _join(parts, image_size)
        if item is None:
            notes.add("objects that cover no pixel, passed over", parts[0].where)
        else:
            objects.append(item)
    return objects


def _read_part(shape: object, place: int, image_size: tuple[int, int], where: str, notes: Notes) -> _Part | None:
    if not isinstance(shape, dict):
        raise DatasetError(f"{where} must be an object, not {type(shape).__name__}; save the file again.")
    label, group = parse_text(shape, "label", where), shape.get("group_id")
    if not is_plain(label):
        raise DatasetError(f"'label' of {where} holds control characters ({label!r}); correct it.")
    if group is not None and type(group) is not int:
        raise DatasetError(f"'group_id' of {where} must be a whole number or null, not {group!r}; correct it.")
    kind = shape.get("shape_type")
    if kind is None:  # labelme before version 3.16
        kind = "polygon"
    if not isinstance(kind, str):
        raise DatasetError(f"'shape_type' of {where} must be text, not {kind!r}; correct it.")
    mask = _read_area(shape, kind, image_size, where, notes)
    return None if mask is None else _Part((label, group) if group is not None else place, label, mask, where)


def _read_area(
    shape: dict[str, Any], kind: str, image_size: tuple[int, int], where: str, notes: Notes
) -> Polygon | RunLengths | None:
    if kind not in (*OUTLINES, "circle", "mask"):
        notes.add(f"shapes of the kind {kind!r}, which have no area, passed over", where)
        return None
    points = _points(shape.get("points"), where)
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    if kind in OUTLINES:
        least, most = OUTLINES[kind]
        if len(points) < 3:
            notes.add(f"shapes of the kind '{kind}' with fewer than three points, passed over", where)
            return None
        if not least <= len(points) <= most:
            numbers = "2 or 4" if kind == "rectangle" else "4"
            raise DatasetError(
                f"{where}, of the kind '{kind}', has {len(points)} points, expected {numbers}; correct it."
            )
        return points
    if len(points) != 2:
        raise DatasetError(f"{where}, of the kind '{kind}', has {len(points)} points, expected 2; correct it.")
    return _circle(points, image_size) if kind == "circle" else _pixels(shape, points, image_size, where)


def _points(value: object, where: str) -> Polygon:
    pairs = value if isinstance(value, list) else [None]
    if not all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in pairs):
        raise DatasetError(f"'points' of {where} must be a list of [x, y] in finite numbers; correct it.")
    return np.array(pairs, np.float64).reshape(-1, 2)


def _circle(points: Polygon, image_size: tuple[int, int]) -> Polygon:
    """Return a circle, given by its centre and a point on it, as a polygon whose sides nearly touch it."""
    radius = math.dist(*points)
    number = max(12, math.ceil(math.pi / math.acos(max(1 - CIRCLE_ERROR / max(radius, CIRCLE_ERROR), 0))))
    angles = np.linspace(0, 2 * math.pi, number, endpoint=False)
    outline = points[0] + radius * np.stack((np.cos(angles), np.sin(angles)), axis=1)
    # A circle may reach far out of the picture, unlike outlines drawn by hand; within it nothing changes.
    return np.clip(outline, 0, image_size[::-1])


def _pixels(shape: dict[str, Any], points: Polygon, image_size: tuple[int, int], where: str) -> RunLengths:
    """Return a mask that is stored as a PNG, of which the points are the first and the last pixel."""
    try:
        data = base64.b64decode(shape.get("mask"), validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise DatasetError(f"'mask' of {where} must be base64 text; save the file again.") from None
    values = decode_values(data, f"'mask' of {where}")
    crop = foreground(values)
    (left, top), (right, bottom) = np.round(points).astype(int).tolist()
    height, width = crop.shape
    if abs(width - (right - left + 1)) > 1 or abs(height - (bottom - top + 1)) > 1:
        raise DatasetError(
            f"'mask' of {where} is {width} x {height} pixels (width x height), but its points say "
            f"{right - left + 1} x {bottom - top + 1}; save the file again."
        )
    canvas = np.zeros(image_size, bool)
    x0, y0 = max(left, 0), max(top, 0)
    inside = crop[y0 - top : max(image_size[0] - top, 0), x0 - left : max(image_size[1] - left, 0)]
    canvas[y0 : y0 + inside.shape[0], x0 : x0 + inside.shape[1]] = inside
    return encode_mask(canvas)


def _join(parts: list[_Part], image_size: tuple[int, int]) -> FoundObject | None:
    """Return the object that the parts make: polygons if all are, else the pixels that they cover together."""
    label, where = parts[0].label, parts[0].where
    polygons = [part.mask for part in parts if not isinstance(part.mask, dict)]
    runs = [part.mask for part in parts if isinstance(part.mask, dict)]
    if not runs:
        return polygon_object(label, polygons, image_size, where)
    if polygons:
        runs.append(encode_polygons(polygons, image_size, where))
    return pixel_object(label, union(runs))
