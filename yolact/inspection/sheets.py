"""Small pictures with their objects drawn, for the contact sheets of the page."""

import cv2
import numpy as np
import torch

from yolact.data.annotations import ObjectRecord
from yolact.data.images import read_image
from yolact.data.masks import draw_masks
from yolact.data.transforms import boxes_of
from yolact.draw import draw_instances, encode_jpeg
from yolact.errors import DatasetError
from yolact.inspection.entries import InspectedSet
from yolact.inspection.geometry import Box
from yolact.ops.regions import regions_of
from yolact.structures import Instances
from yolact.text import printable

LARGEST_SIDE = 440  # pixels of a thumbnail
MOST_DRAWN = 500  # objects of a picture; more cannot be told apart at this size
MARK = (0, 0, 255)  # BGR


def draw_thumbnail(inspected: InspectedSet, place: int, marks: list[Box]) -> bytes | None:
    """Draw a picture of a set with its objects, crowd regions left out.

    Args:
        inspected: the set.
        place: of the picture.
        marks: boxes, xyxy in pixels of the picture, to mark in red.

    Returns:
        A JPEG file; None where the picture cannot be read. Where it has another size than the annotations say, it is
        shown without them.
    """
    record, objects = inspected.pictures[place], inspected.objects[place]
    path = inspected.image_folder / record.file_name
    try:
        image = read_image(path, (record.height, record.width))
    except (DatasetError, ValueError) as error:
        if not isinstance(error, DatasetError) or error.kind != "size-mismatch":
            return None
        image, objects, marks = read_image(path), [], []
    share = LARGEST_SIDE / max(image.shape[:2])
    width, height = (max(1, round(side * share)) for side in image.shape[1::-1])
    image = np.asarray(
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC), np.uint8
    )
    scale = np.array([image.shape[1] / record.width, image.shape[0] / record.height])
    shown = [item for item in objects if not item.iscrowd][:MOST_DRAWN]
    canvas = draw_instances(image, _instances(inspected, shown, image.shape[:2], scale), scores=False)
    for mark in marks:
        low, high = (np.array(mark).reshape(2, 2) * scale).round().clip(0, image.shape[1::-1]).astype(int).tolist()
        cv2.rectangle(canvas, low, high, MARK, 2)
    return encode_jpeg(canvas, LARGEST_SIDE)


def _instances(
    inspected: InspectedSet, objects: list[ObjectRecord], size: tuple[int, int], scale: np.ndarray
) -> Instances:
    """Return objects as instances of their picture drawn at `size` (H, W), the small ones above the large ones."""
    objects = sorted(objects, key=lambda item: item.area)
    masks = draw_masks([item.segmentation for item in objects], np.column_stack((np.diag(scale), [0.0, 0.0])), size)
    scores = torch.ones(len(objects))
    return Instances(
        boxes=torch.from_numpy(boxes_of(objects) * np.tile(scale, 2)).float(),
        scores=scores,
        labels=torch.tensor([item.label for item in objects], dtype=torch.int64),
        regions=regions_of(masks),
        mask_scores=scores,
        image_size=size,
        class_names=[printable(name) for name in inspected.categories.names],
        category_ids=inspected.categories.ids,
    )
