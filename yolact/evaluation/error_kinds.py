"""What keeps AP at IoU 0.5 from being 1: errors of six kinds, and the AP that mending those of one kind would give.

The kinds and their weights are those of TIDE (Bolya, Foley, Hays and Hoffman: TIDE: A General Toolbox for Identifying
Object Detection Errors, ECCV 2020, arXiv 2008.08115). AP itself is COCO's, over the classes that have objects.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.evaluation.coco import RECALLS
from yolact.evaluation.matching import FOUND_IOU, Matching

KINDS = ("class", "localisation", "both", "duplicate", "background", "missed")
CLASS, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(6)
RIGHT = -1  # in place of a kind

BACKGROUND_IOU = 0.1  # below it a detection and an object have nothing to do with each other


class Judged(NamedTuple):
    """D detections, without those in crowd regions, which do not count, and G objects, without crowd regions."""

    scores: NDArray[Any]  # float64 [D]
    labels: NDArray[Any]  # int64 [D]
    kinds: NDArray[Any]  # int64 [D], a place in `KINDS`, or RIGHT
    mended_labels: NDArray[Any]  # int64 [D], the label that the detection should have
    mendable: NDArray[Any]  # bool [D], mended it would find an object that nothing else finds
    truth_labels: NDArray[Any]  # int64 [G]
    found: NDArray[Any]  # bool [G]
    missed: NDArray[Any]  # bool [G], not found, nor would be by a mended detection


def image_errors(image: Matching) -> Judged:
    """Sort an image's detections into right ones and errors.

    A false positive is the first of these that it fits: localisation (IoU from 0.1 to 0.5 with an object of its class),
    class (0.5 or more with one of another class), duplicate (0.5 or more with one of its class, which a better
    detection has found), background (below 0.1 with all), both.
    """
    same = image.labels[:, None] == image.truth_labels
    (own_iou, own_object), (other_iou, other_object) = _best(image.iou, same), _best(image.iou, ~same)
    conditions = {
        RIGHT: image.matches >= 0,
        LOCALISATION: (own_iou >= BACKGROUND_IOU) & (own_iou < FOUND_IOU),
        CLASS: other_iou >= FOUND_IOU,
        DUPLICATE: own_iou >= FOUND_IOU,
        BACKGROUND: np.maximum(own_iou, other_iou) < BACKGROUND_IOU,
    }
    kinds = np.select(list(conditions.values()), list(conditions), BOTH)
    counted = (kinds == RIGHT) | ~image.in_crowd
    found = np.isin(np.arange(len(image.truth_labels)), image.matches)
    # The object that a mended detection would find; -1 for none, and where it is found already.
    meant = np.select([kinds == LOCALISATION, kinds == CLASS], [own_object, other_object], -1)
    meant[~counted | np.append(found, True)[meant]] = -1
    # Several may mean one object; mended, the best of them finds it and the others go.
    _, best = np.unique(meant, return_index=True)
    mendable = np.isin(np.arange(len(meant)), best) & (meant >= 0)
    claimed = np.isin(np.arange(len(found)), meant)
    mended_labels = np.where(mendable, np.append(image.truth_labels, -1)[meant], image.labels)
    detections = (image.scores, image.labels, kinds, mended_labels, mendable)
    columns = [*(one[counted] for one in detections), image.truth_labels, found, ~found & ~claimed]
    return Judged(*columns)


def _best(iou: NDArray[np.float64], which: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the highest IoU of each row among the columns that count, and its column; 0 where none counts."""
    if not iou.shape[1]:
        return np.zeros(len(iou)), np.zeros(len(iou), np.int64)
    table = np.where(which, iou, 0.0)
    return table.max(1), table.argmax(1)


def total_errors(images: Sequence[Judged], num_classes: int) -> dict[str, Any]:
    """Score the errors of all images, at least one, given in the order in which COCOeval takes them.

    Returns:
        What metrics.json holds. "AP50": AP at IoU 0.5, in [0, 1]; None where there are no objects. "dAP": how much
        higher it would be without the errors of one kind, for each of `KINDS`; and without all false positives
        ("false_positive"), or without all objects that were not found ("false_negative"). These do not add up to what
        is missing, because errors hide each other. "count": the detections, for "missed" the objects, of each kind.
    """
    judged = Judged(*map(np.concatenate, zip(*images, strict=True)))
    order = np.argsort(-judged.scores, kind="stable")
    labels, kinds, mended_labels, mendable = (one[order] for one in judged[1:5])
    truth, right = judged.truth_labels, kinds == RIGHT
    ap50 = _ap(labels, right, truth, num_classes)
    without: dict[str, float | None] = {}
    for kind in range(MISSED):  # mended where they can be, and else gone
        is_kind = kinds == kind
        kept, mended = ~is_kind | mendable, np.where(is_kind, mended_labels, labels)
        without[KINDS[kind]] = _ap(mended[kept], (right | is_kind)[kept], truth, num_classes)
    without["missed"] = _ap(labels, right, truth[~judged.missed], num_classes)
    first = np.argsort(~right, kind="stable")
    without["false_positive"] = _ap(labels[first], right[first], truth, num_classes)
    without["false_negative"] = _ap(labels, right, truth[judged.found], num_classes)
    gains = {
        # Where no object is left to be found, all are.
        kind: None if ap50 is None else max(0.0, (1.0 if value is None else value) - ap50)
        for kind, value in without.items()
    }
    counts = np.bincount(kinds[~right], minlength=len(KINDS))
    counts[MISSED] = judged.missed.sum()
    return {"AP50": ap50, "dAP": gains, "count": dict(zip(KINDS, counts.tolist(), strict=True))}


def _ap(
    labels: NDArray[np.int64], right: NDArray[np.bool_], truth_labels: NDArray[np.int64], num_classes: int
) -> float | None:
    """Return the mean over the classes with objects of COCO's AP of detections, best first."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))
    objects = np.bincount(truth_labels, minlength=num_classes).tolist()
    parts = np.split(right[order], ends[:-1])
    values = [_class_ap(part, count) for part, count in zip(parts, objects, strict=True) if count]
    return float(np.mean(values)) if values else None


def _class_ap(right: NDArray[np.bool_], num_objects: int) -> float:
    """Return COCO's AP of one class: the mean of the precision at 101 recalls, made to fall only."""
    num_right = np.cumsum(right)
    precision = num_right / np.arange(1, len(right) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(num_right / num_objects, RECALLS, side="left")
    return float(np.append(falling, 0.0)[places].mean())
