"""HTML pages: jinja2 templates of `templates/` and images with objects, in one file that asks no other host."""

import base64
from collections.abc import Sequence
from typing import Any

import jinja2
import numpy as np
import torch

from yolact.data.annotations import ObjectRecord
from yolact.data.categories import Categories
from yolact.data.segmentations import draw_masks
from yolact.data.transforms import boxes_of, map_boxes
from yolact.draw import draw_instances, for_people, resize_image
from yolact.instances import Instances
from yolact.ops.regions import MaskRegion
from yolact.structures import View
from yolact.text import counted, percent, printable

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito: told apart by everybody


def data_uri(jpeg: bytes) -> str:
    """Return a JPEG file as an address that an `img` shows without asking anybody."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def render(template: str, **context: Any) -> str:
    """Render `templates/TEMPLATE`; every value is escaped unless it is `Markup`.

    Templates have the filters `printable` (foreign text without control characters), `counted`, `percent`, `data_uri`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("yolact.tools"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"printable": printable, "counted": counted, "percent": percent, "data_uri": data_uri}
    return environment.get_template(template).render(**context) + "\n"


def draw_objects(
    image: np.ndarray,
    objects: Sequence[ObjectRecord],
    categories: Categories,
    scale: float,
    view: View,
    scores: Sequence[float] | None = None,
    labels: bool = True,
) -> np.ndarray:
    """Draw objects of an image onto a copy of the part of it that is `view`, in BGR; the first ones on top.

    `image` shows that part, and may be smaller than it; the copy is `scale` times as large as `image`. Masks are drawn
    at the size of the copy, one at a time; labels, if wanted, have scores where there are some.
    """
    canvas = resize_image(for_people(image), scale)
    height, width = canvas.shape[:2]
    x0, y0, x1, y1 = view
    factors = width / (x1 - x0), height / (y1 - y0)
    matrix = np.array([[factors[0], 0, -x0 * factors[0]], [0, factors[1], -y0 * factors[1]]])
    masks = (draw_masks([item.segmentation], matrix, (height, width))[0] for item in objects)
    confidence = torch.ones(len(objects)) if scores is None else torch.tensor(scores)
    instances = Instances(
        boxes=torch.from_numpy(map_boxes(boxes_of(objects), matrix)).float(),
        scores=confidence,
        labels=torch.tensor([item.label for item in objects], dtype=torch.int64),
        regions=[MaskRegion.of(mask > 0) for mask in masks],
        mask_scores=confidence,
        image_size=(height, width),
        class_names=categories.names,
        category_ids=categories.ids,
    )
    return draw_instances(canvas, instances, labels=labels, scores=scores is not None)
