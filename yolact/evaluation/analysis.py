"""What lies behind the metrics: errors by kind, confusion between classes, objects found by size, and single images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from yolact.data.dataset import CocoDataset
from yolact.evaluation.coco import IouType
from yolact.evaluation.error_kinds import image_errors, total_errors
from yolact.evaluation.matching import Matching, greedy, match_images
from yolact.formats import Record

# What a person would be shown; AP itself counts detections of every score.
SHOWN_SCORE = 0.3
BLOCK = 50  # detections of neighbouring scores, of which it is counted how many are right
# Borders of the sizes in pixels, size being the square root of the area; COCO's are 32 and 96.
SIZE_BORDERS = (8, 16, 32, 64, 96, 128, 256)


class Observer(Protocol):
    """Something that looks at the masks of one image after another."""

    def add(self, image: Matching) -> None:
        """Look at one image."""


def analyse(
    dataset: CocoDataset, records: Mapping[IouType, Sequence[Record]], observers: Sequence[Observer] = ()
) -> dict[str, Any]:
    """Return the errors of mask and box records, as metrics.json holds them, and show all masks to the observers.

    One image is in memory at a time.
    """
    errors = dict[str, Any]()
    for kind, found in records.items():
        images = []
        for image in match_images(dataset, found, kind):
            images.append(image_errors(image))
            for observer in observers if kind == "segm" else ():
                observer.add(image)
        errors[kind] = total_errors(images, len(dataset.categories))
    return errors


@dataclass(frozen=True)
class ImageQuality:
    """How well one image went."""

    index: int  # of the image in the data set
    found: int  # objects with a detection of their class at IoU 0.5 or more
    missed: int  # objects without
    wrong: int  # detections without an object
    quality: float  # panoptic quality in [0, 1], which is F1 times the mean IoU of the found ones


class Shown:
    """What became of objects and of the detections that score at least `SHOWN_SCORE`, of one image after another.

    Detections and objects of one class are paired first, as for AP, and then what is left over, whatever its class, at
    an IoU of 0.5 or more. Crowd regions, and what is detected in them, do not count.

    Attributes:
        confusion: int64 [C + 1, C + 1], a row for each class of objects and a column for each class of detections. The
            last column counts the objects that nothing lies on, the last row the detections that lie on no object which
            is still free: on background, or on one that a better detection has found.
        objects, found: int64 [8], the objects in each interval of `SIZE_BORDERS` and those found with the right class.
        qualities: of each image that holds an object or a detection.
    """

    def __init__(self, num_classes: int) -> None:
        self.confusion = np.zeros((num_classes + 1, num_classes + 1), np.int64)
        self.objects, self.found = np.zeros((2, len(SIZE_BORDERS) + 1), np.int64)
        self.qualities: list[ImageQuality] = []

    def add(self, image: Matching) -> None:
        """Add one image."""
        background = len(self.confusion) - 1
        shown = image.scores >= SHOWN_SCORE
        right = np.flatnonzero(shown & (image.matches >= 0))
        wrong = np.flatnonzero(shown & (image.matches < 0) & ~image.in_crowd)
        found = image.matches[right]
        missed = np.setdiff1d(np.arange(len(image.truth_labels)), found)
        sizes = size_steps(image)
        np.add.at(self.objects, sizes, 1)
        np.add.at(self.found, sizes[found], 1)
        np.add.at(self.confusion, (image.truth_labels[found], image.truth_labels[found]), 1)
        pairs = greedy(image.iou[np.ix_(wrong, missed)])
        taken_for = np.where(pairs >= 0, np.append(image.truth_labels[missed], background)[pairs], background)
        np.add.at(self.confusion, (taken_for, image.labels[wrong]), 1)
        alone = np.setdiff1d(np.arange(len(missed)), pairs)
        np.add.at(self.confusion[:, background], image.truth_labels[missed[alone]], 1)
        if number := len(found) + (len(missed) + len(wrong)) / 2:
            quality = float(image.iou[right, found].sum() / number)
            self.qualities.append(ImageQuality(image.index, len(found), len(missed), len(wrong), quality))


def size_steps(image: Matching) -> NDArray[np.int64]:
    """Return the interval of `SIZE_BORDERS` that each object of an image is in, [G]."""
    return np.searchsorted(SIZE_BORDERS, np.sqrt(image.truth_areas), side="right")


def short_between(low: float, high: float) -> float:
    """Return the number of fewest decimals, two or more, that is less than `high` and at least `low`, which is less."""
    shorter = ((math.ceil(high * 10**decimals) - 1) / 10**decimals for decimals in range(2, 17))
    return next((number for number in shorter if low <= number < high), low)


class Trust:
    """How often the model is right, counted over the masks of one image after another."""

    def __init__(self, num_classes: int) -> None:
        self._scores: list[list[float]] = [[] for _ in range(num_classes)]  # of detections, by label
        self._right: list[list[bool]] = [[] for _ in range(num_classes)]  # which of them find an object
        self._objects, self._found = np.zeros((2, num_classes, len(SIZE_BORDERS) + 1))

    def add(self, image: Matching) -> None:
        """Count an image."""
        right = image.matches >= 0
        for row in np.flatnonzero(right | ~image.in_crowd):
            self._scores[image.labels[row]].append(float(image.scores[row]))
            self._right[image.labels[row]].append(bool(right[row]))
        sizes, hits = size_steps(image), image.matches[right & (image.scores >= SHOWN_SCORE)]
        np.add.at(self._objects, (image.truth_labels, sizes), 1)
        np.add.at(self._found, (image.truth_labels[hits], sizes[hits]), 1)

    def best_thresholds(self) -> list[tuple[float, float] | None]:
        """Return, for each label, the score above which F1 is highest, and that F1; None where nothing is right."""
        best: list[tuple[float, float] | None] = []
        for scores, right, objects in zip(self._scores, self._right, self._objects.sum(1), strict=True):
            order = np.argsort(scores)[::-1]
            ranked, hits = np.array(scores)[order], np.cumsum(np.array(right, bool)[order])
            f1 = 2 * hits / (np.arange(1, len(order) + 1) + objects)
            f1[:-1][ranked[1:] == ranked[:-1]] = 0  # equal scores come together
            if not hits[-1:].any():
                best.append(None)
                continue
            last = int(f1.argmax())  # that is shown
            below = ranked[last + 1] if last + 1 < len(ranked) else 0.0
            best.append((short_between(float(below), float(ranked[last])), float(f1[last])))
        return best

    def in_detections(self) -> list[dict[float, float]]:
        """Return, for each label, score -> share that is right of the `BLOCK` detections of about that score.

        A higher score never has a lower share.
        """
        shares = []
        for scores, right in zip(self._scores, self._right, strict=True):
            order = np.argsort(scores)[::-1]
            blocks = np.array_split(np.array(right, float)[order], max(1, len(order) // BLOCK))
            means = np.array([block.mean() if len(block) else 0 for block in blocks])
            rising = np.maximum.accumulate(means[::-1])[::-1].repeat([len(block) for block in blocks])
            shares.append(dict(zip(np.array(scores)[order].tolist(), rising.tolist(), strict=True)))
        return shares

    def in_absence(self) -> NDArray[np.float64]:
        """Return [C, sizes], the share of the objects that is found; of a few objects it says little."""
        return np.asarray(self._found / (self._objects + 1))


class Pair(NamedTuple):
    """Objects of one class that were taken for another."""

    truth: str
    taken_for: str
    objects: int
    share: float  # of all objects of the first


def most_confused(confusion: NDArray[np.int64], names: Sequence[str], count: int) -> list[Pair]:
    """Return the pairs of classes that are confused most often, of equal ones the larger share first."""
    classes = confusion[:-1, :-1].copy()
    np.fill_diagonal(classes, 0)
    totals = confusion[:-1].sum(1)
    pairs = [
        Pair(names[row], names[column], int(classes[row, column]), float(classes[row, column] / totals[row]))
        for row, column in np.argwhere(classes).tolist()
    ]
    return sorted(pairs, key=lambda pair: (-pair.objects, -pair.share))[:count]
