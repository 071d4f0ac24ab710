"""Objects as COCO stores them, with box and area: polygons stay polygons, pixels become run lengths."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from yolact.errors import DatasetError

Polygon = NDArray[np.float64]  # [M, 2] (x, y) in pixels of the image, continuous coordinates
RunLengths = dict[str, Any]  # {"size": [H, W], "counts": bytes}, COCO's compressed form
DECIMALS = 3  # of a polygon's coordinates: what the loader draws with


class Part(NamedTuple):
    """What a reader finds; the parts of one class and group are one object."""

    class_name: str
    area: Polygon | RunLengths
    where: str  # names it in errors
    group: object = None  # None: it is an object of its own
    iscrowd: bool = False


class FoundObject(NamedTuple):
    """One object."""

    class_name: str
    segmentation: list[list[float]] | RunLengths  # as in COCO's JSON
    box: tuple[float, ...]  # x, y, width, height in pixels
    area: float  # pixels of the mask
    iscrowd: bool = False


class FoundImage(NamedTuple):
    """One image and its objects."""

    name: str  # its path below the source folder, with forward slashes
    image_size: tuple[int, int]  # (H, W)
    objects: list[FoundObject]
    subset: str = ""  # what its source calls its split; else its folders may
    embedded: Callable[[], bytes] | None = None  # gives the file's content where that stands in a label file


def encode_mask(mask: NDArray[np.bool_]) -> RunLengths:
    """Return the run lengths of a mask, [H, W]."""
    runs: RunLengths = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return runs


def encode_numbers(numbers: NDArray[Any]) -> Iterator[tuple[int, RunLengths]]:
    """Yield each number above 0 that stands in `numbers`, [H, W], in ascending order, with its run lengths.

    The work is that of one sorting, however many objects there are: microscopy has thousands in an image.
    """
    height, width = numbers.shape
    flat = numbers.ravel(order="F")
    pixels = np.flatnonzero(flat)
    pixels = pixels[np.argsort(flat[pixels], kind="stable")]
    values, starts = np.unique(flat[pixels], return_index=True)
    for value, own in zip(values.tolist(), np.split(pixels, starts)[1:], strict=True):
        breaks = np.flatnonzero(np.diff(own) != 1)
        first, last = own[np.append(0, breaks + 1)], own[np.append(breaks, -1)] + 1
        edges = np.concatenate(([0], np.stack((first, last), axis=1).ravel(), [height * width]))
        counts = np.trim_zeros(np.diff(edges), "b").tolist()
        yield value, coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def make_object(parts: list[Part], image_size: tuple[int, int]) -> FoundObject | None:
    """Return the object that parts make: polygons if all are, else all their pixels; None where it has no pixel.

    DatasetError where a point is further outside the image, (H, W), than that of an outline would be.
    """
    polygons = [np.round(part.area, DECIMALS) for part in parts if not isinstance(part.area, dict)]
    runs = [part.area for part in parts if isinstance(part.area, dict)]
    size = np.array(image_size[::-1])
    points = np.concatenate([np.empty((0, 2)), *polygons])
    # The loader's limits. pycocotools takes minutes and gigabytes for a coordinate of 1e9, and NaN hangs it.
    is_near = (abs(points - size / 2) <= size + 10).all(axis=1)
    for x, y in points[~is_near][:1]:
        raise DatasetError(
            f"{parts[0].where} has a point at ({x:g}, {y:g}), far outside its image of {size[0]} x {size[1]} pixels "
            "(width x height); correct it."
        )
    rows = [polygon.ravel().tolist() for polygon in polygons]
    if rows:
        runs.append(coco_mask.merge(coco_mask.frPyObjects(rows, *image_size)))
    whole = coco_mask.merge(runs) if len(runs) > 1 else runs[0]
    area = int(coco_mask.area(whole))
    if not area:
        return None
    segmentation: list[list[float]] | RunLengths = rows
    if len(rows) < len(parts):
        segmentation = {"size": list(whole["size"]), "counts": whole["counts"].decode()}
        box = coco_mask.toBbox(whole)
    else:
        corners = np.clip(points, 0, size)
        low, high = corners.min(axis=0), corners.max(axis=0)
        box = np.round([*low, *(high - low)], DECIMALS)
    return FoundObject(parts[0].class_name, segmentation, tuple(box.tolist()), area, parts[0].iscrowd)


def coco_content(images: Iterable[FoundImage], class_names: Mapping[int, str]) -> dict[str, list[dict[str, Any]]]:
    """Return an annotation file; `class_names` by category id, in ascending order."""
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ids = {name: category_id for category_id, name in class_names.items()}
    for image_id, image in enumerate(images, start=1):
        height, width = image.image_size
        entries.append({"id": image_id, "file_name": image.name, "height": height, "width": width})
        for class_name, segmentation, box, area, iscrowd in image.objects:
            numbers = {"id": len(annotations) + 1, "image_id": image_id, "category_id": ids[class_name]}
            mask = {"iscrowd": int(iscrowd), "bbox": box, "area": area, "segmentation": segmentation}
            annotations.append({**numbers, **mask})
    categories = [{"id": category_id, "name": name} for category_id, name in class_names.items()]
    return {"images": entries, "annotations": annotations, "categories": categories}
