"""What an evaluation leaves behind: its files, report.html among them, and tables for the terminal."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from yolact.config import Config, dump_config
from yolact.data.dataset import CocoDataset
from yolact.evaluation.confusion import SIZE_BORDERS, Shown, most_confused
from yolact.evaluation.curves import CURVES, RECALLS, Curves
from yolact.evaluation.overlaps import FOUND_IOU
from yolact.evaluation.quality import SHOWN_SCORE
from yolact.evaluation.speed import PAPER_DEFINITION
from yolact.output import write_bytes, write_json
from yolact.text import counted, percent, printable
from yolact.tools.pages import COLOURS, data_uri, render
from yolact.tools.report.charts import bar_chart, line_chart, small_multiples
from yolact.tools.report.gallery import GalleryImage, Records, write_gallery
from yolact.tools.report.runs import Metrics, measured_on, table
from yolact.tools.report.sections import ERRORS, KINDS, METRICS, Section, cells, decimals, text_of

CURVE_COLOURS = (COLOURS[0], COLOURS[1], "#1c2530")
TERMINAL_CLASSES = 100  # more help nobody on a terminal
DRAWN_CLASSES = 80  # of those with most objects the curves are drawn
GRID_CLASSES = 100  # of the confusion matrix; more cannot be told apart
PAIRS = 20


def write_report(
    folder: Path,
    metrics: Metrics,
    records: Records,
    curves: Mapping[str, Curves],
    shown: Shown,
    dataset: CocoDataset,
    config: Config,
    weights: Path,
    command: str,
) -> list[GalleryImage]:
    """Write metrics.json, detections_segm.json, detections_bbox.json, config.yaml, gallery/ and report.html.

    Args:
        folder: exists.
        metrics: what metrics.json shall hold, with "errors".
        records: mask and box records of the same detections, in the same order.
        curves: precision over recall, for "segm" and "bbox".
        shown: confusion and sizes among detections that people are shown.
        dataset: what was evaluated.
        config, weights, command: with what, as the page shall say.

    Returns:
        The images of the gallery.

    Raises:
        UserError: something cannot be written.
    """
    for kind in KINDS:
        write_json(records[kind], folder / f"detections_{kind}.json")
    write_json(metrics, folder / "metrics.json", indent=2)
    write_bytes(dump_config(config).encode(), folder / "config.yaml")
    gallery = write_gallery(folder / "gallery", dataset, records)
    names = [printable(name) for name in dataset.categories.names]
    sections = [_metric_section(metrics), _error_section(metrics)]
    if curves and not np.isnan(curves["segm"].average()).all():
        sections.append(_curve_section(curves))
    sections += [_size_section(shown)] if shown.objects.any() else []
    sections += [_class_section(curves, shown, names)] if len(names) > 1 and curves else []
    settings = config.eval
    facts = {
        "device": metrics["device"],
        "precision": metrics["dtype"],
        "score threshold": f"{settings.score_threshold:g}",
        "NMS": f"{metrics['nms']} at IoU {settings.nms_threshold:g}",
        "detections of an image": f"at most {metrics['max_detections']}",
        **metrics["versions"],
    }
    page = render(
        "evaluation.html",
        title=f"Evaluation: {printable(config.name)}",
        metrics=metrics,
        num_classes=len(names),
        weights=str(weights),
        decimals=decimals,
        drawn_classes=DRAWN_CLASSES,
        class_curves=_class_curves(curves, shown, names),
        groups=[[section] for section in (*sections, _speed_section(metrics))],
        pairs=most_confused(shown.confusion, names, PAIRS),
        grid=_grid(shown.confusion, names),
        shown_score=SHOWN_SCORE,
        found_iou=FOUND_IOU,
        gallery=gallery,
        data_uri=data_uri,
        command=command,
        facts=facts,
        config_text=dump_config(config),
    )
    write_bytes(page.encode(), folder / "report.html")
    return gallery


def terminal_text(metrics: Metrics) -> str:
    """Return the tables of an evaluation's metrics for a terminal."""
    per_class = {kind: table(metrics, f"per_class.{kind}") for kind in KINDS}
    known = sorted((value, name) for name, value in per_class["segm"].items() if value is not None)
    rows = [cells(name, decimals(value), decimals(per_class["bbox"].get(name))) for value, name in known]
    absent = len(per_class["segm"]) - len(known)
    notes = [f"{counted(absent, 'class has', 'classes have')} no objects here."] if absent else []
    classes = [Section("AP per class, worst first", ["", "masks", "boxes"], rows, notes)] if len(rows) > 1 else []
    sections = [_metric_section(metrics), *classes, _error_section(metrics), _speed_section(metrics)]
    return text_of(sections, TERMINAL_CLASSES, "metrics.json")


def _metric_section(metrics: Metrics) -> Section:
    masks, boxes = table(metrics, "segm"), table(metrics, "bbox")
    keys = dict.fromkeys([*masks, *boxes])
    rows = [cells(key, decimals(masks.get(key)), decimals(boxes.get(key)), METRICS.get(key, "")) for key in keys]
    return Section("Metrics", ["", "masks", "boxes", ""], rows, words=(0, 3))


def _error_section(metrics: Metrics) -> Section:
    """Return the errors as TIDE sorts them, with what AP50 would gain without each kind."""
    errors = [metrics["errors"][kind] for kind in KINDS]
    ap50 = [decimals(one["AP50"]) for one in errors]
    if ap50 == ["-", "-"]:
        return Section("Errors", notes=["There are no objects to find."])
    rows = []
    for kind, text in {
        **ERRORS,
        "false_positive": "every detection that finds nothing, ranked last",
        "false_negative": "every object that is not found, taken away",
    }.items():
        gains = [decimals(one["dAP"][kind]) for one in errors]
        counts = [f"{one['count'][kind]:,}" if kind in one["count"] else "" for one in errors]
        rows.append(cells(kind.replace("_", " "), *gains, *counts, text))
    costs = {name: [one["dAP"][kind] for kind in ERRORS] for name, one in zip(KINDS.values(), errors, strict=True)}
    notes = [
        f"How much higher AP at IoU 0.50 (masks {ap50[0]}, boxes {ap50[1]}) would be without the errors of one kind, as "
        "TIDE defines them (Bolya et al. 2020).",
        "Errors hide each other, so the costs do not add up. Detections of every score are counted.",
    ]
    chart = bar_chart(list(ERRORS), costs, "AP at IoU 0.50 that each kind of error costs", decimals)
    heads = ["", "costs, masks", "costs, boxes", "masks", "boxes", ""]
    return Section("Errors", heads, rows, notes, words=(0, 5), charts=[chart])


def _speed_section(metrics: Metrics) -> Section:
    stages = table(metrics, "milliseconds")
    rows = [cells(name, f"{value:.1f}") for name, value in stages.items()]
    notes = []
    if metrics["fps"] is not None:
        notes = [
            f"{metrics['fps']:.1f} frames per second: {PAPER_DEFINITION}.",
            f"Measured on {measured_on(metrics)}.",
        ]
        if metrics["batch_size"] != 1:
            notes.append(f"The paper's frames per second are at batch 1, these at batch {metrics['batch_size']}.")
    heads = ["", "milliseconds per image, median"]
    chart = bar_chart(list(stages), {"": list(stages.values())}, heads[1], lambda value: f"{value:.1f}")
    return Section("Speed", heads, rows, notes, charts=[chart])


def _curve_section(curves: Mapping[str, Curves]) -> Section:
    """Return precision over recall for masks and boxes, the mean of all classes."""
    charts = []
    for kind, one in curves.items():
        lines = {name: (RECALLS, values) for name, values in zip(CURVES, one.average(), strict=True)}
        charts.append(line_chart(lines, "recall", f"precision, {KINDS[kind]}", 1.02, CURVE_COLOURS))
    note = "The share of right detections (precision) at the score at which a share of the objects is found (recall)."
    return Section("Precision and recall", notes=[note], charts=charts)


def _class_curves(curves: Mapping[str, Curves], shown: Shown, names: Sequence[str]) -> Markup | None:
    """Draw the mask curves of the classes with most objects."""
    if not curves:
        return None
    frequent = np.sort(np.argsort(-shown.confusion[:-1].sum(1), kind="stable")[:DRAWN_CLASSES])
    precision = curves["segm"].precision
    drawn = {names[label]: precision[..., label] for label in frequent if not np.isnan(precision[..., label]).any()}
    return small_multiples(drawn, RECALLS, CURVE_COLOURS) if len(drawn) > 1 else None


def _size_section(shown: Shown) -> Section:
    """Return the share of the objects that was found, by their size."""
    borders = [0, *SIZE_BORDERS]
    occupied = np.flatnonzero(shown.objects)
    kept = slice(int(occupied[0]), int(occupied[-1]) + 1)
    steps = [*(f"{low}-{high}" for low, high in pairwise(borders)), f"{borders[-1]}+"]
    names = [f"{step}\n({count:,})" for step, count in zip(steps, shown.objects.tolist(), strict=True)]
    shares = [
        found / count if count else None
        for found, count in zip(shown.found.tolist(), shown.objects.tolist(), strict=True)
    ]
    axis_name = f"masks found, by size in pixels; score {SHOWN_SCORE:g}, IoU {FOUND_IOU:g}; in brackets the objects"
    chart = bar_chart(
        names[kept], {"": shares[kept]}, axis_name, lambda value: "" if value is None else percent(value), 1
    )
    note = "The size of an object is the square root of its area, in pixels of its image."
    return Section("Object size", notes=[note], charts=[chart])


def _class_section(curves: Mapping[str, Curves], shown: Shown, names: Sequence[str]) -> Section:
    objects = shown.confusion[:-1].sum(1)
    masks, boxes = curves["segm"].per_class()[:, [2, 0, 1]], curves["bbox"].per_class()[:, [2, 0, 1]]
    values = np.hstack([masks, curves["segm"].by_size, boxes])
    rows = []
    for label in np.argsort(masks[:, 0], kind="stable"):  # those without objects last
        written = ["-" if np.isnan(value) else f"{value:.3f}" for value in values[label]]
        rows.append(cells(names[label], f"{objects[label]:,}", *written))
    heads = ["class", "objects", "mask AP", "AP50", "AP75", "APs", "APm", "APl", "box AP", "AP50", "AP75"]
    return Section("Classes", heads, rows, ["The worst first."])


def _grid(confusion: NDArray[np.int64], names: Sequence[str]) -> dict[str, Any]:
    """Return the names and counts of the confusion matrix of all classes, or of those that are confused most."""
    kept = np.arange(len(names))
    if len(names) > GRID_CLASSES:
        others = confusion[:-1, :-1] * (1 - np.eye(len(names), dtype=np.int64))
        kept = np.sort(np.argsort(-(others.sum(0) + others.sum(1)), kind="stable")[:GRID_CLASSES])
    own = [names[label] for label in kept]
    kept = np.append(kept, len(names))
    return {
        "columns": [*own, "not found"],
        "rows": list(zip([*own, "no free object"], confusion[np.ix_(kept, kept)].tolist(), strict=True)),
    }
