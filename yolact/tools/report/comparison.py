"""Several evaluations side by side, the first being what the others are measured against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from yolact.tools.pages import COLOURS, render
from yolact.tools.report.charts import bar_chart, line_chart
from yolact.tools.report.curves import smooth
from yolact.tools.report.runs import Run, Table, measured_on
from yolact.tools.report.sections import Cell, Section, cells, text_of
from yolact.tools.report.words import ERRORS, KINDS, decimals

MOST_ROWS = 30  # of a table on a terminal
LOSSES_SHOWN = 0.98  # of the smoothed losses; the first ones may be many times as high as all others
SPEED, LOSS = "frames per second", "sum of the weighted losses, smoothed"


def comparison_text(runs: Sequence[Run]) -> str:
    """Return the tables for a terminal."""
    heading = [f"{run.letter}  {run.path}  (metrics: {run.source})" for run in runs]
    groups = [metric_sections(runs), *_other_sections(runs)]
    sections = [Section("Runs", notes=[*heading, data_verdict(runs)[1]]), *(one for group in groups for one in group)]
    return text_of(sections, MOST_ROWS, "the page that --output writes")


def comparison_page(runs: Sequence[Run]) -> str:
    """Return the page, with charts of the errors and of what training runs have logged."""
    same, verdict = data_verdict(runs)
    charts = [Section("Errors", charts=_error_charts(runs)), Section("Learning", charts=_learning_charts(runs))]
    drawn = [[section] for section in charts if section.charts]
    return render(
        "report.html",
        title="Comparison of " + ", ".join(run.letter for run in runs),
        runs=runs,
        verdict=verdict,
        verdict_kind={True: "good", False: "error", None: "warning"}[same],
        groups=[metric_sections(runs), *drawn, *_other_sections(runs)],
    )


def metric_sections(runs: Sequence[Run]) -> list[Section]:
    """Compare the metrics of masks and boxes; what an evaluation does not have is "missing"."""
    return [_section(name, runs, [run.table(kind) for run in runs]) for kind, name in KINDS.items()]


def speed_section(runs: Sequence[Run]) -> Section:
    """Compare frames per second and the milliseconds of each stage, as ratios."""
    tables: list[Table] = []
    for run in runs:
        fps = {SPEED: run.metrics["fps"]} if "fps" in run.metrics else {}
        tables.append(fps | {f"{name}, ms": value for name, value in run.table("milliseconds").items()})
    where = [measured_on(run.metrics) for run in runs]
    note = f"All on {where[0]}."
    if len(set(where)) > 1:
        each = "; ".join(f"{run.letter} on {one}" for run, one in zip(runs, where, strict=True))
        note = f"Measured in different ways: {each}. The times cannot be compared."
    section = _section("Speed", runs, tables, _one_decimal, _ratio, "/")
    return replace(section, notes=[note] if section.rows else [])


def data_verdict(runs: Sequence[Run]) -> tuple[bool | None, str]:
    """Say whether all were evaluated on the same images: True, False, or None where that cannot be known."""
    digests, files, counts = zip(*map(_data, runs), strict=True)
    texts = ["unknown data" if file is None else file for file in files]
    texts = [
        text if count is None else f"{count:,} images of {text}" for text, count in zip(texts, counts, strict=True)
    ]
    each = "; ".join(f"{run.letter} on {text}" for run, text in zip(runs, texts, strict=True))
    num_digests, num_files, num_counts = (len({*known} - {None}) for known in (digests, files, counts))
    certain = all(digests) and all(counts)
    if certain and num_digests == num_counts == 1:
        return True, f"All were evaluated on the same data: {texts[0]}."
    if num_digests > 1 and num_files == num_counts == 1:
        return False, f"Different data: the files are all named {files[0]}, but differ. The metrics do not compare."
    if certain or max(num_digests, num_files, num_counts) > 1:
        return False, f"Different data: {each}. The metrics do not compare."
    return None, f"Whether all were evaluated on the same images is not known: {each}."


def _data(run: Run) -> tuple[str | None, str | None, int | None]:
    """Return the digest of the annotation file, its name and the number of images, as far as they are written down."""
    metrics, configured = run.metrics, (run.config or {}).get("data.val_annotations")
    name = metrics.get("annotations") or (None if configured is None else Path(str(configured)).name)
    return metrics.get("annotations_sha256"), name, metrics.get("images")


def _other_sections(runs: Sequence[Run]) -> list[list[Section]]:
    """Return the tables after the metrics, those of masks and boxes in one group, without those that are empty."""
    errors, classes = [], []
    for kind, name in KINDS.items():
        costs = [run.table(f"errors.{kind}.dAP") for run in runs]
        errors.append(_section(f"AP50 that errors cost, {name}", runs, costs, compare=_cost))
        per_class = [run.table(f"per_class.{kind}") for run in runs]
        section = _section(f"AP per class, {name}, largest differences first", runs, per_class)
        if len(section.rows) > 1:  # the AP of one class is that of all
            rows = sorted(section.rows, key=lambda row: -_largest_difference(row, len(runs)))
            classes.append(replace(section, rows=rows))
    groups = [errors, classes, [speed_section(runs)], [_config_section(runs)]]
    told = ([section for section in group if section.rows or section.notes] for group in groups)
    return [group for group in told if group]


def _config_section(runs: Sequence[Run]) -> Section:
    """Return the configuration keys that do not have one value in all runs."""
    lacking = [run.letter for run in runs if run.config is None]
    if lacking:
        return Section("Configuration", notes=[f"There is no config.yaml for {' and '.join(lacking)}."])
    configs = [run.config or {} for run in runs]
    rows = []
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [_yaml(config[key]) if key in config else "(absent)" for config in configs]
        if len(set(values)) > 1:
            rows.append(cells(key, *values))
    heads, notes = ["", *(run.letter for run in runs)], [] if rows else ["No key differs."]
    return Section("Configuration", heads, rows, notes, words=range(len(heads)))


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _gain(_: str, first: float, other: float) -> Cell:
    # What is written decides, so that a difference of +0.000 is neither better nor worse.
    value = round(other - first, 3)
    return Cell(f"{value:+.3f}" if value else "0.000", (value > 0) - (value < 0))


def _section(
    title: str,
    runs: Sequence[Run],
    tables: Sequence[Table],
    write: Callable[[float | None], str] = decimals,
    compare: Callable[[str, float, float], Cell] = _gain,
    sign: str = "-",
) -> Section:
    """Return a row for each name in any of `tables`: its value in each run, and each compared with the first."""
    rows = []
    for name in dict.fromkeys(name for one in tables for name in one):
        shown = [Cell(write(one[name]) if name in one else "missing") for one in tables]
        first, *others = (one.get(name) for one in tables)
        compared = [Cell("-") if first is None or other is None else compare(name, first, other) for other in others]
        rows.append([Cell(name), *shown, *compared])
    letters = [run.letter for run in runs]
    return Section(title, ["", *letters, *(f"{letter} {sign} {letters[0]}" for letter in letters[1:])], rows)


def _cost(name: str, first: float, other: float) -> Cell:
    text, trend = _gain(name, first, other)
    return Cell(text, -trend)


def _one_decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _ratio(name: str, first: float, other: float) -> Cell:
    if first == 0:
        return Cell("-")
    shown = f"{other / first:.2f}"
    trend = (float(shown) > 1) - (float(shown) < 1)
    return Cell(f"x {shown}", trend if name == SPEED else -trend)


def _largest_difference(row: Sequence[Cell], num_runs: int) -> float:
    return max(-1.0 if cell.text == "-" else abs(float(cell.text)) for cell in row[1 + num_runs :])


def _error_charts(runs: Sequence[Run]) -> list[Markup]:
    """Draw what the kinds of errors cost, for the runs that say so."""
    charts = []
    for kind, name in KINDS.items():
        gains = {run.letter: found for run in runs if (found := run.table(f"errors.{kind}.dAP"))}
        if gains:
            costs = {letter: [one.get(key) for key in ERRORS] for letter, one in gains.items()}
            axis_name = f"AP at IoU 0.50 that each kind of error costs, {name}"
            write = decimals if len(gains) <= 2 else lambda _: ""  # more numbers would cover each other
            charts.append(bar_chart(list(ERRORS), costs, axis_name, write))
    return charts


def _learning_charts(runs: Sequence[Run]) -> list[Markup]:
    """Draw what training runs have logged; the first losses may leave the chart."""
    histories = {run.letter: run.history for run in runs if run.history}
    charts = []
    for name, values_of in (
        ("mask AP", lambda history: history.evaluated("segm", "AP")),
        ("box AP", lambda history: history.evaluated("bbox", "AP")),
        (LOSS, lambda history: history.totals()),
    ):
        found = {letter: values_of(history) for letter, history in histories.items()}
        curves = {letter: (list(one), list(one.values())) for letter, one in found.items() if one}
        if name == LOSS:
            curves = {letter: (steps, smooth(values).tolist()) for letter, (steps, values) in curves.items()}
        if curves:
            highest = np.quantile(np.concatenate([y for _, y in curves.values()]), LOSSES_SHOWN if name == LOSS else 1)
            charts.append(line_chart(curves, "step", name, 1.05 * float(highest) or 1, COLOURS))
    return charts


def nms_text(content: Mapping[str, Any]) -> str:
    """Return what compare_nms.json holds as tables for a terminal; the kinds of NMS stand side by side."""
    runs = [Run(kind, Path(), "", {**content, **one}, None, None) for kind, one in content["nms"].items()]
    what = (
        f"{content['config']}: {content['images']} images of {content['annotations']}; score threshold "
        f"{content['score_threshold']:g}, NMS at IoU {content['nms_threshold']:g}, at most "
        f"{content['max_detections']} detections of an image"
    )
    notes = [what, "fast and exact look at one class at a time, cross_class at all at once."]
    return text_of([Section("Kinds of NMS", notes=notes), *metric_sections(runs), speed_section(runs)], MOST_ROWS, "")
