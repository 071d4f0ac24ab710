"""Instances in other forms: labelme's files, supervision's detections, cut-outs."""

import math
from typing import Any

import numpy as np

from yolact.draw import require_size
from yolact.errors import UserError
from yolact.ops.outlines import mask_polygons, one_line, simplified
from yolact.ops.regions import MaskRegion, full_masks
from yolact.structures import Instances

LABELME_VERSION = "5.4.1"  # labelme warns of files of another major version
PIXEL_CENTRE = 0.5  # where labelme has the centre of the first pixel


def labelme_content(instances: Instances, image_path: str, tolerance: float) -> dict[str, Any]:
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


def supervision_detections(instances: Instances) -> Any:
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


def cut_outs(image: np.ndarray, instances: Instances, masked: bool) -> list[np.ndarray]:
    """Return copies of the pixels that each box touches, at least one; see `Instances.crops`.

    Raises:
        ValueError: the picture is not of the size that the instances belong to.
    """
    require_size(image, instances)
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
