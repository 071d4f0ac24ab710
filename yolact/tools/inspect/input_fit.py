"""How the network input fits a data set: images it squashes, objects it shows small."""

import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.config import ModelConfig
from yolact.data.tiling import shown_parts
from yolact.structures import Resize, Tiles
from yolact.text import percent, size_text
from yolact.tools.inspect.anchor_fit import boxes_in_input
from yolact.tools.inspect.reading import InspectedSet

SQUASHED = 1.5  # times that one side of an image is scaled as the other; more in half of the images is worth a warning
SMALL_OBJECTS = 0.5  # of the objects under a cell of the finest level, likewise


class InputFit(NamedTuple):
    """What an input makes of images; check.json has the same names."""

    resize: str
    image_size: tuple[int, int]  # (H, W) of the input
    squashed: float  # median over the images of how many times more one side is scaled than the other
    much_squashed: float  # share of the images with more than `SQUASHED`
    stride: int  # of the finest level that the head predicts on, in pixels of the input
    object_side: float  # median over the objects of the square root of the box's area, in pixels of the input
    small_objects: float  # share of the objects for which it is below the stride
    tiles: tuple[int, int] | None = None  # (H, W) of the parts of the images that the input shows, in their pixels


def fit_input(inspected: InspectedSet, model: ModelConfig, tiles: Tiles | None = None) -> InputFit | None:
    """Measure an input on a set, whose images are `tiles` of others where there are some; None without any object."""
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
        tiles and tiles.size,
    )  # fmt: skip


def shown_set(inspected: InspectedSet, tiles: Tiles | None) -> InspectedSet:
    """Return a set whose images are the tiles that the network sees."""
    shown, pairs = copy.copy(inspected), zip(inspected.images, inspected.objects, strict=True)
    parts = [part for pair in pairs for part in shown_parts(*pair, tiles)]
    shown.images, shown.objects = [image for image, _ in parts], [objects for _, objects in parts]
    return shown


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
    way += f", of tiles of {size_text(fit.tiles)}" if fit.tiles else ""
    return f"input: {size_text(fit.image_size)} pixels, {way}; half of the objects under {fit.object_side:g}, {small}"
