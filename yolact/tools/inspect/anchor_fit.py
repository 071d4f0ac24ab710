"""How well a configuration's anchors meet the objects of a data set, and which sizes would meet them better.

An object that no anchor overlaps by `loss.positive_iou` is forced onto its best one, a single badly placed example in
each image; with most objects so, a small data set hardly trains at all.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from yolact.config import Config, ModelConfig
from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.data.rendering import SMALLEST_SIDE
from yolact.data.transforms import boxes_of, map_boxes, view_matrix
from yolact.structures import Resize
from yolact.tools.inspect.reading import InspectedSet

Boxes = NDArray[np.float64]  # [N, 4] xyxy, pixels of the network input

SIZE_EDGES = (0, 8, 16, 32, 64, 128, 256)  # pixels of the network input; the last bin is open
NUM_SIZES = (1, 2, 3)  # that are tried, of a level; each adds as many predictions as the first
WORTH = 0.015  # of recall; less does not pay for more anchors or a change
LARGEST = 1.25  # times the side of the input; of a larger anchor less is inside than outside
OCTAVES, STEPS = 4, 41  # of the search for the smallest size, from the largest that can be down: steps of 7 %
GROWTHS = (2.0, 1.6, 1.3)  # of the sizes from level to level: that of the strides, or another one ...
NOTABLE = 0.03  # ... where it brings so much recall; also what makes anchors that are not square worth a word
SEARCHED_OBJECTS = 3_000  # enough for a recall to a point
ENLARGED, GOOD = (1.5, 2.0), 0.9  # the input, to see what small objects would gain where recall is not good
LONG, SMALL = 3.0, 16.0  # times as long as wide; pixels of the input, twice the stride of the finest level


def level_sizes(image_size: tuple[int, int], levels: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (H, W) of each pyramid level, where every stride-2 step rounds up, as in ResNets."""
    height, width = image_size
    return [(-(-height // 2**level), -(-width // 2**level)) for level in range(levels[0], levels[1] + 1)]


def with_anchors(model: ModelConfig, **changes: Any) -> ModelConfig:
    """Return the configuration with other anchors."""
    return replace(model, anchors=replace(model.anchors, **changes))


class Option(NamedTuple):
    """A choice of anchors and what it reaches; check.json has the same names."""

    image_size: int | tuple[int, int]
    square: bool
    scales: tuple[tuple[float, ...], ...]
    override: str  # the scales as --set takes them
    num_anchors: int
    recall: float  # share of the objects whose best anchor reaches the IoU for positives, to four digits


def histogram(values: ArrayLike, edges: Sequence[int], whole: bool = False) -> dict[str, int]:
    """Return the number of values in each bin by its name, "8-16" or, of `whole` numbers, "8-15"; the last is open."""
    bins = itertools.pairwise(edges)
    names = [f"{low}" if whole and high == low + 1 else f"{low}-{high - whole}" for low, high in bins]
    counts, _ = np.histogram(values, [*edges, np.inf])
    return dict(zip([*names, f"{edges[-1]}+"], counts.tolist(), strict=True))


def input_boxes(objects: Sequence[ObjectRecord], image: ImageRecord, resize: Resize) -> Boxes:
    """Return the boxes of one image's objects, without crowds, in the network input."""
    boxes, (height, width) = boxes_of([item for item in objects if not item.iscrowd]), resize.size
    matrix = view_matrix((0, 0, image.width, image.height), resize)
    boxes = map_boxes(boxes, matrix).clip(0, (width, height, width, height))
    return np.asarray(boxes[(boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(axis=1)])


def boxes_in_input(inspected: InspectedSet, resize: Resize) -> Boxes:
    """Return the boxes of all objects of a set in the network input."""
    pairs = zip(inspected.objects, inspected.images, strict=True)
    return np.concatenate([np.zeros((0, 4)), *(input_boxes(*pair, resize) for pair in pairs)])


def best_ious(boxes: Boxes, model: ModelConfig) -> NDArray[np.float64]:
    """Return the IoU [N] of each box with the best of all anchors.

    Of one shape and level it is the one with the nearest centre, as the intersection shrinks with the distance.
    """
    anchors, size = model.anchors, model.input_size
    best, area = np.zeros(len(boxes)), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for level, scales in zip(level_sizes(size, model.head_levels), anchors.scales, strict=True):
        cells = np.array(level[::-1])
        cell = np.array(size[::-1]) / cells
        centres = (np.floor((boxes[:, :2] + boxes[:, 2:]) / 2 / cell).clip(0, cells - 1) + 0.5) * cell
        for root, scale in ((math.sqrt(ratio), scale) for scale in scales for ratio in anchors.aspect_ratios):
            shape = np.array([scale * root, scale * root if anchors.square else scale / root])
            low, high = np.maximum(boxes[:, :2], centres - shape / 2), np.minimum(boxes[:, 2:], centres + shape / 2)
            shared = (high - low).clip(0).prod(axis=1)
            np.maximum(best, shared / (area + shape.prod() - shared), out=best)
    return best


def measure(boxes: Boxes, model: ModelConfig, threshold: float) -> Option:
    """Return what the anchors of a configuration reach."""
    anchors = model.anchors
    cells = sum(math.prod(level) for level in level_sizes(model.input_size, model.head_levels))
    number = cells * len(anchors.scales[0]) * len(anchors.aspect_ratios)
    recall = float((best_ious(boxes, model) >= threshold).mean()) if len(boxes) else 0.0
    scales = ",".join("[" + ",".join(f"{one:g}" for one in level) + "]" for level in anchors.scales)
    return Option(
        model.image_size, anchors.square, anchors.scales, f"model.anchors.scales=[{scales}]", number, round(recall, 4)
    )


def search(boxes: Boxes, model: ModelConfig, threshold: float, numbers: Sequence[int] = NUM_SIZES) -> list[Option]:
    """Return the sizes that meet most boxes, for each number of sizes a level.

    They grow by one factor from level to level and lie evenly between, as in YOLACT++ and RetinaNet. A free choice of
    every size was measured to meet hardly more objects (at most 4 points on COCO and on nuclei), and puts small anchors
    on coarse levels, which see no small objects. Where many sizes meet all objects, the closest fit is the best.
    """
    chosen = np.random.default_rng(0).choice(len(boxes), min(len(boxes), SEARCHED_OBJECTS), replace=False)
    num_levels, options = len(model.anchors.scales), []
    for number in numbers:
        found = []
        for growth, step in itertools.product(GROWTHS, np.linspace(-OCTAVES, 0, STEPS)):
            base = 2**step * LARGEST * max(model.input_size) / growth ** (num_levels - 1 / number)
            sizes = (base * growth ** (np.arange(num_levels * number) / number)).reshape(num_levels, -1)
            scales = tuple(tuple(float(f"{size:.3g}") for size in level) for level in sizes)
            ious = best_ious(boxes[chosen], with_anchors(model, scales=scales))
            recall = round(float((ious >= threshold).mean()), 3) - (NOTABLE if growth != GROWTHS[0] else 0)
            found.append((recall, float(ious.mean()), scales))
        options.append(measure(boxes, with_anchors(model, scales=max(found)[2]), threshold))
    return options


def suggest(options: Sequence[Option], now: Option) -> Option | None:
    """Return the option worth changing to, from few sizes a level to many; None if what is there does as well."""
    chosen = now
    for option in sorted(options, key=lambda option: option.num_anchors):
        more = len(option.scales[0]) - len(chosen.scales[0])
        if option.recall >= chosen.recall + WORTH * max(more, 1):
            chosen = option
    return None if chosen is now else chosen


def fit_anchors(inspected: InspectedSet, config: Config) -> dict[str, Any] | None:
    """Measure the anchors of `config` on a set; returns the "anchors" of check.json, None without either.

    "suggestion" is one of "options" or None, "not_square" the best of model.anchors.square=false where that is true.
    """
    model, threshold = config.model, config.loss.positive_iou
    boxes = boxes_in_input(inspected, Resize.of(model)) if model.head == "anchors" else np.zeros((0, 4))
    if len(boxes) == 0:
        return None
    now, options = measure(boxes, model, threshold), search(boxes, model, threshold)
    suggestion, not_square, larger = suggest(options, now), None, []
    best = suggestion or now
    chosen = with_anchors(model, scales=best.scales)
    if now.square:
        free = with_anchors(chosen, square=False)
        same = measure(boxes, free, threshold)
        not_square = suggest(search(boxes, free, threshold), same) or same
    for factor in ENLARGED if best.recall < GOOD else ():
        height, width = (round(side * factor) for side in model.input_size)
        enlarged = replace(model, image_size=height if height == width else (height, width))
        scaled = boxes * np.tile(np.divide((width, height), model.input_size[::-1]), 2)
        larger += [one._asdict() for one in search(scaled, enlarged, threshold, [len(best.scales[0])])]
    extent = boxes[:, 2:] - boxes[:, :2]
    sides = np.sqrt(extent.prod(axis=1))  # of squares as large
    met, met_then = (best_ious(boxes, one) >= threshold for one in (model, chosen))
    objects, now_met, then_met = (histogram(values, SIZE_EDGES) for values in (sides, sides[met], sides[met_then]))
    by_size = []
    for name, count in objects.items():
        recalls = [part[name] / count if count else None for part in (now_met, then_met)]
        by_size.append({"name": name, "objects": count, "recall": recalls[0], "suggested_recall": recalls[1]})
    return {
        "iou": threshold,
        "objects": len(boxes),
        "now": now._asdict(),
        "only_forced": round(1 - now.recall, 4),
        "suggestion": suggestion and suggestion._asdict(),
        "options": [option._asdict() for option in options],
        "not_square": not_square and not_square._asdict(),
        "not_square_is_better": not_square is not None and not_square.recall > best.recall + NOTABLE,
        "larger_inputs": larger,
        "by_size": by_size,
        "missed_small": round(float((~met_then & (sides < SMALL)).mean()), 4),
        "missed_long": round(float((~met_then & (extent.max(axis=1) / extent.min(axis=1) > LONG)).mean()), 4),
    }
