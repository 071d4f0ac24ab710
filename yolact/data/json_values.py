"""What values of JSON certainly mean, though a tool wrote them in another type or in lists of another depth."""

import re
from typing import Any

import numpy as np

from yolact.data.annotations import is_number

WHOLE_TEXT = re.compile(r"-?\d{1,18}", re.ASCII)
NUMBER_TEXT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d{1,3})?", re.ASCII | re.IGNORECASE)
LONGEST_NUMBER = 40  # characters
FLAGS = {"none": 0, "false": 0, "0": 0, "0.0": 0, "true": 1, "1": 1, "1.0": 1}


def as_whole(value: object) -> int | None:
    """Return the whole number that a value of JSON certainly means, or None."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return int(value) if isinstance(value, str) and WHOLE_TEXT.fullmatch(value.strip()) else None


def as_numbers(value: object, depth: int = 4) -> object:
    """Return a value with numbers in place of texts of numbers, in lists of lists too."""
    if isinstance(value, list) and depth:
        return [as_numbers(one, depth - 1) for one in value]
    if isinstance(value, str) and len(value) <= LONGEST_NUMBER and NUMBER_TEXT.fullmatch(value.strip()):
        return float(value)
    return value


def as_flag(value: object) -> int | None:
    """Return the 0 or 1 that a value certainly means, or None; null is 0."""
    return FLAGS.get(str(value).lower())


def as_rle(value: object) -> dict[str, Any] | None:
    """Return run lengths with whole numbers in place of texts and decimals, also of a list that holds them alone.

    None for what is something else, or is right already.
    """
    is_alone = isinstance(value, list) and len(value) == 1
    found = value[0] if isinstance(value, list) and is_alone else value
    if not isinstance(found, dict) or "counts" not in found:
        return None
    lists = {key: found[key] for key in ("size", "counts") if isinstance(found.get(key), list)}
    odd = {key: [as_whole(one) for one in numbers] for key, numbers in lists.items() if _are_odd(numbers)}
    if not (is_alone or odd) or any(None in numbers for numbers in odd.values()):
        return None
    return {**found, **odd}


def _are_odd(numbers: list[Any]) -> bool:
    return any(type(one) is not int for one in numbers)


def is_nested_well(segmentation: list[Any]) -> bool:
    """Tell whether the parts of a segmentation begin as polygons do; the rules look at the rest."""
    return all(isinstance(one, list) and (not one or (is_number(one[0]) and len(one) > 2)) for one in segmentation)


def nested_well(segmentation: Any, depth: int = 1) -> Any:
    """Return polygons [[x1, y1, x2, y2, ...], ...] from one list less or more, or from points; else the value itself.

    `[x1, y1, ...]` is one polygon, `[[x1, y1], ...]` are its points, and both may stand `depth` lists deeper. Lists of
    points of which one lies within another may be holes, as GeoJSON has them, and stay.
    """
    if _is_polygon(segmentation):
        return [segmentation]
    if _are_points(segmentation):
        return [_flat(segmentation)]
    if isinstance(segmentation, list) and depth:
        if _have_holes(segmentation):
            return segmentation
        parts = [[] if part == [] else nested_well(part, depth - 1) for part in segmentation]
        if all(isinstance(part, list) and all(map(_is_polygon, part)) for part in parts):
            return [polygon for part in parts for polygon in part]
    return segmentation


def _is_polygon(value: object) -> bool:
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(is_number, value))


def _are_points(value: object) -> bool:
    if not isinstance(value, list) or len(value) < 3:
        return False
    return all(_pair(one) is not None for one in value)


def _have_holes(parts: list[Any]) -> bool:
    """Tell whether of several lists of points one lies within the rectangle around another."""
    outlines = [np.reshape(_flat(part), (-1, 2)) for part in parts if _are_points(part)]
    boxes = [(*line.min(axis=0), *(-line.max(axis=0))) for line in outlines]
    return any(
        all(inner >= outer for inner, outer in zip(one, other, strict=True))
        for one in boxes
        for other in boxes
        if one is not other
    )


def _pair(point: Any) -> list[float] | None:
    if isinstance(point, dict):
        point = [point.get("x"), point.get("y")]
    if isinstance(point, list) and len(point) == 1:  # as OpenCV's contours
        [point] = point
    return point if isinstance(point, list) and len(point) == 2 and all(map(is_number, point)) else None


def _flat(points: list[Any]) -> list[float]:
    return [number for point in points for number in _pair(point) or ()]
