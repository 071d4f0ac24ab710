"""The annotations that a trained model disagrees with most, likely mistakes of whoever labelled: a file and pictures.

How far the model can be trusted in a disagreement is measured on the same data: by the share of its detections of that
class that are right from their score on, or by the share of the objects of that class and size that it finds.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as rle_tools
from tqdm import tqdm

from yolact.data.dataset import CocoDataset
from yolact.data.samples import Pixels
from yolact.data.segmentations import encode
from yolact.draw import encode_jpeg, side_by_side
from yolact.evaluation.analysis import SHOWN_SCORE, Trust, size_steps
from yolact.evaluation.error_kinds import BACKGROUND_IOU
from yolact.evaluation.matching import FOUND_IOU, Matching
from yolact.formats import Record
from yolact.output import write_json
from yolact.structures import View
from yolact.text import printable
from yolact.tools.inspect.reading import object_faults
from yolact.tools.pages import draw_objects
from yolact.tools.report.gallery import Records, found_objects

KINDS = {
    "not labelled": "the model finds an object where none is labelled",
    "another class": "the model finds an object of another class there",
    "another outline": "the model finds an object of this class, with another outline",
    "nothing there": "the model finds nothing there, but most objects of this class and size",
    "box unlike mask": "the label's own box and mask do not belong together",
}
LEAST_DOUBT = 0.1
LISTED = 1000  # in odd_labels.json
DRAWN = 40  # on a page
SIDE = 330  # pixels of a drawn part
OUTLINE_IOU = 0.2  # from which on a detection is of the same object, though not found; below it may be a neighbour's
SLOW = 100  # labels, from which on a bar is shown
LEAST_VIEW = 48  # pixels of the image on a side of it
AROUND = 2.0  # how much wider than the object it is
SMALLER = 0.25  # the power of an area, as a share of the usual one of its class, by which it is weighed
DARK = 128  # the brightest sample of a part that is shown brighter
RED = (0, 0, 255)  # BGR


DrawnLabel = tuple[str, str, bytes]  # kind, words and a JPEG


class OddLabel(NamedTuple):
    """One disagreement."""

    kind: str  # a key of `KINDS`
    doubt: float  # in [0, 1], of the label
    image: int  # its index in the data set
    box: tuple[float, float, float, float]  # xywh, of the label, or of the detection where there is none
    annotation_id: int | None
    category: str | None  # of the label
    found: str | None  # the class that the model finds
    score: float | None

    def text(self) -> str:
        """Return what is odd in a few words."""
        label = f"labelled {self.category}" if self.category else "no label"
        model = f"the model finds {self.found}, score {self.score:.2f}" if self.found else "the model finds nothing"
        return f"{label}, {model if self.kind != 'box unlike mask' else 'its box is another than its mask'}"


class Case(NamedTuple):
    """A disagreement whose weight is not known yet, because it follows from all images."""

    kind: str
    share: float  # of the trust in the model, such as the part of two outlines that differs
    image: int
    truth: Record | None
    record: Record | None
    size: int = 0  # of the label, as `size_steps`


class OddLabels:
    """Collects the disagreements of one image after another, of masks; crowd regions are not looked at."""

    def __init__(self, dataset: CocoDataset) -> None:
        self.dataset = dataset
        self._cases: list[Case] = []
        self._areas: list[list[float]] = [[] for _ in range(len(dataset.categories))]  # of the objects of each class

    def add(self, image: Matching) -> None:
        """Add one image."""
        self._cases += _cases(image, self.dataset)
        for label, area in zip(image.truth_labels.tolist(), image.truth_areas.tolist(), strict=True):
            self._areas[label].append(area)

    def ranked(self, trust: Trust, records: Records) -> list[OddLabel]:
        """Return them, at most one of a label and at most `LISTED` in all.

        The kinds take turns, and the most doubtful label of each comes first: one kind, such as outlines that differ a
        little, would else hide the others. Objects smaller than usual, of which people and models are less certain,
        come a little later. `records` are of masks and boxes, of the same detections in the same order.
        """
        boxes = {id(mask): box["bbox"] for mask, box in zip(records["segm"], records["bbox"], strict=True)}
        right, seen, categories = trust.in_detections(), trust.in_absence(), self.dataset.categories
        usual = [float(np.median(areas or [1])) for areas in self._areas]
        odd: dict[str, list[tuple[float, float, OddLabel]]] = {kind: [] for kind in KINDS}
        for kind, share, image, truth, record, size in self._cases:
            label = categories.label((record or truth or {})["category_id"])
            doubt = share
            if record is not None:
                doubt *= right[label][record["score"]]
            elif kind == "nothing there":
                doubt *= seen[label, size]
            own, found = (
                categories.names[categories.label(one["category_id"])] if one else None for one in (truth, record)
            )
            place = truth["bbox"] if truth else boxes[id(record)]
            annotation_id, score = truth["id"] if truth else None, float(record["score"]) if record else None
            one = OddLabel(kind, float(doubt), image, tuple(place), annotation_id, own, found, score)
            area = truth["area"] if truth else float(rle_tools.area((record or {})["segmentation"]))
            odd[kind].append((doubt * min(1, area / usual[label]) ** SMALLER, score or 0, one))
        kinds = [sorted(ones, key=lambda one: one[:2], reverse=True) for ones in odd.values()]
        turns = ([one for one in turn if one is not None] for turn in zip_longest(*kinds))
        ordered = [one for turn in turns for *_, one in sorted(turn, key=lambda one: -one[0])]
        return [one for one in ordered if one.doubt >= LEAST_DOUBT][:LISTED]


def _cases(image: Matching, dataset: CocoDataset) -> Iterator[Case]:
    """Yield the disagreements of an image."""
    overlap, entry = image.iou.max(1, initial=0), dataset.images[image.index]
    unlabelled: list[Any] = []  # masks; one object may be found as two classes
    for row in np.flatnonzero((overlap < BACKGROUND_IOU) & ~image.in_crowd & (image.scores >= SHOWN_SCORE)):
        mask = image.records[row]["segmentation"]
        if not unlabelled or rle_tools.iou([mask], unlabelled, [0] * len(unlabelled)).max() < FOUND_IOU:
            unlabelled.append(mask)
            yield Case("not labelled", 1, image.index, None, image.records[row])
    finders = {column: row for row, column in enumerate(image.matches.tolist())}
    items = {item.id: item for item in dataset.objects(image.index)}
    for column, (truth, size) in enumerate(zip(image.truth, size_steps(image).tolist(), strict=True)):
        item = items.get(truth["id"])
        if item is not None:
            runs = encode(item.segmentation, (entry.height, entry.width))
            if "box-unlike-mask" in dict(object_faults(item, runs, entry)):
                yield Case("box unlike mask", 1, image.index, truth, None)
                continue
        iou, is_same = image.iou[:, column], image.labels == image.truth_labels[column]
        is_free = (image.matches < 0) & (image.scores >= SHOWN_SCORE)
        own = finders.get(column)
        first = len(iou) if own is None else own  # detections are in the order of their scores
        others = np.flatnonzero(~is_same[:first] & (iou[:first] >= FOUND_IOU) & is_free[:first])
        near = np.flatnonzero(is_same & (iou >= OUTLINE_IOU) & (iou == overlap) & is_free)
        found = [own] if own is not None and image.scores[own] >= SHOWN_SCORE else near
        if not len(others) and own is None and not len(near):
            others = np.flatnonzero(~is_same & (iou >= BACKGROUND_IOU) & is_free)
        if len(others):
            yield Case(
                "another class", min(1, iou[others[0]] / FOUND_IOU), image.index, truth, image.records[others[0]]
            )
        elif len(found):
            yield Case(
                "another outline", _misplaced(image, found[0], column), image.index, truth, image.records[found[0]]
            )
        elif own is None:
            yield Case("nothing there", 1 - iou.max(initial=0), image.index, truth, None, size)


def _misplaced(image: Matching, row: int, column: int) -> float:
    """Return the part of two outlines that differs, weighed by how alike their areas are.

    An object of just this size that lies elsewhere is a mistake. A part of it, or several as one, often is not: people
    and models end objects in different places.
    """
    areas = float(rle_tools.area(image.records[row]["segmentation"])), float(image.truth_areas[column])
    return float(1 - image.iou[row, column]) * min(areas) / max(*areas, 1)


def write_odd_labels(path: Path, odd: Sequence[OddLabel], dataset: CocoDataset) -> None:
    """Write them as JSON: a list of what `OddLabel` has, with the name of the image in place of its index."""
    content = []
    for one in odd:
        fields: dict[str, Any] = {"file_name": dataset.images[one.image].file_name, **one._asdict()}
        del fields["image"]
        content.append(fields)
    write_json(content, path, indent=1)


def draw_odd_labels(odd: Sequence[OddLabel], dataset: CocoDataset, records: Records) -> list[DrawnLabel]:
    """Draw the labels around each, and what the model finds there, with itself in red."""
    by_image: defaultdict[int, list[tuple[Record, Record]]] = defaultdict(list)
    for mask, box in zip(records["segm"], records["bbox"], strict=True):
        if mask["score"] >= SHOWN_SCORE:
            by_image[mask["image_id"]].append((mask, box))
    drawn = []
    for one in tqdm(odd, "odd labels", unit="label", disable=len(odd) < SLOW or None):
        image = dataset.images[one.image]
        view = _view(one.box, (image.height, image.width))
        pixels = _visible(dataset.open_image(one.image).read(view))
        scale = SIDE / max(pixels.shape[:2])
        truth = [item for item in dataset.objects(one.image, view) if not item.iscrowd]
        truth.sort(key=lambda item: item.area)
        found, _ = found_objects([pair for pair in by_image[image.id] if _is_in(pair[1]["bbox"], view)], dataset)
        left, right = (
            draw_objects(pixels, ones, dataset.categories, scale, view, labels=False) for ones in (truth, found)
        )
        for canvas in (left, right):
            factor = canvas.shape[1] / (view[2] - view[0])
            corner = (np.array(one.box[:2]) - view[:2]) * factor
            low, high = (
                np.round(point).astype(int).tolist() for point in (corner, corner + np.array(one.box[2:]) * factor)
            )
            cv2.rectangle(canvas, low, high, RED, 2)
        name = printable(image.file_name) + ("" if one.annotation_id is None else f", annotation {one.annotation_id}")
        sheet = side_by_side(left, right, ("label", "model"))
        drawn.append((one.kind, f"{name}: {one.text()}", encode_jpeg(sheet, 3 * SIDE)))
    return drawn


def _visible(pixels: Pixels) -> Pixels:
    """Return a dark part of an image with white as its brightest sample, so that faint objects are seen in it."""
    factor = 255 / max(int(pixels.max(initial=0)), 1)
    return np.rint(pixels * factor).astype(np.uint8) if factor > 255 / DARK else pixels


def _is_in(box: Sequence[float], view: View) -> bool:
    """Tell whether a part of the image shows something of a box (xywh)."""
    x, y, width, height = box
    return x < view[2] and y < view[3] and x + width > view[0] and y + height > view[1]


def _view(box: Sequence[float], image_size: tuple[int, int]) -> View:
    """Return a square around a box (xywh), as far as the image (H, W) goes."""
    x, y, width, height = box
    half = max(LEAST_VIEW, AROUND * max(width, height)) / 2
    middle = x + width / 2, y + height / 2
    x0, y0 = (min(max(0, int(place - half)), side - 1) for place, side in zip(middle, image_size[::-1], strict=True))
    x1, y1 = (min(side, int(place + half) + 1) for place, side in zip(middle, image_size[::-1], strict=True))
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)
