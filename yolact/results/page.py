"""The page of an evaluation as one HTML file: no outside requests, every text escaped, one script of our own."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yolact.config import Config, dump_config
from yolact.data.categories import Categories
from yolact.evaluation.analysis import Analysis
from yolact.evaluation.quality import SHOWN_SCORE
from yolact.evaluation.run import Evaluation
from yolact.evaluation.speed import PAPER_DEFINITION, conditions
from yolact.gallery import GalleryPicture
from yolact.pages.charts import Series, bar_chart
from yolact.pages.markup import block, code, document, picture, table, text
from yolact.pages.style import BLUE, ORANGE
from yolact.results.page_classes import class_section, confusion_section, curve_section, size_section
from yolact.results.script import SCRIPT
from yolact.results.style import STYLE
from yolact.results.tables import number_table
from yolact.results.wording import ERRORS_EXPLAINED, EXPLAINED, explained, figure
from yolact.text import counted, printable


@dataclass(frozen=True)
class EvaluationReport:
    """What the page shows.

    Attributes:
        evaluation, analysis: of one data set.
        categories: its classes.
        gallery: its best and worst pictures.
        config: as it was used.
        weights: the checkpoint, as the user named it.
        command: what was run.
    """

    evaluation: Evaluation
    analysis: Analysis
    categories: Categories
    gallery: Sequence[GalleryPicture]
    config: Config
    weights: str
    command: str


def render(report: EvaluationReport) -> str:
    """Return the page."""
    evaluation, shown = report.evaluation, report.analysis.shown
    names = [printable(name) for name in report.categories.names]
    title = f"Evaluation: {report.config.name}"
    body = [
        f"<header><h1>{text(title)}</h1>{_heading(report)}</header>",
        _figures(evaluation.metrics),
        _errors(report.analysis),
        curve_section(evaluation.curves, shown, names),
        size_section(evaluation.metrics, shown),
        class_section(evaluation.curves, shown, names),
        confusion_section(shown, names),
        _pictures(report.gallery),
        _speed(evaluation.metrics),
        _made(report),
    ]
    return document(title, body, STYLE, SCRIPT)


def _heading(report: EvaluationReport) -> str:
    metrics = report.evaluation.metrics
    tiles = {"mask AP": figure(metrics["segm"]["AP"]), "box AP": figure(metrics["bbox"]["AP"])}
    if metrics["fps"] is not None:
        tiles["frames per second"] = f"{metrics['fps']:.1f}"
    shown = "".join(f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in tiles.items())
    what = (
        f"{counted(metrics['images'], 'picture')} of {code(metrics['annotations'])}, "
        f"{counted(len(report.categories), 'class', 'classes')}; weights {code(report.weights)}; "
        f"{text(metrics['device'])}, {text(metrics['dtype'])}"
    )
    return f'<p>{what}</p><div class="tiles">{shown}</div>'


def _figures(metrics: Mapping[str, Any]) -> str:
    rows = [
        [key, figure(metrics["segm"][key]), figure(metrics["bbox"][key]), text(explained(key, most))]
        for most in [metrics["max_detections"]]
        for key in EXPLAINED
    ]
    return f"<section><h2>Figures</h2>{number_table(['', 'masks', 'boxes', ''], rows)}</section>"


def _errors(analysis: Analysis) -> str:
    """Return the errors as TIDE sorts them, with what AP50 would gain without each kind."""
    masks, boxes = analysis.errors["segm"], analysis.errors["bbox"]
    if masks.ap50 is None and boxes.ap50 is None:
        return "<section><h2>Errors</h2><p>There are no objects to find.</p></section>"
    series = [
        Series(name, [errors.gains[kind] or 0.0 for kind in ERRORS_EXPLAINED], colour, _gain_labels(errors.gains))
        for name, errors, colour in (("masks", masks, BLUE), ("boxes", boxes, ORANGE))
    ]
    highest = max(value for one in series for value in one.values)
    # A little room keeps the highest label off the legend.
    chart = bar_chart(list(ERRORS_EXPLAINED), series, "AP at IoU 0.50 that each kind of error costs", 1.1 * highest)
    rows: list[list[Any]] = [
        [
            kind,
            *(figure(errors.gains[kind]) for errors in (masks, boxes)),
            *(f"{errors.counts[kind]:,}" for errors in (masks, boxes)),
            text(explanation),
        ]
        for kind, explanation in ERRORS_EXPLAINED.items()
    ]
    rows += [
        [name, *(figure(errors.gains[key]) for errors in (masks, boxes)), "", "", text(explanation)]
        for name, key, explanation in (
            ("false positives", "false_positive", "every detection that finds nothing, below all the others"),
            ("not found", "false_negative", "every object that is not found, taken away"),
        )
    ]
    heads = ["", "costs, masks", "costs, boxes", "masks", "boxes", ""]
    return (
        "<section><h2>Errors</h2><p>How much higher AP at IoU 0.50 "
        f"(masks {figure(masks.ap50)}, boxes {figure(boxes.ap50)}) would be if the errors of one kind were mended, as "
        "TIDE defines them (Bolya et al. 2020). Errors hide each other, so the costs do not add up. Detections of "
        f"every score are counted.</p><figure>{chart}</figure>{number_table(heads, rows)}</section>"
    )


def _gain_labels(gains: Mapping[str, float | None]) -> list[str]:
    return [figure(gains[kind]) for kind in ERRORS_EXPLAINED]


def _pictures(gallery: Sequence[GalleryPicture]) -> str:
    best = [one for one in gallery if one.kind == "best"]
    worst = [one for one in gallery if one.kind == "worst"]
    if not gallery:
        return ""
    parts = [
        "<section><h2>Worst pictures</h2><p>Left the ground truth, right the detections that score "
        f"{SHOWN_SCORE:g} or more. Quality is F1 at mask IoU 0.5 times the mean IoU of what was found.</p>",
        "".join(map(_compared, worst)) or "<p>There is only one picture: see below.</p>",
        f"<details{'' if worst else ' open'}><summary>Best pictures</summary>{''.join(map(_compared, best))}</details>",
        "</section>",
    ]
    return "".join(parts)


def _compared(one: GalleryPicture) -> str:
    quality = one.quality
    caption = (
        f"<b>{text(one.file_name)}</b>: quality {quality.quality:.2f}, {quality.found:,} found, "
        f"{quality.missed:,} missed, {quality.wrong:,} wrong"
    )
    shown = picture(one.jpeg, one.file_name)
    return f'<figure class="compared">{shown}<figcaption>{caption}</figcaption></figure>'


def _speed(metrics: Mapping[str, Any]) -> str:
    stages = metrics["milliseconds"]
    bars = [Series("ms", list(stages.values()), BLUE, [f"{value:.1f}" for value in stages.values()])]
    chart = bar_chart(list(stages), bars, f"milliseconds per picture, median, batch {metrics['batch_size']}")
    said = ""
    if metrics["fps"] is not None:
        where = f"Measured on {text(conditions(metrics))}."
        said = f"<p><b>{metrics['fps']:.1f} frames per second</b>: {text(PAPER_DEFINITION)}. {where}</p>"
    return f"<section><h2>Speed</h2>{said}<figure>{chart}</figure></section>"


def _made(report: EvaluationReport) -> str:
    """Return how this was made: command, versions and configuration."""
    metrics = report.evaluation.metrics
    settings = report.config.eval
    facts = {
        "device": metrics["device"],
        "precision": metrics["dtype"],
        "score threshold": f"{settings.score_threshold:g}",
        "NMS": f"{metrics['nms']} at IoU {settings.nms_threshold:g}",
        "detections of a picture": f"at most {metrics['max_detections']}",
        **metrics["versions"],
    }
    return (
        f"<section><h2>How this was made</h2>{block(report.command)}{table(['', ''], _fact_rows(facts))}"
        f"<details><summary>Configuration</summary>{block(dump_config(report.config))}</details></section>"
    )


def _fact_rows(facts: Mapping[str, Any]) -> Iterable[list[str]]:
    return ([text(name), code(str(value))] for name, value in facts.items())
