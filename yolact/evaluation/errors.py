"""What keeps AP at IoU 0.5 from being 1: errors of six kinds, and the AP that mending those of one kind would give.

The kinds and their weights are those of TIDE (Bolya, Foley, Hays and Hoffman: TIDE: A General Toolbox for Identifying
Object Detection Errors, ECCV 2020, arXiv 2008.08115). AP itself is COCO's, over the classes that have objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.evaluation.curves import RECALLS
from yolact.evaluation.overlaps import FOUND_IOU, Overlaps

KINDS = ("class", "localisation", "both", "duplicate", "background", "missed")
CLASS, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)
RIGHT = -1  # in place of a kind

BACKGROUND_IOU = 0.1  # below it a detection and an object have nothing to do with each other


@dataclass(frozen=True)
class Errors:
    """The errors of an evaluation, detections of every score counted.

    Attributes:
        ap50: AP at IoU 0.5, in [0, 1]; None where there are no objects.
        gains: how much higher it would be without the errors of one kind, for each of `KINDS`; and without all false
            positives ("false_positive"), or without all objects that were not found ("false_negative"). The gains do
            not add up to what is missing, because errors hide each other.
        counts: the detections, for "missed" the objects, of each kind.
    """

    ap50: float | None
    gains: dict[str, float | None]
    counts: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return what metrics.json holds."""
        return {"AP50": self.ap50, "dAP": self.gains, "count": self.counts}


class Judged(NamedTuple):
    """D detections, those in crowd regions left out, because they do not count."""

    scores: NDArray[Any]  # float64 [D]
    labels: NDArray[Any]  # int64 [D]
    kinds: NDArray[Any]  # int64 [D], a place in `KINDS`, or RIGHT
    mended_labels: NDArray[Any]  # int64 [D], the label that the detection should have
    mendable: NDArray[Any]  # bool [D], mended it would find an object that nothing else finds


class Objects(NamedTuple):
    """G objects, crowd regions left out."""

    labels: NDArray[Any]  # int64 [G]
    found: NDArray[Any]  # bool [G]
    missed: NDArray[Any]  # bool [G], not found, nor would be by a mended detection


def image_errors(overlaps: Overlaps, matches: NDArray[np.int64]) -> tuple[Judged, Objects]:
    """Sort an image's detections into right ones and errors.

    A false positive is the first of these that it fits: localisation (IoU from 0.1 to 0.5 with an object of its class),
    class (0.5 or more with one of another class), duplicate (0.5 or more with one of its class, which a better
    detection has found), background (below 0.1 with all), both.

    Args:
        overlaps: of the image.
        matches: of these, by `Overlaps.match`.
    """
    num_objects = len(overlaps.truth_labels)
    same = overlaps.labels[:, None] == overlaps.truth_labels
    own, other = np.where(same, overlaps.iou, 0.0), np.where(same, 0.0, overlaps.iou)
    kinds = _kinds(own.max(1, initial=0.0), other.max(1, initial=0.0), matches)
    counted = (matches >= 0) | ~overlaps.in_crowd
    found = np.zeros(num_objects, bool)
    found[matches[matches >= 0]] = True
    meant = np.full(len(kinds), -1)  # the object that a mended detection would find
    for kind, iou in ((LOCALISATION, own), (CLASS, other)):
        rows = np.flatnonzero((kinds == kind) & counted)
        meant[rows] = iou[rows].argmax(1) if len(rows) else []
    meant[(meant >= 0) & np.append(found, False)[meant]] = -1
    # Several may mean one object; mended, the best of them finds it and the others go.
    objects, best = np.unique(meant, return_index=True)
    mendable, claimed = np.zeros(len(kinds), bool), np.zeros(num_objects, bool)
    mendable[best[objects >= 0]] = True
    claimed[objects[objects >= 0]] = True
    mended_labels = np.where(mendable, np.append(overlaps.truth_labels, -1)[meant], overlaps.labels)
    judged = Judged(overlaps.scores, overlaps.labels, kinds, mended_labels, mendable)
    return Judged(*(one[counted] for one in judged)), Objects(overlaps.truth_labels, found, ~found & ~claimed)


def _kinds(
    own_iou: NDArray[np.float64], other_iou: NDArray[np.float64], matches: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the kind of each detection from its highest IoU with objects of its class, and of other classes."""
    conditions = [
        matches >= 0,
        (own_iou >= BACKGROUND_IOU) & (own_iou < FOUND_IOU),
        other_iou >= FOUND_IOU,
        own_iou >= FOUND_IOU,
        np.maximum(own_iou, other_iou) < BACKGROUND_IOU,
    ]
    return np.select(conditions, [RIGHT, LOCALISATION, CLASS, DUPLICATE, BACKGROUND], BOTH)


def total_errors(images: Sequence[tuple[Judged, Objects]], num_classes: int) -> Errors:
    """Score the errors of all images, given in the order in which COCOeval takes them."""
    if not images:
        return _without_objects(np.zeros(len(KINDS), np.int64))
    judged, objects = zip(*images, strict=True)
    return _Scoring(
        Judged(*(np.concatenate(columns) for columns in zip(*judged, strict=True))),
        Objects(*(np.concatenate(columns) for columns in zip(*objects, strict=True))),
        num_classes,
    ).errors()


class _Scoring:
    """All detections of a data set, best first, scored again with some of them mended."""

    def __init__(self, judged: Judged, objects: Objects, num_classes: int) -> None:
        order = np.argsort(-judged.scores, kind="stable")
        self.found = Judged(*(one[order] for one in judged))
        self.right = self.found.kinds == RIGHT
        self.num_classes = num_classes
        self.objects = objects
        self.object_counts = self._per_class(np.ones(len(objects.labels), bool))

    def errors(self) -> Errors:
        """Score everything as it is, and then with each kind of error mended."""
        counts = np.bincount(self.found.kinds[~self.right], minlength=len(KINDS))
        counts[MISSED] = self.objects.missed.sum()
        ap50 = self._ap(self.found.labels, self.right, self.object_counts)
        if ap50 is None:
            return _without_objects(counts)
        mended = {KINDS[kind]: self._without(kind) for kind in range(MISSED)}
        mended["missed"] = self._fewer_objects(self.objects.missed)
        first = np.argsort(~self.right, kind="stable")
        mended["false_positive"] = self._ap(self.found.labels[first], self.right[first], self.object_counts) or 0.0
        mended["false_negative"] = self._fewer_objects(~self.objects.found)
        return Errors(ap50, {kind: max(0.0, value - ap50) for kind, value in mended.items()}, _named(counts))

    def _without(self, kind: int) -> float:
        """Return the AP where detections of this kind are mended if they can be, and else gone."""
        is_kind = self.found.kinds == kind
        kept = ~is_kind | self.found.mendable
        labels = np.where(is_kind, self.found.mended_labels, self.found.labels)
        return self._ap(labels[kept], (self.right | is_kind)[kept], self.object_counts) or 0.0

    def _fewer_objects(self, gone: NDArray[np.bool_]) -> float:
        """Return the AP where these objects need not be found; 1 if none is left."""
        ap = self._ap(self.found.labels, self.right, self.object_counts - self._per_class(gone))
        return 1.0 if ap is None else ap

    def _ap(self, labels: NDArray[np.int64], right: NDArray[np.bool_], objects: NDArray[np.int64]) -> float | None:
        """Return the mean over the classes with objects of COCO's AP of detections, best first."""
        order = np.argsort(labels, kind="stable")
        ends = np.cumsum(np.bincount(labels, minlength=self.num_classes))
        parts = np.split(right[order], ends[:-1])
        values = [_class_ap(part, int(count)) for part, count in zip(parts, objects, strict=True) if count]
        return float(np.mean(values)) if values else None

    def _per_class(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(self.objects.labels[chosen], minlength=self.num_classes)


def _class_ap(right: NDArray[np.bool_], num_objects: int) -> float:
    """Return COCO's AP of one class: the mean of the precision at 101 recalls, made to fall only."""
    num_right = np.cumsum(right)
    precision = num_right / np.arange(1, len(right) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(num_right / num_objects, RECALLS, side="left")
    return float(np.append(falling, 0.0)[places].mean())


def _without_objects(counts: NDArray[np.int64]) -> Errors:
    return Errors(None, dict.fromkeys((*KINDS, "false_positive", "false_negative")), _named(counts))


def _named(counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(KINDS, counts.tolist(), strict=True))
