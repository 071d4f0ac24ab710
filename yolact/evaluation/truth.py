"""The ground truth as COCOeval counts it: more than training uses, and with every field that it wants."""

import json
from pathlib import Path
from typing import Any, Literal

from pycocotools import mask as rle_tools

from yolact.formats import Record

IouType = Literal["segm", "bbox"]


def read_truth(annotation_file: str | Path, iou_type: IouType) -> tuple[dict[str, Any], int]:
    """Read an annotation file for COCOeval, which wants fields that training can do without.

    Returns:
        The file's content, completed, and the number of annotations that were left out because they have no mask.
    """
    data = json.loads(Path(annotation_file).read_bytes())
    sizes = {image["id"]: (image["height"], image["width"]) for image in data["images"]}
    entries = [entry for entry in data["annotations"] if iou_type == "bbox" or _has_mask(entry)]
    annotations = [_completed(entry, sizes[entry["image_id"]]) for entry in entries]
    # COCOeval marks "unmatched" by 0, so that an object with the id 0 would never count as found.
    if any(annotation["id"] == 0 for annotation in annotations):
        for index, annotation in enumerate(annotations, start=1):
            annotation["id"] = index
    return {**data, "annotations": annotations}, len(data["annotations"]) - len(entries)


def encode_annotation(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Return the compressed RLE of an annotation's polygons or run lengths in an image of `size` (H, W)."""
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str | bytes):
        return segmentation
    rles: Any = rle_tools.frPyObjects(segmentation, *size)
    encoded: dict[str, Any] = rle_tools.merge(rles) if isinstance(rles, list) else rles
    return encoded


def _has_mask(annotation: Record) -> bool:
    """Tell whether pycocotools can make a mask of this annotation; polygons need three points."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        return any(len(polygon) >= 6 for polygon in segmentation)
    return bool(segmentation)


def _completed(annotation: Record, size: tuple[int, int]) -> Record:
    """Return a copy with id, iscrowd, area and polygons in the form that pycocotools needs."""
    completed = {"iscrowd": 0, **annotation}
    segmentation = completed.get("segmentation")
    if isinstance(segmentation, list):
        completed["segmentation"] = [polygon for polygon in segmentation if len(polygon) >= 6]
    if "area" not in completed:
        completed["area"] = _area(completed, size)
    return completed


def _area(annotation: Record, size: tuple[int, int]) -> float:
    """Return the mask's area in pixels, or the box's where there is no mask."""
    if not _has_mask(annotation):
        return float(annotation["bbox"][2] * annotation["bbox"][3])
    return float(rle_tools.area(encode_annotation(annotation["segmentation"], size)))
