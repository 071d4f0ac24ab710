"""CVAT's own export, "CVAT for images 1.1": one XML file of all images."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from yolact.data.annotations import is_number
from yolact.data.images import read_size
from yolact.errors import DatasetError
from yolact.text import printable
from yolact.tools.convert import common
from yolact.tools.convert.coco import split_of
from yolact.tools.convert.common import Conversion, FoundImage, Part, Polygon, RunLengths, check, is_text
from yolact.tools.convert.finding import Images
from yolact.tools.convert.outlines import ellipse, rectangle, rotate

MAX_BYTES = 500_000_000  # of a file
MAX_NODES = 10_000_000  # elements and attributes, of a few hundred bytes each in memory; a million shapes
MARK, START = "<annotations>", 2000  # stands within so many bytes
NO_AREA = ("points", "polyline", "cuboid", "skeleton", "tag")  # kinds of labels; a skeleton's parts are points
FRAME = 2  # pixels by which a box may fall short of what it frames


def is_cvat(path: Path) -> bool:
    """Tell whether an XML file begins as CVAT's do."""
    with path.open("rb") as file:
        return MARK.encode() in file.read(START)


def read_cvat(source: Path, folder: Path | None = None) -> Conversion:
    """Read an XML file of CVAT, or those below a folder; the images lie below `folder`, or the source's.

    DatasetError where there is none, it is of "CVAT for video", or no image can be used.
    """
    conversion = Conversion.of(source, folder)
    paths = [path for path in conversion.label_files(source, ".xml") if is_cvat(path)]
    if not paths:
        raise DatasetError(f"There is no XML file of CVAT (with <annotations>) at '{source}'; check the path.")
    images, jobs = Images(conversion), {}
    labels: list[str] = []
    for path in paths:
        root = read_xml(path)
        if root.find("track") is not None:
            raise DatasetError(f'{path} has tracks, as "CVAT for video"; export it as "CVAT for images 1.1".')
        for label in root.iterfind("meta//label"):
            if label.findtext("type") not in NO_AREA:
                labels.append(label.findtext("name", "").strip())
        for index, entry in enumerate(root.findall("image")):
            subset = entry.get("subset", "")
            near = [f"images/{subset}", "images", subset]
            jobs[f"image {index} of {path}"] = path, entry, near
            images.claim(entry.get("name"), near)

    def read(where: str, job: tuple[Path, ElementTree.Element, list[str]]) -> FoundImage:
        path, entry, near = job
        given = entry.get("name")
        check(is_text(given), where, "name", "text without control characters", given)
        height, width = map(int, _numbers(entry, ("height", "width"), where))
        size = height, width
        check(min(size) > 0, where, "height and width", "above 0", size)
        name = images.find(str(given), where, near)
        read_size(conversion.folder / name, size)
        shapes = [(f"<{shape.tag}> {index} of '{name}' in {path}", shape) for index, shape in enumerate(entry)]
        parts = [*common.each(shapes, lambda shape: _read_shape(conversion, *shape, size))]
        kept = _without_frames(conversion, parts, {where for where, shape in shapes if shape.tag == "box"})
        return FoundImage(name, size, conversion.objects(kept, size), entry.get("subset") or split_of(path, source))

    conversion.collect(jobs, read)
    # In the order of the task, so that two exports of it have the same ids.
    used = [*filter(is_text, labels), *conversion.class_names.values()]
    conversion.class_names = dict(enumerate(dict.fromkeys(used), start=1))
    conversion.note("images that the file does not list, left out", *images.unused())
    return conversion


def read_xml(path: Path) -> ElementTree.Element:
    """Return the root of an XML file in UTF-8; DatasetError where it is none, too large, or declares a type or entity.

    With entities, a few lines of XML can become gigabytes or read other files.
    """
    if path.stat().st_size > MAX_BYTES:
        raise DatasetError(f"{path} has more than {MAX_BYTES:,} bytes, the limit; export the images in several tasks.")

    def parse(data: bytes) -> ElementTree.Element:
        text = data.decode("utf-8-sig")
        if any(word in text.upper() for word in ("<!DOCTYPE", "<!ENTITY")):
            raise ValueError("it has a DOCTYPE or ENTITY, which annotations do not need")
        if text.count("<") + text.count("=") > MAX_NODES:
            raise ValueError(f"it has more than {MAX_NODES:,} elements and attributes, the limit; use smaller tasks")
        try:
            return ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise ValueError(error) from None

    return common.read_labels(path, parse, "plain XML in UTF-8")


def _numbers(element: ElementTree.Element, keys: Iterable[str], where: str) -> Iterator[float]:
    """Yield these attributes of an element; DatasetError where one is no finite number."""
    for key in keys:
        text = element.get(key)
        try:
            number = float(str(text))
        except ValueError:
            number = float("nan")
        check(is_number(number), where, key, "a finite number", text)
        yield number


def _read_shape(
    conversion: Conversion, where: str, shape: ElementTree.Element, image_size: tuple[int, int]
) -> Iterator[Part]:
    """Yield the object, or the part of a group, that an element is; note what has no area."""
    [degrees] = _numbers(shape, ["rotation"], where) if "rotation" in shape.attrib else [0.0]
    area: Polygon | RunLengths
    if shape.tag == "polygon":
        area = _points(shape.get("points", ""), where)
    elif shape.tag == "box":
        x0, y0, x1, y1 = _numbers(shape, ("xtl", "ytl", "xbr", "ybr"), where)
        area = rotate(rectangle(x0, y0, x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2), degrees)
    elif shape.tag == "ellipse":
        x, y, radius_x, radius_y = _numbers(shape, ("cx", "cy", "rx", "ry"), where)
        area = ellipse((x, y), (radius_x, radius_y), degrees, image_size)
    elif shape.tag == "mask":
        area = common.encode_mask(_mask(shape, image_size, where))
    else:
        conversion.note(f"shapes of the kind '{printable(shape.tag)}', which have no area, passed over", where)
        return
    label, group = shape.get("label"), shape.get("group_id", "0")
    check(is_text(label), where, "label", "text without control characters", label)
    iscrowd = shape.findtext("attribute[@name='is_crowd']") == "true"  # of COCO, by way of datumaro
    yield Part(str(label), area, where, None if group == "0" else group, iscrowd)


def _without_frames(
    conversion: Conversion, parts: list[Part | DatasetError], boxes: Container[str]
) -> Iterator[Part | DatasetError]:
    """Yield the parts but for those of `boxes` around outlines of their group: datumaro writes both for an object."""
    outlines = defaultdict(list)
    for part in parts:
        if isinstance(part, Part) and part.group is not None and part.where not in boxes:
            outlines[part.class_name, part.group].append(_bounds(part.area))
    for part in parts:
        if isinstance(part, Part) and part.where in boxes:
            inner = np.array(outlines.get((part.class_name, part.group), []))
            low, high = _bounds(part.area)
            if len(inner) and (inner[:, 0] >= low - FRAME).all() and (inner[:, 1] <= high + FRAME).all():
                conversion.note("boxes around outlines of their group, passed over", part.where)
                continue
            conversion.note("boxes, taken as objects that fill them", part.where)
        yield part


def _bounds(area: Polygon | RunLengths) -> NDArray[np.float64]:
    """Return the least and the greatest (x, y), [2, 2]."""
    if isinstance(area, dict):
        return np.cumsum(coco_mask.toBbox(area).reshape(2, 2), axis=0)
    return np.stack((area.min(axis=0), area.max(axis=0)))


def _points(text: str, where: str) -> NDArray[np.float64]:
    """Return points written as "x,y;x,y"."""
    try:
        points = np.array([[float(x), float(y)] for x, y in (pair.split(",") for pair in text.rstrip(";").split(";"))])
    except ValueError:
        points = np.empty((0, 2))
    check(len(points) > 2, where, "points", "x,y;x,y;x,y of three points or more", text)
    return points


def _mask(shape: ElementTree.Element, image_size: tuple[int, int], where: str) -> NDArray[np.bool_]:
    """Return a mask [H, W] from run lengths over its box, row by row, beginning with a run of zeros."""
    text, box = shape.get("rle", ""), [*_numbers(shape, ("left", "top", "width", "height"), where)]
    left, top, width, height = map(int, box)
    inside = box == [left, top, width, height] and left >= 0 and top >= 0 and width > 0 and height > 0
    inside = inside and left + width <= image_size[1] and top + height <= image_size[0]
    check(inside, where, "left, top, width, height", f"whole, and within the image of {image_size[::-1]}", box)
    try:
        runs = [int(run) for run in text.split(",")]
    except ValueError:
        runs = []
    if not runs or min(runs) < 0 or sum(runs) != width * height:
        raise DatasetError(
            f"'rle' of {where} must be run lengths that add up to {width} x {height}, not '{printable(text, 40)}'; "
            "export it again."
        )
    mask = np.zeros(image_size, bool)
    values = np.arange(len(runs)) % 2 == 1
    mask[top : top + height, left : left + width] = np.repeat(values, runs).reshape(height, width)
    return mask
