"""Everything the report says about anchors: what they meet now, by size, and which ones would meet more."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.config import AnchorConfig, Config
from yolact.inspection.anchors import (
    MOST_SIZES,
    Boxes,
    Crowding,
    Option,
    as_override,
    best_ious,
    count_crowded_out,
    input_boxes,
    measure,
    search_scales,
    suggest,
)
from yolact.inspection.entries import InspectedSet
from yolact.inspection.statistics import SIZE_EDGES, bin_names, bin_places, box_sides

CROWDING_OBJECTS = 2_000  # of the sample in which anchors choose between objects
ENLARGED = (1.5, 2.0)  # the input, to see what small objects would gain
NOTABLE = 0.03  # of recall
GOOD = 0.9  # recall from which a larger input is not worth its time
_NUMBERS = range(1, MOST_SIZES + 1)
LONG = 3.0  # times as long as wide
SMALL = 16.0  # pixels of the input; smaller than twice the stride of the finest level


class SizeBin(NamedTuple):
    """Objects of one range of sizes at the network input."""

    name: str
    objects: int
    recall: float | None  # None without objects
    suggested_recall: float | None


class AnchorFit(NamedTuple):
    """How the anchors of a configuration fit a set of objects."""

    threshold: float  # the IoU for positives
    objects: int
    now: Option
    only_forced: float  # share of the objects
    crowding: Crowding
    options: list[Option]  # one to three sizes a level
    suggestion: Option | None  # one of `options`
    upright: Option | None  # the best with model.anchors.square=false, where that is true now
    larger: list[Option]  # at larger inputs, with as many sizes a level as the suggestion
    sizes: list[SizeBin]
    missed_small: float  # share of the objects that the suggestion, or else the present anchors, miss
    missed_long: float

    @property
    def better_upright(self) -> Option | None:
        """Return `upright` where it meets notably more objects than what square anchors can."""
        best = self.suggestion or self.now
        return self.upright if self.upright is not None and self.upright.recall > best.recall + NOTABLE else None

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "iou": self.threshold,
            "objects": self.objects,
            "now": option_to_json(self.now),
            "only_forced": round(self.only_forced, 4),
            "suggestion": None if self.suggestion is None else option_to_json(self.suggestion),
            "options": [option_to_json(option) for option in self.options],
            "not_square": None if self.upright is None else option_to_json(self.upright),
            "larger_inputs": [option_to_json(option) for option in self.larger],
            "by_size": [one._asdict() for one in self.sizes],
            "missed_small": round(self.missed_small, 4),
            "missed_long": round(self.missed_long, 4),
        }


def option_to_json(option: Option) -> dict[str, Any]:
    """Return an option as plain data; `override` is what --set and YAML take."""
    return {
        "image_size": option.image_size,
        "square": option.anchors.square,
        "override": f"model.anchors.scales={as_override(option.anchors)}",
        "num_anchors": option.num_anchors,
        "recall": round(option.recall, 4),
    }


def fit_anchors(inspected: InspectedSet, config: Config) -> AnchorFit | None:
    """Measure the anchors of `config` on the objects of a set; None if it has none."""
    model, threshold = config.model, config.loss.positive_iou
    pairs = zip(inspected.objects, inspected.pictures, strict=True)
    pictures = [input_boxes(objects, picture, model.image_size) for objects, picture in pairs]
    boxes = np.concatenate([*pictures, np.zeros((0, 4))])
    if len(boxes) == 0:
        return None
    now = measure(boxes, model, threshold)
    crowding = count_crowded_out(pictures, model, threshold, CROWDING_OBJECTS)
    options = [search_scales(boxes, model, number, threshold) for number in _NUMBERS]
    suggestion = suggest(options, now)
    best = suggestion or now
    upright = None
    if model.anchors.square:
        free = replace(model, anchors=replace(best.anchors, square=False))
        upright = measure(boxes, free, threshold)
        upright = suggest([search_scales(boxes, free, number, threshold) for number in _NUMBERS], upright) or upright
    missed = best_ious(boxes, model.image_size, best.anchors) < threshold
    return AnchorFit(
        threshold=threshold,
        objects=len(boxes),
        now=now,
        only_forced=1 - now.recall + crowding.crowded_out / max(crowding.objects, 1),
        crowding=crowding,
        options=options,
        suggestion=suggestion,
        upright=upright,
        larger=_enlarge(boxes, config, best) if best.recall < GOOD else [],
        sizes=_by_size(boxes, model.image_size, now.anchors, best.anchors, threshold),
        missed_small=float((missed & (box_sides(boxes) < SMALL)).mean()),
        missed_long=float((missed & (_lengths(boxes) > LONG)).mean()),
    )


def _enlarge(boxes: Boxes, config: Config, best: Option) -> list[Option]:
    """Search sizes for larger network inputs."""
    options = []
    for factor in ENLARGED:
        size = round(config.model.image_size * factor)
        model = replace(config.model, image_size=size)
        scale = size / config.model.image_size
        options.append(search_scales(boxes * scale, model, len(best.anchors.scales[0]), config.loss.positive_iou))
    return options


def _by_size(boxes: Boxes, size: int, now: AnchorConfig, best: AnchorConfig, threshold: float) -> list[SizeBin]:
    places = bin_places(box_sides(boxes), SIZE_EDGES)
    names = bin_names(SIZE_EDGES)
    met = [best_ious(boxes, size, anchors) >= threshold for anchors in (now, best)]
    return [
        SizeBin(name, int((places == number).sum()), *(_share(one[places == number]) for one in met))
        for number, name in enumerate(names)
    ]


def _share(values: NDArray[np.bool_]) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None


def _lengths(boxes: Boxes) -> NDArray[np.float64]:
    """Return how many times as long as wide, or as wide as long, each box is: [N]."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(sides.max(axis=1) / sides.min(axis=1))
