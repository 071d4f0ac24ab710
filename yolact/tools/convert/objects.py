"""Objects as COCO stores them, with box and area: polygons stay polygons, pixels become run lengths."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from yolact.errors import DatasetError

Polygon = NDArray[np.float64]  # [M, 2] (x, y) in pixels of the image, continuous coordinates
RunLengths = dict[str, Any]  # {"size": [H, W], "counts": bytes}, COCO's compressed form
DECIMALS = 3  # of a polygon's coordinates: what the loader draws with


class FoundObject(NamedTuple):
    """One object."""

    class_name: str
    segmentation: list[list[float]] | RunLengths  # as in COCO's JSON
    box: tuple[float, ...]  # x, y, width, height in pixels
    area: int  # pixels of the mask
    iscrowd: bool = False


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
        runs = np.diff(edges) if edges[-2] < edges[-1] else np.diff(edges[:-1])
        yield value, coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)


def pixel_object(class_name: str, runs: RunLengths, iscrowd: bool = False) -> FoundObject | None:
    """Return an object of run lengths, None where they are empty."""
    area = int(coco_mask.area(runs))
    segmentation = {"size": list(runs["size"]), "counts": runs["counts"].decode()}
    box = tuple(coco_mask.toBbox(runs).tolist())
    return FoundObject(class_name, segmentation, box, area, iscrowd) if area else None


def join_object(
    class_name: str, parts: list[Polygon | RunLengths], image_size: tuple[int, int], where: str, iscrowd: bool = False
) -> FoundObject | None:
    """Return the object that these parts make: polygons if all are, else all their pixels; None where it has no pixel.

    Raises:
        DatasetError: a point is further outside the image than an outline would be; `where` names the object.
    """
    polygons = [np.round(part, DECIMALS) for part in parts if not isinstance(part, dict)]
    runs = [part for part in parts if isinstance(part, dict)]
    size = np.array(image_size[::-1])
    points = np.concatenate([np.empty((0, 2)), *polygons])
    # The loader's limits. pycocotools takes minutes and gigabytes for a coordinate of 1e9, and NaN hangs it.
    is_near = (abs(points - size / 2) <= size + 10).all(axis=1)
    for x, y in points[~is_near][:1]:
        raise DatasetError(
            f"{where} has a point at ({x:g}, {y:g}), far outside its image of {size[0]} x {size[1]} pixels (width x "
            "height); correct it."
        )
    rows = [polygon.ravel().tolist() for polygon in polygons]
    if rows:
        runs.append(coco_mask.merge(coco_mask.frPyObjects(rows, *image_size)))
    joined = pixel_object(class_name, coco_mask.merge(runs), iscrowd)
    if joined is None or len(rows) < len(parts):
        return joined
    corners = np.clip(points, 0, size)
    low, high = corners.min(axis=0), corners.max(axis=0)
    return joined._replace(segmentation=rows, box=tuple(np.round([*low, *(high - low)], DECIMALS).tolist()))


def coco_content(
    images: Iterable[tuple[str, tuple[int, int], list[FoundObject]]], class_names: Mapping[int, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return an annotation file.

    Args:
        images: file name, size (H, W) and objects of each.
        class_names: by category id, in ascending order.
    """
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ids = {name: category_id for category_id, name in class_names.items()}
    for image_id, (name, (height, width), objects) in enumerate(images, start=1):
        entries.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for item in objects:
            annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": ids[item.class_name]}
            masks = {"bbox": item.box, "area": item.area, "segmentation": item.segmentation}
            annotations.append({**annotation, "iscrowd": int(item.iscrowd), **masks})
    categories = [{"id": category_id, "name": name} for category_id, name in class_names.items()]
    return {"images": entries, "annotations": annotations, "categories": categories}
