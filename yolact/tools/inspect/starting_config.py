"""A configuration to begin with on one's own data: the input as the images and their objects are, the rest usual."""

import math
import textwrap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.config import DataConfig
from yolact.config.loading import dump
from yolact.errors import UserError
from yolact.structures import Resize, Tiles
from yolact.text import counted, percent, printable
from yolact.tools.inspect.input_fit import object_sides, shown_set
from yolact.tools.inspect.reading import InspectedSet

FINEST = 4  # pixels of a cell of P2, the finest level
SIDES = (256, 320, 384, 448, 512, 576, 640)  # of the input, as a square of its area
MULTIPLE = 32  # of its height and width, and the least of them
ENLARGED = 1.5  # the most by which images are enlarged: beyond it there is nothing more to see
DETAIL = 2.0  # of these cells that three quarters of the objects should have at least
GROWING = (0.625, 0.75, 0.875, 1)  # shares of the side, for images that grow through the training
LIKE, NEARLY_ALL = 1.25, 0.9  # times the median ratio of the sides; of the images, for which one rectangle is made
LARGE_OBJECTS = 32.0  # pixels of the input, from which on P2 predicts no object
TILE_INPUT = 512  # pixels of the input that tiles become
TILE_DETAIL = 16.0  # pixels that three quarters of the objects have there at least ...
MOST_REDUCED = 4.0  # ... unless tiles had to be reduced further, which would leave out too much of what is between
LARGER = 1.5  # times a tile's side that images have, which are then cut
EPOCHS, FEWEST_STEPS, MOST_STEPS, BATCH = 20, 2_000, 50_000, 2


class Input(NamedTuple):
    """An input and why it was chosen."""

    size: tuple[int, int]  # (H, W)
    pads: bool
    tile: int | None  # side of the parts of the images that it shows, in their pixels; None shows them whole
    quarter: float  # of the objects are smaller in it, as square roots of the areas of boxes
    half: float  # likewise
    num_images: int  # or tiles
    reason: str


def starting_config(inspected: InspectedSet, data: DataConfig, name: str) -> str:
    """Return the text of a configuration to begin with, whose header has the reasons.

    UserError if there are no objects.

    Args:
        data: where images and annotations lie.
        name: of the configuration.
    """
    source = printable(str(inspected.source.annotation_file))
    if not any(inspected.objects):
        raise UserError(f"{source} has no objects that a configuration could fit; look at how the file was made.")
    size, pads, tile, quarter, half, num_images, reason = choose_input(inspected)
    seen = f"three quarters of the objects have more than {quarter:.0f} pixels, half {half:.0f}"
    reasons = [f"Made by `yolact check --write-config` from {source}:", reason, f"image_size: in it {seen}."]
    if quarter < FINEST * DETAIL:
        reasons.append("Smaller ones are hardly learnt, and the images have no more pixels to show.")
    model: dict[str, Any] = {"image_size": _written(size), "resize": "pad" if pads else "stretch"}
    channels = inspected.source.colours.channels
    if "other-bands" in inspected.findings and len(inspected.bands) == 1:
        channels = next(iter(inspected.bands))
    if channels != 3:
        model["channels"] = channels
        reasons.append(f"channels: the images have {counted(channels, 'band')}.")
    if quarter >= LARGE_OBJECTS:
        model["head_from"] = 3
        reasons.append("head_from: the objects are large enough for cells of 8 pixels; P2 serves the prototypes alone.")
    steps = min(max(100 * round(EPOCHS * num_images / BATCH / 100), FEWEST_STEPS), MOST_STEPS)
    parts = "their tiles" if tile else "the images"
    reasons.append(f"max_steps: {EPOCHS} passes over {parts}, but {FEWEST_STEPS:,} to {MOST_STEPS:,} steps.")
    reasons.append("Where images have no up, as those of a microscope, set flip_ and rotate90_probability to 0.5.")
    keys = ("train_images", "train_annotations", "val_images", "val_annotations")
    tiles = {"tiles": tile} if tile else {}
    values = {
        "_base_": "next_r18",
        "name": name,
        "model": model,
        "data": {key: getattr(data, key) for key in keys} | tiles | {"augment": {"scale_jitter": [0.8, 1.25]}},
        "loss": {"roi_size": 14 if half < LARGE_OBJECTS else 28},
        "train": {
            "max_steps": steps,
            "batch_size": BATCH,
            "image_sizes": [_written((_near(share * size[0], 8), _near(share * size[1], 8))) for share in GROWING],
            "ema_decay": 0.9975,
            "warmup_steps": 100,
            "save_every": 500,
            "eval_every": None,
        },
    }
    lines = [line for reason in reasons for line in textwrap.wrap(reason, 110, subsequent_indent="  ")]
    return "".join(f"# {line}\n" for line in lines) + dump(values)


def choose_input(inspected: InspectedSet) -> Input:
    """Choose the smallest input that shows three quarters of the objects large enough, of tiles if none does."""
    shapes = np.array([(one.height, one.width) for one in inspected.images], float)
    pads, ratio, why = _shape_for(shapes)
    largest = max(ENLARGED * float(np.median(np.sqrt(shapes.prod(1)))), SIDES[0])
    for side in (side for side in SIDES if side <= largest):
        size = rectangle(side, ratio)
        quarter, half = np.quantile(object_sides(inspected, Resize(size, pads)), (0.25, 0.5)).tolist()
        if quarter >= FINEST * DETAIL:
            break
    chosen = Input(size, pads, None, quarter, half, len(shapes), why)
    tile = _tile_for(inspected)
    if quarter >= FINEST * DETAIL or np.median(shapes.max(1)) < LARGER * tile:
        return chosen
    size, shown = (TILE_INPUT, TILE_INPUT), shown_set(inspected, Tiles((tile, tile), tile // 4))
    why = f"tiles: in whole images at {side} pixels a quarter of the objects would be smaller than {quarter:.1f}, so "
    why += f"that parts of {tile} x {tile} pixels of the images are seen one by one."
    quarter, half = np.quantile(object_sides(shown, Resize(size)), (0.25, 0.5)).tolist()
    return Input(size, False, tile, quarter, half, len(shown.images), why)


def _tile_for(inspected: InspectedSet) -> int:
    """Return the side of tiles, in pixels of the images, that show objects large enough."""
    boxes = np.array([item.bbox for objects in inspected.objects for item in objects])
    quarter = np.quantile(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1)), 0.25)
    return _near(TILE_INPUT / float(np.clip(TILE_DETAIL / quarter, 1 / MOST_REDUCED, ENLARGED)), MULTIPLE)


def _shape_for(shapes: NDArray[np.float64]) -> tuple[bool, float, str]:
    """Return whether to pad images of (H, W) [N, 2], W / H of the input, and why."""
    ratios = shapes[:, 1] / shapes[:, 0]
    ratio = float(np.median(ratios))
    alike = float((np.maximum(ratios / ratio, ratio / ratios) <= LIKE).mean())
    if alike < NEARLY_ALL:
        return True, 1.0, f"resize: only {percent(alike)} of the images have nearly one shape, so each keeps its own."
    if max(ratio, 1 / ratio) <= LIKE:
        return False, 1.0, "image_size: nearly all images are nearly squares, and so is the input."
    why = f"image_size: nearly all images are about {ratio:.2f} times as wide as high, and so is the input."
    return False, ratio, why


def _written(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else [*size]


def rectangle(side: float, ratio: float) -> tuple[int, int]:
    """Return (H, W), multiples of 32, of about the area of a square, W / H about `ratio`."""
    return _near(side / math.sqrt(ratio), MULTIPLE), _near(side * math.sqrt(ratio), MULTIPLE)


def _near(side: float, multiple: int) -> int:
    """Return the nearest multiple, at least 32 pixels, which every backbone takes."""
    return max(multiple * round(side / multiple), MULTIPLE)
