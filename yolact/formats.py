"""Instances in other forms: COCO's records, labelme's files, supervision's detections, cut-outs."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from yolact.errors import UserError
from yolact.ops.outlines import mask_polygons, one_line, simplified
from yolact.ops.regions import MaskRegion, full_masks
from yolact.ops.rle import RunLengths

if TYPE_CHECKING:
    from yolact.instances import Instances

Record = dict[str, Any]

LABELME_VERSION = "5.4.1"  # labelme warns of files of another major version
PIXEL_CENTRE = 0.5  # where labelme has the centre of the first pixel


def coco_records(instances: "Instances", image_id: int, encoded: Sequence[RunLengths] | None = None) -> list[Record]:
    """Return one COCO result record per instance: image_id, category_id, bbox (xywh), score, segmentation (RLE).

    The score is the mask's (class probability times predicted mask IoU in YOLACT++, else the class probability).
    `encoded` are the masks as `Instances.rle` makes them, where that is done already.
    """
    encoded = instances.rle() if encoded is None else encoded
    boxes, scores, labels = instances.boxes.tolist(), instances.mask_scores.tolist(), instances.labels.tolist()
    return [
        {
            "image_id": image_id,
            "category_id": instances.category_ids[label],
            "bbox": _xywh(box),
            "score": score,
            "segmentation": rle,
        }
        for box, score, label, rle in zip(boxes, scores, labels, encoded, strict=True)
    ]


def result_records(
    instances: "Instances", image_id: int, encoded: Sequence[RunLengths] | None = None
) -> tuple[list[Record], list[Record]]:
    """Return (mask records, box records) as COCO's two result files hold them; `encoded` as for `coco_records`.

    Mask records carry no bbox: pycocotools would take an object's size from it instead of from the mask. Box records
    carry the class probability, which YOLACT++ does not rescore.
    """
    both = coco_records(instances, image_id, encoded)
    masks = [{key: value for key, value in record.items() if key != "bbox"} for record in both]
    keys = ("image_id", "category_id", "bbox")
    boxes = [
        {**{key: record[key] for key in keys}, "score": score}
        for record, score in zip(both, instances.scores.tolist(), strict=True)
    ]
    return masks, boxes


def _xywh(box: Sequence[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]


def labelme_content(instances: "Instances", image_path: str, tolerance: float) -> dict[str, Any]:
    """Return the content of a labelme file; `Instances.to_labelme` says which.

    Raises:
        UserError: the tolerance is below 0 or not a number.
    """
    if not tolerance >= 0:
        raise UserError(f"The tolerance of outlines must be 0 or more pixels, got {tolerance}; correct it.")
    shapes = []
    for number, (label, region) in enumerate(zip(instances.labels.tolist(), instances.regions, strict=True), start=1):
        lines = _lines(region, tolerance)
        group = number if len(lines) > 1 else None
        shapes += [_shape(instances.class_names[label], line, group) for line in lines]
    height, width = instances.image_size
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _lines(region: MaskRegion, tolerance: float) -> list[np.ndarray]:
    """Return the parts of a mask as one closed line each, in labelme's coordinates."""
    return [
        PIXEL_CENTRE
        + one_line(simplified(polygon.outline, tolerance), [simplified(hole, tolerance) for hole in polygon.holes])
        for polygon in mask_polygons(region)
    ]


def _shape(name: str, line: np.ndarray, group: int | None) -> dict[str, Any]:
    """Return an entry of a labelme file's `shapes`."""
    return {
        "label": name,
        "points": line.tolist(),
        "group_id": group,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    }


def supervision_detections(instances: "Instances") -> Any:
    """Return `supervision.Detections`; `Instances.to_supervision` says which.

    Raises:
        UserError: the package is not installed.
    """
    try:
        from supervision import Detections
    except ImportError as error:
        raise UserError(
            f"to_supervision() needs the package 'supervision', which cannot be imported ({error}); install it by "
            "pip install supervision."
        ) from None
    labels = instances.labels.numpy()
    return Detections(
        xyxy=instances.boxes.numpy().copy(),
        mask=full_masks(instances.regions, instances.image_size).numpy(),
        confidence=instances.scores.numpy().copy(),
        class_id=labels.copy(),
        data={"class_name": np.array([instances.class_names[label] for label in labels], dtype=str)},
    )


def cut_outs(image: np.ndarray, instances: "Instances", masked: bool) -> list[np.ndarray]:
    """Return copies of the pixels that each box touches, at least one; see `Instances.crops`.

    Raises:
        ValueError: the image is not of the size that the instances belong to.
    """
    instances.require_size(image)
    height, width = instances.image_size
    parts = []
    for box, region in zip(instances.boxes.tolist(), instances.regions, strict=True):
        left, top = min(math.floor(box[0]), width - 1), min(math.floor(box[1]), height - 1)
        right, bottom = max(math.ceil(box[2]), left + 1), max(math.ceil(box[3]), top + 1)
        part = image[top:bottom, left:right]
        if masked:
            part = np.dstack([part, region.crop(top, left, bottom, right).view(np.uint8) * 255])
        parts.append(part if masked else part.copy())
    return parts
