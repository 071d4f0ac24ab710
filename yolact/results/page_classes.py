"""The parts of an evaluation's page about classes and sizes: curves, AP, confusion."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolact.evaluation.confusion import SIZE_BORDERS, Shown, most_confused
from yolact.evaluation.curves import CURVES, RECALLS, SIZES, Curves
from yolact.evaluation.overlaps import FOUND_IOU
from yolact.evaluation.quality import SHOWN_SCORE
from yolact.pages.charts import Series, bar_chart
from yolact.pages.grid import count_grid
from yolact.pages.lines import Line, line_chart
from yolact.pages.markup import text
from yolact.pages.style import BLUE, ORANGE
from yolact.results.tables import number_table, sortable_table
from yolact.results.wording import KINDS
from yolact.text import counted

CURVE_COLOURS = (BLUE, ORANGE, "#1c2530")
CHOSEN_CLASSES = 300  # of those with most objects the curves are in the page
GRID_CLASSES = 100  # more cannot be told apart
PAIRS = 20
OUTSIDE_ROW, OUTSIDE_COLUMN = "no free object", "not found"


def curve_section(curves: Mapping[str, Curves], shown: Shown, names: Sequence[str]) -> str:
    """Return precision over recall for masks and boxes, of all classes or of the one that is chosen."""
    if not curves or np.isnan(curves["segm"].average()).all():
        return ""
    charts = "".join(
        f"<figure><figcaption><b>{KINDS[kind]}</b></figcaption>{_curve_chart(kind, one)}</figure>"
        for kind, one in curves.items()
    )
    frequent = np.sort(np.argsort(-shown.confusion[:-1].sum(1), kind="stable")[:CHOSEN_CLASSES]).tolist()
    offered = [label for label in frequent if not np.isnan(curves["segm"].precision[:, :, label]).any()]
    chooser = ""
    if len(offered) > 1:
        options = "".join(
            f'<option value="{place}">{text(names[label])}</option>' for place, label in enumerate(offered)
        )
        chooser = (
            '<p><label>Class: <select id="curve-class" disabled><option value="">mean of all classes</option>'
            f"{options}</select></label></p>"
            f'<script type="application/json" id="curves">{_curve_data(curves, offered)}</script>'
        )
    return (
        "<section><h2>Precision and recall</h2><p>The share of right detections (precision) at the score at which a "
        f"share of the objects is found (recall).</p>{chooser}"
        f'<div class="columns">{charts}</div></section>'
    )


def _curve_chart(kind: str, curves: Curves) -> str:
    lines = [
        Line(name, list(zip(RECALLS.tolist(), values.tolist(), strict=True)), colour)
        for name, values, colour in zip(CURVES, curves.average(), CURVE_COLOURS, strict=True)
    ]
    return line_chart(lines, "recall", "precision", (0, 1), (0, 1), name=kind)


def _curve_data(curves: Mapping[str, Curves], labels: Sequence[int]) -> str:
    """Return the curves of the classes as JSON: by kind, class and threshold, precision in thousandths."""
    thousandths = {kind: np.nan_to_num(1000 * one.precision[:, :, labels]).round() for kind, one in curves.items()}
    data = {kind: values.astype(int).transpose(2, 0, 1).tolist() for kind, values in thousandths.items()}
    return json.dumps(data, separators=(",", ":"))


def size_section(metrics: Mapping[str, Any], shown: Shown) -> str:
    """Return COCO's AP of small, medium and large objects, and the share found in finer steps of size."""
    if not shown.objects.sum():
        return ""
    borders = (0, *SIZE_BORDERS)
    small, large = borders.index(32), borders.index(96)
    counts = [int(part.sum()) for part in np.split(shown.objects, (small, large))]
    series = []
    for kind, colour in (("segm", BLUE), ("bbox", ORANGE)):
        values = [metrics[kind][key] for key in ("APs", "APm", "APl")]
        labels = ["-" if value is None else f"{value:.3f}" for value in values]
        series.append(Series(KINDS[kind], [value or 0.0 for value in values], colour, labels))
    places = [f"{size} ({count:,})" for size, count in zip(SIZES, counts, strict=True)]
    by_size = bar_chart(places, series, "AP by COCO's sizes: borders at 32 and 96; in brackets the objects", most=1)
    return (
        "<section><h2>Object size</h2><p>The size of an object is the square root of its area, in pixels of its "
        f'picture.</p><div class="columns"><figure>{by_size}</figure><figure>{_found_chart(shown)}</figure></div>'
        "</section>"
    )


def _found_chart(shown: Shown) -> str:
    borders = [0, *SIZE_BORDERS]
    names = [f"{low}-{high}" for low, high in pairwise(borders)] + [f"{borders[-1]}+"]
    occupied = np.flatnonzero(shown.objects)
    kept = range(int(occupied[0]), int(occupied[-1]) + 1)
    shares = [shown.found[place] / max(shown.objects[place], 1) for place in kept]
    labels = [f"{100 * share:.0f} %" if shown.objects[place] else "" for place, share in zip(kept, shares, strict=True)]
    axis = f"masks found, by size in pixels (score {SHOWN_SCORE:g}, IoU {FOUND_IOU:g})"
    return bar_chart([names[place] for place in kept], [Series("found", shares, BLUE, labels)], axis, most=1)


def class_section(curves: Mapping[str, Curves], shown: Shown, names: Sequence[str]) -> str:
    """Return the table of classes, the worst first, which a click sorts otherwise."""
    if len(names) < 2 or not curves:
        return ""
    objects = shown.confusion[:-1].sum(1)
    masks, boxes = curves["segm"].per_class(), curves["bbox"].per_class()
    table = np.column_stack([masks[:, [2, 0, 1]], curves["segm"].by_size, boxes[:, [2, 0, 1]]])
    order = np.argsort(masks[:, 2], kind="stable")  # those without objects last
    rows = [(text(names[label]), [int(objects[label]), *map(_known, table[label].tolist())]) for label in order]
    heads = ("class", "objects", "mask AP", "AP50", "AP75", "APs", "APm", "APl", "box AP", "AP50", "AP75")
    return f"<section><h2>Classes</h2>{sortable_table(heads, rows)}</section>"


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def confusion_section(shown: Shown, names: Sequence[str]) -> str:
    """Return which classes are taken for which: the most confused pairs, and the matrix."""
    if not shown.confusion.any():
        return ""
    pairs = most_confused(shown.confusion, names, PAIRS)
    parts = [
        "<section><h2>Confusion</h2><p>Objects (rows) and the masks that lie on them (columns): IoU "
        f"{FOUND_IOU:g} or more, score {SHOWN_SCORE:g} or more. A cell is the darker the larger its share of its row. "
        f"&ldquo;{OUTSIDE_COLUMN}&rdquo;: no mask lies on the object; &ldquo;{OUTSIDE_ROW}&rdquo;: the mask lies on "
        "background, or on an object that a better one has found.</p>"
    ]
    if len(names) > 1:
        rows = [
            [text(pair.truth), f"{pair.objects:,}", f"{100 * pair.share:.1f} %", text(pair.taken_for)] for pair in pairs
        ]
        heads = ["object", "times", "of its class", "taken for"]
        parts.append(number_table(heads, rows) if rows else "<p>No class is taken for another.</p>")
    matrix, kept = _shown_classes(shown.confusion)
    if len(kept) < len(names):
        parts.append(f"<p>The {counted(len(kept), 'class', 'classes')} that are confused most, of {len(names):,}:</p>")
    own = [names[label] for label in kept]
    said = "{row} / {column}: {count}, {share} of the row"
    parts.append(f'<div class="scroll">{count_grid(matrix, [*own, OUTSIDE_ROW], [*own, OUTSIDE_COLUMN], said)}</div>')
    return "".join([*parts, "</section>"])


def _shown_classes(confusion: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """Return the matrix of the classes that are drawn, and these, in order of their labels."""
    classes = confusion[:-1, :-1].copy()
    if len(classes) <= GRID_CLASSES:
        return confusion, list(range(len(classes)))
    np.fill_diagonal(classes, 0)
    wrong = classes.sum(0) + classes.sum(1)
    kept = np.sort(np.argsort(-wrong, kind="stable")[:GRID_CLASSES])
    rows = np.append(kept, len(classes))
    return confusion[np.ix_(rows, rows)], kept.tolist()
