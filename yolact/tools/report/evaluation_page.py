"""What an evaluation leaves behind: its files, report.html among them, and tables for the terminal."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.config import Config, dump_config
from yolact.data.dataset import CocoDataset
from yolact.evaluation.analysis import SHOWN_SCORE, SIZE_BORDERS, Shown, Trust, analyse, most_confused
from yolact.evaluation.coco import CURVES, RECALLS, Curves
from yolact.evaluation.matching import FOUND_IOU
from yolact.evaluation.run import Evaluation
from yolact.evaluation.speed import PAPER_DEFINITION
from yolact.output import write_bytes, write_json
from yolact.text import counted, percent, printable, size_text
from yolact.tools.pages import COLOURS, render
from yolact.tools.report.charts import bar_chart, line_chart
from yolact.tools.report.gallery import GalleryImage, Records, write_gallery
from yolact.tools.report.odd_labels import DRAWN, OddLabel, OddLabels, draw_odd_labels, write_odd_labels
from yolact.tools.report.odd_labels import KINDS as ODD_KINDS
from yolact.tools.report.runs import Metrics, measured_on, table
from yolact.tools.report.sections import ERRORS, KINDS, METRICS, Section, cells, decimals, text_of

CURVE_COLOURS = (COLOURS[0], COLOURS[1], "#1c2530")
TERMINAL_CLASSES = 100  # more help nobody on a terminal
DRAWN_CLASSES = 80  # of those with most objects the curves are drawn
GRID_CLASSES = 100  # of the confusion matrix; more cannot be distinguished
PAIRS = 20


class Analysis(NamedTuple):
    """What lies behind the metrics of an evaluation."""

    records: Records  # of masks and boxes, of the same detections in the same order
    errors: dict[str, Any]  # of both, as metrics.json holds them
    shown: Shown
    trust: Trust
    odd_labels: list[OddLabel]

    @classmethod
    def of(cls, dataset: CocoDataset, evaluation: Evaluation) -> "Analysis":
        """Look at all that was found in a data set."""
        records: Records = {"segm": evaluation.segm, "bbox": evaluation.bbox}
        num_classes = len(dataset.categories)
        shown, trust, odd_labels = Shown(num_classes), Trust(num_classes), OddLabels(dataset)
        errors = analyse(dataset, records, (shown, trust, odd_labels))
        return cls(records, errors, shown, trust, odd_labels.ranked(trust, records))


def write_report(
    folder: Path, metrics: Metrics, curves: Mapping[str, Curves], analysis: Analysis, dataset: CocoDataset,
    config: Config, weights: Path, command: str,
) -> list[GalleryImage]:  # fmt: skip
    """Write metrics.json, detections_*.json, config.yaml, odd_labels.json, gallery/ and report.html.

    Args:
        folder: exists; a UserError says that something cannot be written.
        metrics: what metrics.json shall hold, with "errors".
        curves: of masks and boxes.
        dataset: what was evaluated; with what say `config`, `weights` and `command`.

    Returns the images of the gallery.
    """
    records, shown, odd = analysis.records, analysis.shown, analysis.odd_labels
    for kind, found in records.items():
        write_json(found, folder / f"detections_{kind}.json")
    write_json(metrics, folder / "metrics.json", indent=2)
    write_bytes(dump_config(config).encode(), folder / "config.yaml")
    gallery = write_gallery(folder / "gallery", dataset, records, shown.qualities)
    write_odd_labels(folder / "odd_labels.json", odd, dataset)
    names = [printable(name) for name in dataset.categories.names]
    sections = [_metric_section(metrics), _error_section(metrics)]
    if curves and not np.isnan(curves["segm"].average()).all():
        sections.append(_curve_section(curves))
    if shown.objects.any():
        sections.append(_size_section(shown))
    if curves:
        sections.append(_class_section(curves, shown, analysis.trust, names))
    sections += [_speed_section(metrics), _confusion_section(shown, names)]
    cut = metrics.get("tiles")
    tiles = {"mask AP": decimals(metrics["segm"]["AP"]), "box AP": decimals(metrics["bbox"]["AP"])}
    page = render(
        "evaluation.html",
        title=f"Evaluation: {printable(config.name)}",
        metrics=metrics,
        num_classes=len(names),
        weights=str(weights),
        tiles=tiles | ({} if metrics["fps"] is None else {"frames per second": decimals(metrics["fps"], 1)}),
        groups=[[section] for section in sections],
        **_matrix(shown.confusion, names),
        class_curves=_class_curves(curves, shown, names) if len(names) > 1 and curves else {},
        drawn_classes=DRAWN_CLASSES,
        colours=CURVE_COLOURS,
        shown_score=SHOWN_SCORE,
        found_iou=FOUND_IOU,
        gallery=gallery,
        odd_labels=draw_odd_labels(odd[:DRAWN], dataset, records),
        odd_kinds=ODD_KINDS,
        num_odd=len(odd),
        command=command,
        facts={
            "device": metrics["device"],
            "runtime": metrics.get("runtime", "PyTorch"),
            "precision": metrics["dtype"],
            "score threshold": config.eval.score_threshold,
            "NMS": f"{metrics['nms']} at IoU {config.eval.nms_threshold:g}",
            "flips": ", ".join(metrics.get("flips", ())) or "none",
            "tiles": f"{size_text(cut['size'])} pixels, {cut['overlap']} of them shared" if cut else "none",
            f"most detections of {'a tile' if cut else 'an image'}": metrics["max_detections"],
            **metrics["versions"],
        },
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
    errors = {name: metrics["errors"][kind] for kind, name in KINDS.items()}
    ap50 = [decimals(one["AP50"]) for one in errors.values()]
    if ap50 == ["-", "-"]:
        return Section("Errors", notes=["There are no objects to find."])
    totals = {
        "false_positive": "every detection that finds nothing, ranked last",
        "false_negative": "every object that is not found, taken away",
    }
    rows = []
    for kind, text in (ERRORS | totals).items():
        counts = ["" if kind in totals else f"{one['count'][kind]:,}" for one in errors.values()]
        gains = [decimals(one["dAP"][kind]) for one in errors.values()]
        rows.append(cells(kind.replace("_", " "), *gains, *counts, text))
    notes = [
        f"How much higher AP50 (masks {ap50[0]}, boxes {ap50[1]}) would be without the errors of one kind, as TIDE "
        "defines them (Bolya et al. 2020).",
        "Errors hide each other, so the costs do not add up. Detections of every score count.",
    ]
    costs = {name: [one["dAP"][kind] for kind in ERRORS] for name, one in errors.items()}
    chart = bar_chart(list(ERRORS), costs, "AP50 that each kind of error costs", decimals)
    return Section("Errors", ["", "costs, masks", "costs, boxes", "masks", "boxes", ""], rows, notes, (0, 5), [chart])


def _speed_section(metrics: Metrics) -> Section:
    stages, heads, notes = table(metrics, "milliseconds"), ["", "milliseconds per image, median"], []
    if metrics["fps"] is not None:
        together = counted(metrics["batch_size"], "tile" if metrics.get("tiles") else "image")
        notes = [
            f"{metrics['fps']:.1f} frames per second: {PAPER_DEFINITION.format(together)}.",
            f"Measured on {measured_on(metrics)}; the paper's are at batch 1.",
        ]
    chart = bar_chart(list(stages), {"": list(stages.values())}, heads[1], lambda value: decimals(value, 1))
    return Section("Speed", heads, [cells(name, decimals(ms, 1)) for name, ms in stages.items()], notes, charts=[chart])


def _curve_section(curves: Mapping[str, Curves]) -> Section:
    """Return precision over recall for masks and boxes, the mean of all classes."""
    charts = []
    for kind, one in curves.items():
        lines = {name: (RECALLS, values) for name, values in zip(CURVES, one.average(), strict=True)}
        charts.append(line_chart(lines, "recall", f"precision, {KINDS[kind]}", 1.02, CURVE_COLOURS))
    note = "The share of right detections (precision) at the score at which a share of the objects is found (recall)."
    return Section("Precision and recall", notes=[note], charts=charts)


def _class_curves(curves: Mapping[str, Curves], shown: Shown, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the mask curves of the classes with most objects, as points of SVG in a square of side 100."""
    frequent = np.sort(np.argsort(-shown.confusion[:-1].sum(1), kind="stable")[:DRAWN_CLASSES])
    percent = {names[label]: 100 * curves["segm"].precision[..., label] for label in frequent}
    return {
        name: [" ".join(f"{x},{100 - y:.1f}" for x, y in enumerate(line)) for line in lines]
        for name, lines in percent.items()
        if not np.isnan(lines).any()
    }


def _size_section(shown: Shown) -> Section:
    """Return the share of the objects that was found, by their size."""
    steps = [*(f"{low}-{high}" for low, high in pairwise((0, *SIZE_BORDERS))), f"{SIZE_BORDERS[-1]}+"]
    occupied = np.flatnonzero(shown.objects)
    names, shares = [], []
    for index in range(occupied[0], occupied[-1] + 1):
        count = int(shown.objects[index])
        names.append(f"{steps[index]}\n({count:,})")
        shares.append(shown.found[index] / count if count else None)
    axis_name = f"masks found, by size in pixels; score {SHOWN_SCORE:g}, IoU {FOUND_IOU:g}; in brackets the objects"
    chart = bar_chart(names, {"": shares}, axis_name, lambda share: "" if share is None else percent(share), 1)
    note = "The size of an object is the square root of its area, in pixels of its image."
    return Section("Object size", notes=[note], charts=[chart])


def _class_section(curves: Mapping[str, Curves], shown: Shown, trust: Trust, names: Sequence[str]) -> Section:
    objects = shown.confusion[:-1].sum(1)
    masks, boxes = curves["segm"].per_class()[:, [2, 0, 1]], curves["bbox"].per_class()[:, [2, 0, 1]]
    values = np.hstack([masks, curves["segm"].by_size, boxes])
    written = [["-" if np.isnan(value) else f"{value:.3f}" for value in row] for row in values]
    order = np.argsort(masks[:, 0], kind="stable")  # those without objects last
    best = [("-", "-") if one is None else (f"{one[0]:.12g}", f"{one[1]:.3f}") for one in trust.best_thresholds()]
    rows = [cells(names[label], f"{objects[label]:,}", *written[label], *best[label]) for label in order]
    heads = ["class", "objects", "mask AP", "AP50", "AP75", "APs", "APm", "APl", "box AP", "AP50", "AP75"]
    note = f'The worst first. F1 of masks (IoU {FOUND_IOU:g}) is highest where scores above "best above" are shown.'
    return Section("Classes", [*heads, "best above", "F1"], rows, [note])


def _confusion_section(shown: Shown, names: Sequence[str]) -> Section:
    """Return which classes are taken for which; the matrix stands below it."""
    pairs = most_confused(shown.confusion, names, PAIRS)
    rows = [cells(pair.truth, pair.taken_for, f"{pair.objects:,}", percent(pair.share)) for pair in pairs]
    notes = [
        f"Objects (rows of the matrix) and the masks on them (columns): IoU {FOUND_IOU:g} or more, score "
        f"{SHOWN_SCORE:g} or more. A cell is the darker the larger its share of its row. Not found: no mask lies on "
        "the object; no free object: the mask lies on background, or on an object that a better one has found.",
        "The most frequent mistakes:" if rows else "No class is taken for another.",
        *([f"The matrix has the {GRID_CLASSES} classes that are confused most."] if len(names) > GRID_CLASSES else []),
    ]
    return Section("Confusion", ["object", "taken for", "times", "of its class"], rows, notes, words=(0, 1))


def _matrix(confusion: NDArray[np.int64], names: Sequence[str]) -> dict[str, list[Any]]:
    """Return rows, columns and counts of the confusion matrix, of the classes that are confused most."""
    others = confusion[:-1, :-1] * (1 - np.eye(len(names), dtype=np.int64))
    kept = np.sort(np.argsort(-(others.sum(0) + others.sum(1)), kind="stable")[:GRID_CLASSES])
    own, kept = [names[label] for label in kept], np.append(kept, len(names))
    counts = confusion[np.ix_(kept, kept)].tolist()
    return {"rows": [*own, "no free object"], "columns": [*own, "not found"], "counts": counts}
