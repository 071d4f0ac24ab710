"""VGG Image Annotator's JSON, of projects and of annotations."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from yolact.data.annotations import is_number
from yolact.data.images import read_size
from yolact.errors import DatasetError
from yolact.text import printable
from yolact.tools.convert.common import Conversion, FoundImage, Part, check, each, is_text, numbers_of
from yolact.tools.convert.finding import Images
from yolact.tools.convert.outlines import ellipse, rectangle

TOOL = "VGG Image Annotator"
CLASS_NAMES = ("class", "label", "name", "category", "type", "object")  # of an attribute among several
NO_CLASS = "object"  # of regions without attributes, as where there is one class


def is_via(content: Any) -> bool:
    """Tell whether a JSON file is VIA's: entries with a filename and regions, in a project or alone."""
    entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    first = next(iter(entries.values()), None) if isinstance(entries, dict) else None
    return isinstance(first, dict) and {"filename", "regions"} <= first.keys()


def read_via(source: Path, folder: Path | None = None) -> Conversion:
    """Read a JSON file, or those below a folder; the images lie below `folder`, or the source's.

    The attribute of the regions is their class; of several that all regions have, the one that is called so.
    DatasetError where no image can be used or it is not certain which attribute is the class.
    """
    conversion = Conversion.of(source, folder)
    images = Images(conversion)
    jobs: dict[str, Any] = {}
    for path, content in conversion.json_files(source, is_via, TOOL):
        entries = content.get("_via_img_metadata", content).values()
        for index, entry in enumerate(entries):
            jobs[f"entry {index} of {path}"] = entry
            images.claim(entry.get("filename") if isinstance(entry, dict) else None)
    attribute = _class_attribute(jobs.values())

    def read(where: str, entry: Any) -> FoundImage:
        check(isinstance(entry, dict), where, "entry", "an object", entry)
        given, regions = entry.get("filename"), entry.get("regions")
        check(is_text(given), where, "filename", "text without control characters", given)
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1
        check(isinstance(regions, list), where, "regions", "a list", regions)
        name = images.find(given, where)
        size = read_size(conversion.folder / name)
        numbered = [(f"regions[{index}] of {where}", region) for index, region in enumerate(regions)]
        parts = each(numbered, lambda region: _read_region(conversion, *region, attribute, size))
        return FoundImage(name, size, conversion.objects(parts, size))

    conversion.collect(jobs, read)
    conversion.note("images that no file lists, left out", *images.unused())
    return conversion


def _class_attribute(entries: Iterable[Any]) -> str | None:
    """Return the name of the attribute that is the class, None where regions have none."""
    common: list[str] | None = None
    for entry in entries:
        regions = entry.get("regions") if isinstance(entry, dict) else None
        regions = regions.values() if isinstance(regions, dict) else regions
        for region in regions if isinstance(regions, Iterable) and not isinstance(regions, str) else ():
            attributes = region.get("region_attributes") if isinstance(region, dict) else None
            if isinstance(attributes, dict) and attributes:
                common = [name for name in (attributes if common is None else common) if name in attributes]
    if common is None:
        return None
    if len(common) > 1:
        common = [name for name in common if name.lower() in CLASS_NAMES] or common
    if len(common) != 1:
        named = f"several attributes, {printable(', '.join(common))}" if common else "no attribute in common"
        raise DatasetError(f"The regions of VGG Image Annotator have {named}; call the one of the classes 'class'.")
    return common[0]


def _read_region(
    conversion: Conversion, where: str, region: Any, attribute: str | None, image_size: tuple[int, int]
) -> Iterator[Part]:
    shape: Any = region.get("shape_attributes") if isinstance(region, dict) else None
    check(isinstance(shape, dict), where, "shape_attributes", "an object", shape)
    kind, attributes = shape.get("name"), region.get("region_attributes")
    if kind == "polygon":
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        is_right = isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys) > 2
        is_right = is_right and all(map(is_number, [*xs, *ys]))
        check(is_right, where, "all_points_x and all_points_y", "equally many finite numbers, from 3 on", (xs, ys))
        area = np.array([xs, ys], np.float64).T
    elif kind == "rect":
        x, y, width, height = numbers_of(shape, ("x", "y", "width", "height"), where)
        area = rectangle(x, y, x + width, y + height)
        conversion.note("rectangles, taken as objects that fill them", where)
    elif kind == "circle":
        *centre, radius = numbers_of(shape, ("cx", "cy", "r"), where)
        area = ellipse(centre, (radius, radius), 0, image_size)
    elif kind == "ellipse":
        x, y, *radii, theta = numbers_of({"theta": 0, **shape}, ("cx", "cy", "rx", "ry", "theta"), where)
        area = ellipse((x, y), radii, np.degrees(theta), image_size)
    else:
        conversion.note(f"regions of the kind {str(kind)[:20]!r}, which have no area, passed over", where)
        return
    label = attributes.get(attribute) if isinstance(attributes, dict) else None
    if isinstance(label, dict):  # check boxes
        chosen = [name for name, is_on in label.items() if is_on]
        conversion.note("labels of a region after its first one, passed over", *[where] * len(chosen[1:]))
        label = chosen[0] if chosen else None
    if not label:
        conversion.note(f"regions without attributes, taken as '{NO_CLASS}'", where)
    check(not label or is_text(label), where, "region_attributes", "text without control characters", label)
    yield Part(label or NO_CLASS, area, where)
