"""Instances, targets and checkpoints that were made, not found."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from yolact.engine.checkpoint import FORMAT
from yolact.instances import Instances
from yolact.ops.regions import regions_of
from yolact.structures import Target


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


def make_target(
    boxes: list[list[float]],
    labels: list[int] | None = None,
    crowds: Iterable[int] = (),
    side: int = 64,
    image_id: int = 1,
) -> Target:
    """Return a target of an input of `side` pixels with full boxes as masks; labels count up where none are given."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros(len(corners), side, side, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, corners.round().int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    iscrowd = torch.zeros(len(corners), dtype=torch.bool)
    iscrowd[list(crowds)] = True
    numbers = torch.arange(len(corners)) if labels is None else torch.tensor(labels).long()
    return Target(boxes=corners, labels=numbers, masks=masks, iscrowd=iscrowd, image_id=image_id)


def make_checkpoint(
    model: dict[str, Any], config: dict[str, Any], class_names: list[str], category_ids: list[int], **more: Any
) -> dict[str, Any]:
    """Return what a checkpoint of these weights must hold, and more."""
    classes = {"class_names": class_names, "category_ids": category_ids}
    return {"format": FORMAT, "step": 0, "model": model, "ema": None, "config": config, **classes, **more}


def assert_alike(left: Instances, right: Instances) -> None:
    """Require the same objects but for rounding."""
    for name in ("boxes", "scores", "labels", "masks", "mask_scores"):
        torch.testing.assert_close(getattr(left, name), getattr(right, name), atol=1e-4, rtol=1e-4)
