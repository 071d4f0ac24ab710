"""Instances that were made, not found."""

from typing import Any

import numpy as np
import torch

from yolact.instances import Instances
from yolact.ops.regions import regions_of


def make_instances(masks: np.ndarray, class_names: tuple[str, ...] = ("cat", "dog"), **fields: Any) -> Instances:
    """Return instances with these masks [N, H, W], in boxes that hold them; labels count up through the classes."""
    regions = regions_of(masks)
    corners = [(r.left, r.top, r.left + r.width, r.top + r.height) for r in regions]
    found: dict[str, Any] = {
        "boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        "scores": torch.linspace(0.9, 0.7, len(regions)),
        "labels": torch.arange(len(regions)) % len(class_names),
        "regions": regions,
        "mask_scores": torch.linspace(0.8, 0.6, len(regions)),
        "image_size": masks.shape[1:],
        "class_names": list(class_names),
        "category_ids": [2, 5][: len(class_names)],
    }
    return Instances(**{**found, **fields})
