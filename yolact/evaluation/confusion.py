"""Which classes are taken for which, and objects of which size are found, among detections that people are shown."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.evaluation.overlaps import Overlaps, greedy

# Borders of the sizes in pixels, size being the square root of the area; COCO's are 32 and 96.
SIZE_BORDERS = (8, 16, 32, 64, 96, 128, 256)


class Shown(NamedTuple):
    """What happened in one image, or in several, among detections that score at least a threshold.

    confusion: int64 [C + 1, C + 1], a row for each class of objects and a column for each class of detections. The
        last column counts the objects that nothing lies on, the last row the detections that lie on no object which
        is still free: on background, or on one that a better detection has found.
    objects, found: int64 [8], the objects in each interval of `SIZE_BORDERS` and those found with the right class.
    """

    confusion: NDArray[np.int64]
    objects: NDArray[np.int64]
    found: NDArray[np.int64]


def no_images(num_classes: int) -> Shown:
    """Return the sum over no image."""
    sizes = len(SIZE_BORDERS) + 1
    return Shown(np.zeros((num_classes + 1, num_classes + 1), np.int64), np.zeros(sizes, int), np.zeros(sizes, int))


def add_image(total: Shown, overlaps: Overlaps, matches: NDArray[np.int64], min_score: float) -> None:
    """Add one image's counts to `total`.

    Detections and objects of one class are paired first, as for AP, and then what is left over, whatever its class,
    at an IoU of 0.5 or more.

    Args:
        overlaps: of the image.
        matches: of these, by `Overlaps.match`.
        min_score: what is below it is not shown.
    """
    shown = np.flatnonzero(overlaps.scores >= min_score)
    background = len(total.confusion) - 1
    found = np.zeros(len(overlaps.truth_labels), bool)
    found[matches[shown][matches[shown] >= 0]] = True
    sizes = np.searchsorted(SIZE_BORDERS, np.sqrt(overlaps.truth_areas), side="right")
    np.add.at(total.objects, sizes, 1)
    np.add.at(total.found, sizes[found], 1)
    np.add.at(total.confusion, (overlaps.truth_labels[found], overlaps.truth_labels[found]), 1)
    others = shown[(matches[shown] < 0) & ~overlaps.in_crowd[shown]]
    free = np.flatnonzero(~found)
    pairs = greedy(overlaps.iou[np.ix_(others, free)])
    taken_for = np.where(pairs >= 0, np.append(overlaps.truth_labels[free], background)[pairs], background)
    np.add.at(total.confusion, (taken_for, overlaps.labels[others]), 1)
    alone = np.setdiff1d(np.arange(len(free)), pairs)
    np.add.at(total.confusion[:, background], overlaps.truth_labels[free[alone]], 1)


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
