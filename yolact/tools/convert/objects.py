"""Objects as COCO stores them, with box and area: polygons stay polygons, pixels become run lengths."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from yolact.data.annotations import ImageRecord, parse_segmentation

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
        counts = np.diff(edges).tolist()
        counts = counts if counts[-1] else counts[:-1]
        yield value, coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)


def make_object(parts: list[Part], image_size: tuple[int, int]) -> FoundObject | None:
    """Return the object that parts make: polygons if all are, else all their pixels; None where it has no pixel.

    DatasetError where the loader would refuse a polygon, such as one far outside the image, (H, W).
    """
    class_name, _, where, _, iscrowd = parts[0]
    runs = [part.area for part in parts if isinstance(part.area, dict)]
    rows = [np.round(part.area, DECIMALS).ravel().tolist() for part in parts if not isinstance(part.area, dict)]
    if rows:
        # Before anything is drawn: pycocotools takes gigabytes for a coordinate of 1e9, and NaN hangs it.
        parse_segmentation({"segmentation": rows}, where, ImageRecord(0, where, *image_size))
        runs.append(coco_mask.merge(coco_mask.frPyObjects(rows, *image_size)))
    whole = coco_mask.merge(runs) if len(runs) > 1 else runs[0]
    area = int(coco_mask.area(whole))
    if not area:
        return None
    if len(rows) < len(parts):
        segmentation = {"size": list(whole["size"]), "counts": whole["counts"].decode()}
        return FoundObject(class_name, segmentation, tuple(coco_mask.toBbox(whole).tolist()), area, iscrowd)
    corners = np.clip(np.concatenate(rows).reshape(-1, 2), 0, image_size[::-1])
    low, high = corners.min(axis=0), corners.max(axis=0)
    return FoundObject(class_name, rows, tuple(np.round([*low, *(high - low)], DECIMALS).tolist()), area, iscrowd)


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
