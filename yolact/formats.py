"""Instances as COCO's result records, and as labelme's files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torchvision.ops import box_convert

from yolact.errors import UserError
from yolact.ops.outlines import mask_polygons, one_line, simplified
from yolact.ops.rle import RunLengths

if TYPE_CHECKING:
    from yolact.instances import Instances
    from yolact.ops.regions import MaskRegion

Record = dict[str, Any]

LABELME_VERSION = "5.4.1"  # labelme warns of files of another major version
PIXEL_CENTRE = 0.5  # where labelme, and continuous coordinates, have the centre of the first pixel


def result_records(
    instances: "Instances", image_id: int, encoded: Sequence[RunLengths] | None = None
) -> tuple[list[Record], list[Record]]:
    """Return (mask records, box records) as COCO's two result files hold them.

    Mask records carry no bbox: pycocotools would take an object's size from it instead of from the mask. Their score is
    the mask's (class probability times predicted mask IoU in YOLACT++), that of box records the class probability.
    `encoded` are the masks as `Instances.rle` makes them, where that is done already.
    """
    encoded = instances.rle() if encoded is None else encoded
    xywh = box_convert(instances.boxes.double(), "xyxy", "xywh").round(decimals=3)
    fields = (xywh, instances.scores, instances.mask_scores, instances.labels)
    masks, boxes = [], []
    for box, score, mask_score, label, rle in zip(*(field.tolist() for field in fields), encoded, strict=True):
        category_id = instances.category_ids[label]
        masks.append({"image_id": image_id, "category_id": category_id, "score": mask_score, "segmentation": rle})
        boxes.append({"image_id": image_id, "category_id": category_id, "bbox": box, "score": score})
    return masks, boxes


def object_lines(region: "MaskRegion", tolerance: float) -> list[NDArray[np.float64]]:
    """Return the outlines of a mask [M, 2] in continuous coordinates, a line around each part.

    A hole is joined to the outline around it by a line that is walked both ways. Outlines may be off by `tolerance`
    pixels, less for small objects, for the sake of fewer points.
    """
    return [
        one_line(simplified(outline, tolerance), [simplified(hole, tolerance) for hole in holes]) + PIXEL_CENTRE
        for outline, holes in mask_polygons(region)
    ]


def labelme_content(instances: "Instances", image_path: str, tolerance: float) -> dict[str, Any]:
    """Return the content of a labelme file; `Instances.to_labelme` says which."""
    if not tolerance >= 0:
        raise UserError(f"The tolerance of outlines must be 0 or more pixels, got {tolerance}; correct it.")
    shapes = []
    for number, (label, region) in enumerate(zip(instances.labels.tolist(), instances.regions, strict=True), start=1):
        lines = object_lines(region, tolerance)
        for line in lines:
            shape = {
                "label": instances.class_names[label],
                "points": line.tolist(),
                "group_id": number if len(lines) > 1 else None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            shapes.append(shape)
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
