"""How the network input fits a data set: images it squashes, objects it shows small; and a configuration that fits."""

import math
import textwrap
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.config import DataConfig, ModelConfig
from yolact.config.loading import dump
from yolact.errors import UserError
from yolact.structures import Resize
from yolact.text import percent, printable, size_text
from yolact.tools.inspect.anchor_fit import boxes_in_input
from yolact.tools.inspect.reading import InspectedSet

SQUASHED = 1.5  # times that one side of an image is scaled as the other; more in half of the images is worth a warning
SMALL_OBJECTS = 0.5  # of the objects under a cell of the finest level, likewise
# Of a configuration to begin with:
FINEST = 4  # pixels of a cell of P2, the finest level
SIDES = (256, 320, 384, 448, 512, 576, 640)  # of the input, as a square of its area
MULTIPLE = 32  # of its height and width, and the least of them
ENLARGED = 1.5  # the most by which images are enlarged: beyond it there is nothing more to see
DETAIL = 2.0  # of these cells that three quarters of the objects should have at least
GROWING = (0.625, 0.75, 0.875, 1)  # shares of the side, for images that grow through the training
LIKE, NEARLY_ALL = 1.25, 0.9  # times the median ratio of the sides; of the images, for which one rectangle is made
LARGE_OBJECTS = 32.0  # pixels of the input, from which on P2 predicts no object
EPOCHS, FEWEST_STEPS, MOST_STEPS, BATCH = 20, 2_000, 50_000, 2


class InputFit(NamedTuple):
    """What an input makes of images; check.json has the same names."""

    resize: str
    image_size: tuple[int, int]  # (H, W) of the input
    squashed: float  # median over the images of how many times more one side is scaled than the other
    much_squashed: float  # share of the images with more than `SQUASHED`
    stride: int  # of the finest level that the head predicts on, in pixels of the input
    object_side: float  # median over the objects of the square root of the box's area, in pixels of the input
    small_objects: float  # share of the objects for which it is below the stride


def fit_input(inspected: InspectedSet, model: ModelConfig) -> InputFit | None:
    """Measure an input on a set; None without any object."""
    resize = Resize.of(model)
    sides = object_sides(inspected, resize)
    if not len(sides):
        return None
    shapes = [(one.height, one.width) for one in inspected.images]
    scales = np.array([np.divide(resize.window(shape), shape) for shape in shapes])
    factors, stride = scales.max(1) / scales.min(1), 2 ** model.head_levels[0]
    return InputFit(
        model.resize, resize.size, round(float(np.median(factors)), 3), round(float((factors > SQUASHED).mean()), 4),
        stride, round(float(np.median(sides)), 1), round(float((sides < stride).mean()), 4),
    )  # fmt: skip


def object_sides(inspected: InspectedSet, resize: Resize) -> NDArray[np.float64]:
    """Return the square roots of the areas of all boxes, in pixels of the input."""
    boxes = boxes_in_input(inspected, resize)
    sides: NDArray[np.float64] = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
    return sides


def add_findings(inspected: InspectedSet, fit: InputFit | None) -> None:
    """Warn of an input that squashes half of the images, or half of whose objects are under a cell."""
    if fit is not None and fit.squashed > SQUASHED:
        text = f"one side is scaled {fit.squashed:.3g} times as much as the other, in the median"
        inspected.add("squashed-pictures", f"{text}, at {size_text(fit.image_size)} pixels")
    if fit is not None and fit.small_objects > SMALL_OBJECTS:
        text = f"{percent(fit.small_objects)} are smaller than {fit.stride} pixels of the input"
        inspected.add("small-objects", f"{text}, half of all smaller than {fit.object_side:g}")


def input_line(fit: InputFit) -> str:
    """Say in one line how the input fits."""
    way = "padded" if fit.resize == "pad" else f"stretched, in the median {fit.squashed:.2f} times more on one side"
    small = f"{percent(fit.small_objects)} of the objects are under a cell of {fit.stride} pixels"
    return f"input: {size_text(fit.image_size)} pixels, {way}; half of the objects under {fit.object_side:g}, {small}"


def starting_config(inspected: InspectedSet, data: DataConfig, name: str) -> str:
    """Return the text of a configuration to begin with: the input as the images and their objects are, the rest usual.

    Its header has the reasons. UserError if there are no objects.

    Args:
        data: where images and annotations lie.
        name: of the configuration.
    """
    source = printable(str(inspected.source.annotation_file))
    if not any(inspected.objects):
        raise UserError(f"{source} has no objects that a configuration could fit; look at how the file was made.")
    shapes = np.array([(one.height, one.width) for one in inspected.images], float)
    pads, ratio, why = _shape_for(shapes)
    reasons = [f"Made by `yolact check --write-config` from {source}:", why]
    for side in (side for side in SIDES if side <= max(ENLARGED * np.median(np.sqrt(shapes.prod(1))), SIDES[0])):
        size = rectangle(side, ratio)
        quarter, half = np.quantile(object_sides(inspected, Resize(size, pads)), (0.25, 0.5))
        if quarter >= FINEST * DETAIL:
            break
    seen = f"three quarters of the objects have more than {quarter:.0f} pixels, half {half:.0f}"
    reasons.append(f"image_size: in it {seen}.")
    if quarter < FINEST * DETAIL:
        reasons.append("Smaller ones are hardly learnt: if the images have more pixels than this, cut them into parts.")
    model = {"image_size": _written(size), "resize": "pad" if pads else "stretch"}
    if quarter >= LARGE_OBJECTS:
        model["head_from"] = 3
        reasons.append("head_from: the objects are large enough for cells of 8 pixels; P2 serves the prototypes alone.")
    steps = min(max(100 * round(EPOCHS * len(inspected.images) / BATCH / 100), FEWEST_STEPS), MOST_STEPS)
    reasons.append(f"max_steps: {EPOCHS} passes over the images, but {FEWEST_STEPS:,} to {MOST_STEPS:,} steps.")
    reasons.append("Where images have no up, as those of a microscope, set flip_ and rotate90_probability to 0.5.")
    keys = ("train_images", "train_annotations", "val_images", "val_annotations")
    values = {
        "_base_": "next_r18",
        "name": name,
        "model": model,
        "data": {key: getattr(data, key) for key in keys} | {"augment": {"scale_jitter": [0.8, 1.25]}},
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


def _shape_for(shapes: NDArray[np.float64]) -> tuple[bool, float, str]:
    """Return whether to pad images of (H, W) [N, 2], W / H of the input, and why."""
    ratios = shapes[:, 1] / shapes[:, 0]
    ratio = float(np.median(ratios))
    alike = float((np.maximum(ratios / ratio, ratio / ratios) <= LIKE).mean())
    if alike < NEARLY_ALL:
        return True, 1.0, f"resize: only {percent(alike)} of the images have nearly one shape, so each keeps its own."
    if max(ratio, 1 / ratio) <= LIKE:
        return False, 1.0, "image_size: nearly all images are nearly squares, and so is the input."
    return (
        False,
        ratio,
        f"image_size: nearly all images are about {ratio:.2f} times as wide as high, and so is the input.",
    )


def _written(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else [*size]


def rectangle(side: float, ratio: float) -> tuple[int, int]:
    """Return (H, W), multiples of 32, of about the area of a square, W / H about `ratio`."""
    return _near(side / math.sqrt(ratio), MULTIPLE), _near(side * math.sqrt(ratio), MULTIPLE)


def _near(side: float, multiple: int) -> int:
    """Return the nearest multiple, at least 32 pixels, which every backbone takes."""
    return max(multiple * round(side / multiple), MULTIPLE)
