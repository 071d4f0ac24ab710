"""Label Studio's own export: JSON of tasks, or JSON-MIN."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from yolact.data.images import SUFFIXES, read_size
from yolact.errors import DatasetError
from yolact.text import printable
from yolact.tools.convert import common
from yolact.tools.convert.brush import decode_rle
from yolact.tools.convert.common import Conversion, FoundImage, Part, Polygon, RunLengths, check, is_text
from yolact.tools.convert.finding import Images
from yolact.tools.convert.outlines import ellipse, rectangle, rotate

TOOL = "Label Studio"


class Region(NamedTuple):
    """What the results of one region say together: its outline may stand in one and its label in another."""

    where: str
    kind: str  # the type of the first one, such as "brushlabels"
    value: dict[str, Any]
    turned: object  # degrees by which the image was turned in the tool


def is_labelstudio(content: Any) -> bool:
    """Tell whether a JSON file holds tasks of Label Studio, in either form."""
    task = content[0] if isinstance(content, list) and content else content
    if not isinstance(task, dict):
        return False
    is_task = isinstance(task.get("data"), dict) and not {"annotations", "completions", "predictions"}.isdisjoint(task)
    return is_task or (isinstance(content, list) and "annotation_id" in task and "annotator" in task)


def read_labelstudio(source: Path, folder: Path | None = None) -> Conversion:
    """Read an export, a JSON file or those below a folder; the images lie below `folder`, or the source's.

    The first annotation of a task that was not cancelled is taken. DatasetError where none can be used.
    """
    conversion = Conversion.of(source, folder)
    images, tasks = Images(conversion), {}
    for path, content in conversion.json_files(source, is_labelstudio, TOOL):
        for index, task in enumerate(content if isinstance(content, list) else [content]):
            number = task.get("id", index) if isinstance(task, dict) else index
            tasks[f"task {printable(str(number))} (entry {index}) of {path}"] = task

    def read(where: str, task: Any) -> FoundImage | None:
        check(isinstance(task, dict), where, "task", "an object", task)
        task = task if isinstance(task.get("data"), dict) else _from_short_form(task)
        annotation = _choose_annotation(conversion, task, where)
        if annotation is None:
            return None
        results: Any = annotation.get("result")
        is_right = isinstance(results, list) and all(isinstance(result, dict) for result in results)
        check(is_right, where, "result", "a list of objects", results)
        further = [result for result in results if result.get("item_index")]
        conversion.note("regions of a task's images after its first one, passed over", *[where] * len(further))
        results = [result for result in results if not result.get("item_index")]
        name = _find_image(images, task["data"], where)
        sizes = [(one["original_height"], one.get("original_width")) for one in results if "original_height" in one]
        size: Any = sizes[0] if sizes else None
        is_right = all(found == size and all(type(side) is int and side > 0 for side in found) for found in sizes)
        check(is_right, where, "original_height and original_width", "the same whole numbers above 0", sizes)
        size = read_size(conversion.folder / name, size)
        parts = common.each(_regions(results, where), lambda region: _read_region(conversion, region, size))
        return FoundImage(name, size, conversion.objects(parts, size))

    conversion.collect(tasks, read)
    conversion.note("images without a task that can be used, left out", *images.unused())
    return conversion


def _from_short_form(task: dict[str, Any]) -> dict[str, Any]:
    """Return a task of JSON-MIN, which has lists of regions beside the data, as one of JSON."""
    regions = [
        {**region, "value": region, "id": None}
        for value in task.values()
        if isinstance(value, list)
        for region in value
        if isinstance(region, dict)
    ]
    return {"data": task, "annotations": [{"result": regions}]}


def _choose_annotation(conversion: Conversion, task: dict[str, Any], where: str) -> dict[str, Any] | None:
    """Return the annotation of a task that counts, None where nobody has labelled it; note what is not taken."""
    found = task.get("annotations", task.get("completions", []))
    is_right = isinstance(found, list) and all(isinstance(annotation, dict) for annotation in found)
    check(is_right, where, "annotations", "a list of objects", found)
    valid: list[dict[str, Any]] = [annotation for annotation in found if not annotation.get("was_cancelled")]
    guesses = task["predictions"] if isinstance(task.get("predictions"), list) else []
    conversion.note("cancelled annotations, passed over", *[where] * (len(found) - len(valid)))
    conversion.note("annotations of a task after its first one, passed over", *[where] * len(valid[1:]))
    conversion.note("predictions, which nobody confirmed, passed over", *[where] * len(guesses))
    if not valid:
        conversion.note("tasks without an annotation, left out", where)
        return None
    return valid[0]


def _find_image(images: Images, data: dict[str, Any], where: str) -> str:
    """Return the name of a task's image below the folder, from its address on a server or in a store."""
    texts = {key: text for key, text in data.items() if is_text(text)}
    paths = {key: _path_of(text) for key, text in texts.items()}
    likely = [path for path in paths.values() if PurePosixPath(path).suffix.lower() in SUFFIXES]
    given = paths.get("image") or (likely[0] if likely else None)
    if given is None:
        raise DatasetError(f"'data' of {where} names no image (it has {printable(', '.join(data))}); export it again.")
    return images.find(given, where)


def _path_of(address: str) -> str:
    """Return the path of a URL such as /data/upload/1/a.jpg, /data/local-files/?d=a.jpg or s3://bucket/a.jpg."""
    try:
        parts = urlsplit(address.replace("\\", "/"))
        local = parse_qs(parts.query).get("d") if parts.path.rstrip("/").endswith("local-files") else None
    except ValueError:
        return ""
    return local[-1] if local else unquote(parts.path)


def _regions(results: list[dict[str, Any]], where: str) -> list[Region]:
    """Return the regions of an annotation; the results of one id are one."""
    regions: dict[object, Region] = {}
    for index, result in enumerate(results):
        value, number = result.get("value"), result.get("id")
        key = number if isinstance(number, str) else index
        before = regions.get(key)
        if before and isinstance(value, dict) and any(before.value.get(one, value[one]) != value[one] for one in value):
            key = index  # an id that is given twice
        kind, turned = printable(str(result.get("type", "unknown"))), result.get("image_rotation")
        region = regions.setdefault(key, Region(f"result {index} of {where}", kind, {}, turned))
        region.value.update(value if isinstance(value, dict) else {})
    return list(regions.values())


def _read_region(conversion: Conversion, region: Region, image_size: tuple[int, int]) -> Iterator[Part]:
    """Yield the object of a region, or note why it is none; DatasetError where it is wrong."""
    where, kind, value, turned = region
    given = [found for key, found in value.items() if key.endswith("labels") and isinstance(found, list)]
    labels = [label for found in given for label in found]
    to_pixels = np.array(image_size[::-1]) / 100  # from percent
    [degrees] = common.numbers_of({"rotation": 0, **value}, ["rotation"], where)
    area: Polygon | RunLengths
    if "rle" in value:
        area = common.encode_mask(decode_rle(value["rle"], image_size, where))
    elif "points" in value:
        area = common.points_of(value, where) * to_pixels
        check(len(area) > 2, where, "points", "three or more", value["points"])
    elif "radiusX" in value:
        x, y, *radii = common.numbers_of(value, ("x", "y", "radiusX", "radiusY"), where)
        area = ellipse(to_pixels * (x, y), to_pixels * radii, degrees, image_size)
    elif "height" in value and "x" in value:
        x, y, w, h = common.numbers_of(value, ("x", "y", "width", "height"), where)
        corners = rectangle(x, y, x + w, y + h) * to_pixels
        area = rotate(corners, corners[0], degrees)
        conversion.note("rectangles, taken as objects that fill them", where)
    elif "imageDataURL" in value:
        raise DatasetError(f"{where} is a bitmask, which is not read; export PNG masks, for `yolact convert masks`.")
    else:
        conversion.note(f"results of the kind '{kind}', which have no area, passed over", where)
        return
    if turned:
        raise DatasetError(f"{where} was drawn on an image turned in the tool ('image_rotation'); turn it back there.")
    if not labels:
        conversion.note("regions without a label, passed over", where)
        return
    check(is_text(labels[0]), where, "label", "text without control characters", labels[0])
    conversion.note("labels of a region after its first one, passed over", *[where] * len(labels[1:]))
    yield Part(labels[0], area, where)
