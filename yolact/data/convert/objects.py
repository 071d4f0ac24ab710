"""Masks as COCO stores them, with their boxes and areas: polygons stay polygons, pixels become run lengths."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from yolact.errors import DatasetError

Polygon = NDArray[np.float64]  # [M, 2] (x, y) in pixels of the picture, continuous coordinates
RunLengths = dict[str, Any]  # {"size": [H, W], "counts": bytes}, COCO's compressed form
DECIMALS = 3  # of a polygon's coordinates: what the loader draws with


class FoundObject(NamedTuple):
    """One object."""

    class_name: str
    segmentation: list[Polygon] | RunLengths
    box: tuple[float, float, float, float]  # x, y, width, height in pixels
    area: int  # pixels of the mask


def encode_mask(mask: NDArray[np.bool_]) -> RunLengths:
    """Return the run lengths of a mask, [H, W]."""
    runs: RunLengths = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return runs


def encode_numbers(numbers: NDArray[Any]) -> Iterator[tuple[int, RunLengths]]:
    """Yield each number above 0 that stands in `numbers`, [H, W], in ascending order, with its run lengths.

    The work is that of one sorting, however many objects there are: microscopy has thousands in a picture.
    """
    height, width = numbers.shape
    flat = numbers.ravel(order="F")
    places = np.flatnonzero(flat)
    places = places[np.argsort(flat[places], kind="stable")]
    values, starts = np.unique(flat[places], return_index=True)
    for value, pixels in zip(values.tolist(), np.split(places, starts)[1:], strict=True):
        breaks = np.flatnonzero(np.diff(pixels) != 1)
        first, last = pixels[np.append(0, breaks + 1)], pixels[np.append(breaks, -1)] + 1
        edges = np.concatenate(([0], np.stack((first, last), axis=1).ravel(), [height * width]))
        runs = np.diff(edges) if edges[-2] < edges[-1] else np.diff(edges[:-1])
        yield value, coco_mask.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)


def polygon_object(
    class_name: str, polygons: list[Polygon], image_size: tuple[int, int], where: str
) -> FoundObject | None:
    """Return an object of one or several polygons, None where they cover no pixel.

    Raises:
        DatasetError: as `encode_polygons`.
    """
    rounded = [np.round(polygon, DECIMALS) for polygon in polygons]
    area = int(coco_mask.area(encode_polygons(rounded, image_size, where)))
    corners = np.clip(np.concatenate(rounded), 0, image_size[::-1])
    low, high = corners.min(axis=0), corners.max(axis=0)
    x, y, width, height = np.round([*low, *(high - low)], DECIMALS).tolist()
    return FoundObject(class_name, rounded, (x, y, width, height), area) if area else None


def encode_polygons(polygons: list[Polygon], image_size: tuple[int, int], where: str) -> RunLengths:
    """Return the run lengths of what any of the polygons covers; `where` names them in errors.

    Raises:
        DatasetError: a coordinate is further outside the picture than an outline would be, or is not a number.
    """
    size = np.array(image_size[::-1])
    points = np.concatenate(polygons)
    # The loader's limits. pycocotools takes minutes and gigabytes for a coordinate of 1e9, and NaN hangs it.
    near = ((points >= -0.5 * size - 10) & (points <= 1.5 * size + 10)).all(axis=1)
    if not near.all():
        x, y = points[~near][0]
        raise DatasetError(
            f"{where} has a point at ({x:g}, {y:g}), far outside its picture of {size[0]} x {size[1]} pixels (width x "
            "height); correct it."
        )
    runs: RunLengths = coco_mask.merge(coco_mask.frPyObjects([p.ravel().tolist() for p in polygons], *image_size))
    return runs


def pixel_object(class_name: str, runs: RunLengths) -> FoundObject | None:
    """Return an object of run lengths, None where they are empty."""
    area = int(coco_mask.area(runs))
    x, y, width, height = coco_mask.toBbox(runs).tolist()
    return FoundObject(class_name, runs, (x, y, width, height), area) if area else None


def union(parts: list[RunLengths]) -> RunLengths:
    """Return the run lengths of what any of the parts covers."""
    runs: RunLengths = coco_mask.merge(parts)
    return runs


def coco_content(
    pictures: Iterable[tuple[str, tuple[int, int], list[FoundObject]]], class_names: Mapping[int, str]
) -> dict[str, Any]:
    """Return an annotation file.

    Args:
        pictures: file name, size (H, W) and objects of each.
        class_names: by category id, in ascending order.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ids = {name: category_id for category_id, name in class_names.items()}
    for image_id, (name, (height, width), objects) in enumerate(pictures, start=1):
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        for item in objects:
            annotations.append(_annotation(item, len(annotations) + 1, image_id, ids[item.class_name]))
    categories = [{"id": category_id, "name": name} for category_id, name in class_names.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotation(item: FoundObject, annotation_id: int, image_id: int, category_id: int) -> dict[str, Any]:
    """Return the object as an entry of COCO's annotations."""
    segmentation: object
    if isinstance(item.segmentation, dict):
        segmentation = {"size": list(item.segmentation["size"]), "counts": item.segmentation["counts"].decode()}
    else:
        segmentation = [polygon.ravel().tolist() for polygon in item.segmentation]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "iscrowd": 0,
        "bbox": list(item.box),
        "area": item.area,
        "segmentation": segmentation,
    }
