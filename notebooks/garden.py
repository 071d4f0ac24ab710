"""Small images of pebbles, leaves and bricks on soil, with COCO annotations: what the notebooks train on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from yolact.ops.regions import MaskRegion
from yolact.ops.rle import encode_region

CLASSES = ("pebble", "leaf", "brick")
COLOURS = (
    (175, 175, 170),
    (60, 165, 95),
    (65, 75, 190),
)  # BGR; hues alone tell the classes apart, so that a minute is enough
SIDE = 160  # pixels of an image
FINE = 4  # outlines are drawn to 1 / 2**4 of a pixel


class Thing(NamedTuple):
    """An object, and its pixels that no other covers."""

    label: int
    mask: np.ndarray  # bool [SIDE, SIDE]


def write_garden(folder: str | Path, num_train: int = 240, num_val: int = 24) -> None:
    """Write train/, val/, instances_train.json and instances_val.json, unless they are there."""
    folder = Path(folder)
    for seed, (split, count) in enumerate((("train", num_train), ("val", num_val))):
        target = folder / f"instances_{split}.json"
        if not target.exists():
            (folder / split).mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(_write_images(folder / split, count, np.random.default_rng(seed))))


def draw_garden(rng: np.random.Generator) -> tuple[np.ndarray, list[Thing]]:
    """Return an image, uint8 [SIDE, SIDE, 3] BGR, and its objects; what comes later lies on top."""
    soil = rng.uniform(0.6, 1.1, (8, 8, 1)) * np.array((45, 70, 95))
    image = cv2.resize(soil, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    things: list[Thing] = []
    for outline, label in _outlines(rng, int(rng.integers(2, 7))):
        mask = cv2.fillPoly(np.zeros((SIDE, SIDE), np.uint8), [outline], 1, shift=FINE).astype(bool)
        if any(np.sum(thing.mask & mask) > 0.25 * np.sum(thing.mask) for thing in things):
            continue  # would hide too much of another
        things = [Thing(thing.label, thing.mask & ~mask) for thing in things]
        things.append(Thing(label, mask))
        colour = np.array(COLOURS[label]) * rng.uniform(0.75, 1.2)
        cv2.fillPoly(image, [outline], colour.tolist(), cv2.LINE_AA, FINE)
        cv2.polylines(image, [outline], True, (0.7 * colour).tolist(), 1, cv2.LINE_AA, FINE)
    image += rng.normal(0, 6, image.shape)
    return image.clip(0, 255).astype(np.uint8), things


def _outlines(rng: np.random.Generator, count: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield `count` outlines in random places, turned at random: int32 [M, 2] (x, y) in parts of a pixel, and label."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x, y = np.cos(turn), np.sin(turn)
    shapes = (
        (np.stack([x, 0.8 * y], 1), (12, 20)),  # half the length, in pixels
        (np.stack([x, 0.55 * y * np.abs(y)], 1), (24, 38)),
        (np.array([(-1, -0.45), (1, -0.45), (1, 0.45), (-1, 0.45)]), (18, 30)),
    )
    for label in rng.integers(0, len(CLASSES), count).tolist():
        shape, lengths = shapes[label]
        angle, place = rng.uniform(0, np.pi), rng.uniform(16, SIDE - 16, 2)
        rotation = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
        outline = shape * rng.uniform(*lengths) @ rotation + place
        yield (outline * 2**FINE).round().astype(np.int32), label


def _write_images(folder: Path, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Write images and return the content of their annotation file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id in range(1, count + 1):
        image, things = draw_garden(rng)
        name = f"{image_id:04d}.jpg"
        cv2.imwrite(str(folder / name), image)
        images.append({"id": image_id, "file_name": name, "height": SIDE, "width": SIDE})
        for label, mask in things:
            region = MaskRegion.of(mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": label + 1,
                    "bbox": [region.left, region.top, region.width, region.height],
                    "area": region.area,
                    "segmentation": encode_region(region, (SIDE, SIDE)),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}
