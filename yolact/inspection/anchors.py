"""How well a configuration's anchors meet the objects of a data set, and which sizes would meet them better.

An object that no anchor overlaps by `loss.positive_iou` is forced onto its best one, a single badly placed example in
each picture; with most objects so, a small data set hardly trains at all.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from yolact.config import AnchorConfig, ModelConfig
from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.data.transforms import SMALLEST_SIDE, boxes_of, map_boxes, view_matrix
from yolact.models.anchors import level_sizes, make_anchors
from yolact.ops.boxes import box_iou

Boxes = NDArray[np.float64]  # [N, 4] xyxy, pixels of the network input
Scales = tuple[tuple[float, ...], ...]

MOST_SIZES = 3  # a level; each adds as many predictions as the first
WORTH = 0.015  # of recall; less does not pay for more anchors or a change
LARGEST = 1.25  # times the side of the input; of a larger anchor less is inside than outside
OCTAVES, STEPS = 4, 41  # of the search for the smallest size, from the largest that can be down: steps of 7 %
GROWTH, OTHER_GROWTHS = 2.0, (1.6, 1.3)  # of the sizes from level to level
NARROWER = 0.03  # of recall, which another growth than 2 must bring
SEARCHED_OBJECTS = 3_000  # enough for a recall to a point
MATCHED_PAIRS = 40_000_000  # anchors times objects of a picture beyond which it is left out of the sample: memory


class Option(NamedTuple):
    """A choice of anchors and what it reaches."""

    anchors: AnchorConfig
    image_size: int
    recall: float  # share of the objects whose best anchor reaches the IoU for positives
    num_anchors: int


class Crowding(NamedTuple):
    """Objects whose neighbours take every anchor that overlaps them enough, in a sample of the pictures."""

    objects: int  # in the sample
    crowded_out: int


def input_boxes(objects: Sequence[ObjectRecord], picture: ImageRecord, size: int) -> Boxes:
    """Return the boxes of one picture's objects, without crowds, when it is stretched to `size`, as training does."""
    boxes = boxes_of([item for item in objects if not item.iscrowd])
    boxes = map_boxes(boxes, view_matrix((0, 0, picture.width, picture.height), size)).clip(0, size)
    visible: Boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(axis=1)]
    return visible


def best_ious(boxes: Boxes, size: int, anchors: AnchorConfig) -> NDArray[np.float64]:
    """Return the IoU [N] of each box with the best of all anchors.

    Among anchors of one shape and level the best is the one with the nearest centre, because both sides of the
    intersection shrink with the distance; so one anchor of each shape is compared, not all places.
    """
    best = np.zeros(len(boxes))
    sides = level_sizes(size, len(anchors.scales))
    for side, scales in zip(sides, anchors.scales, strict=True):
        for scale in scales:
            np.maximum(best, _level_ious(boxes, size, side, scale, anchors), out=best)
    return best


def _level_ious(boxes: Boxes, size: int, side: int, scale: float, anchors: AnchorConfig) -> NDArray[np.float64]:
    """Return the best IoU [N] with the anchors of one scale on the level of `side` x `side` places."""
    cell, extent = size / side, boxes[:, 2:] - boxes[:, :2]
    centres = (np.floor((boxes[:, :2] + boxes[:, 2:]) / 2 / cell).clip(0, side - 1) + 0.5) * cell
    area = extent.prod(axis=1)
    best = np.zeros(len(boxes))
    for ratio in anchors.aspect_ratios:
        width = scale * math.sqrt(ratio)
        shape = np.array([width, width if anchors.square else scale / math.sqrt(ratio)])
        low, high = np.maximum(boxes[:, :2], centres - shape / 2), np.minimum(boxes[:, 2:], centres + shape / 2)
        shared = (high - low).clip(0).prod(axis=1)
        np.maximum(best, shared / (area + shape.prod() - shared), out=best)
    return best


def count_crowded_out(pictures: Sequence[Boxes], model: ModelConfig, threshold: float, most: int) -> Crowding:
    """Let each anchor take its best object, as matching does, and count those that lose all of theirs.

    Args:
        pictures: the boxes of each picture; they are taken in a fixed random order.
        model: of the configuration.
        threshold: the IoU for positives.
        most: objects at which the sample is large enough.
    """
    anchors = make_anchors(model.image_size, model.anchors.scales, model.anchors.aspect_ratios, model.anchors.square)
    objects = crowded_out = 0
    for place in np.random.default_rng(0).permutation(len(pictures)):
        boxes = pictures[place]
        if objects >= most:
            break
        if len(boxes) == 0 or len(boxes) * len(anchors) > MATCHED_PAIRS:
            continue
        iou = box_iou(torch.from_numpy((boxes / model.image_size).astype(np.float32)), anchors)
        best, owner = iou.max(0)
        owners = owner[best >= threshold].unique()
        objects, crowded_out = objects + len(iou), crowded_out + int((iou.amax(1) >= threshold).sum()) - len(owners)
    return Crowding(objects, crowded_out)


def measure(boxes: Boxes, model: ModelConfig, threshold: float) -> Option:
    """Return what a configuration's own anchors reach."""
    return _option(boxes, model.image_size, model.anchors, threshold)


def search_scales(boxes: Boxes, model: ModelConfig, num_sizes: int, threshold: float) -> Option:
    """Find the sizes that meet most boxes, `num_sizes` for each level.

    The sizes grow by one factor from level to level and lie evenly between, as in YOLACT++ and RetinaNet, so that two
    numbers are searched: the smallest size and the factor. A free choice of every size was measured to meet hardly
    more objects (at most 4 points on COCO and on nuclei), and puts small anchors on coarse levels, which see no small
    objects. The factor is 2, like that of the levels' strides, unless another one pays.
    """
    sample = boxes
    if len(boxes) > SEARCHED_OBJECTS:
        sample = boxes[np.random.default_rng(0).choice(len(boxes), SEARCHED_OBJECTS, replace=False)]
    best = max(_candidates(sample, model, num_sizes, GROWTH, threshold))
    for growth in OTHER_GROWTHS:
        other = max(_candidates(sample, model, num_sizes, growth, threshold))
        if other[0] > best[0] + NARROWER:
            best = other
    anchors = replace(model.anchors, scales=best[2])
    return _option(boxes, model.image_size, anchors, threshold)


def _candidates(
    boxes: Boxes, model: ModelConfig, num_sizes: int, growth: float, threshold: float
) -> Iterator[tuple[float, float, Scales]]:
    """Yield (recall, mean IoU, sizes): where many sizes meet all objects, the closest fit is the best."""
    num_levels = len(model.anchors.scales)
    highest = LARGEST * model.image_size / growth ** (num_levels - 1 / num_sizes)
    for base in np.geomspace(highest / 2**OCTAVES, highest, STEPS):
        scales = spread_scales(float(base), growth, num_sizes, num_levels)
        ious = best_ious(boxes, model.image_size, replace(model.anchors, scales=scales))
        yield round(float((ious >= threshold).mean()), 3), float(ious.mean()), scales


def spread_scales(base: float, growth: float, num_sizes: int, num_levels: int) -> Scales:
    """Return sizes that begin with `base` and grow by `growth` from level to level, rounded to three digits."""
    return tuple(
        tuple(float(f"{base * growth ** (level + step / num_sizes):.3g}") for step in range(num_sizes))
        for level in range(num_levels)
    )


def suggest(options: Sequence[Option], now: Option) -> Option | None:
    """Return the option worth changing to, from few sizes a level to many; None if what is there does as well."""
    chosen = now
    for option in sorted(options, key=lambda option: option.num_anchors):
        more = len(option.anchors.scales[0]) - len(chosen.anchors.scales[0])
        if option.recall >= chosen.recall + WORTH * max(more, 1):
            chosen = option
    return None if chosen is now else chosen


def _option(boxes: Boxes, size: int, anchors: AnchorConfig, threshold: float) -> Option:
    places = sum(side * side for side in level_sizes(size, len(anchors.scales)))
    recall = float((best_ious(boxes, size, anchors) >= threshold).mean()) if len(boxes) else 0.0
    return Option(anchors, size, recall, places * len(anchors.scales[0]) * len(anchors.aspect_ratios))


def as_override(anchors: AnchorConfig) -> str:
    """Return the sizes as a value of the configuration: [[13.5, 17, 21.4], ...]."""
    return "[" + ", ".join("[" + ", ".join(f"{size:g}" for size in level) + "]" for level in anchors.scales) + "]"
