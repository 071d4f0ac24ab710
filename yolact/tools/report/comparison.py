"""Several evaluations side by side, the first being what the others are measured against."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from yolact.tools.pages import COLOURS, render
from yolact.tools.report.charts import line_chart
from yolact.tools.report.curves import History, smooth
from yolact.tools.report.runs import Run, Table, measured_on, table
from yolact.tools.report.sections import KINDS, Cell, Section, cells, decimals, text_of

MOST_ROWS = 30  # of a table on a terminal
LOSSES_SHOWN = 0.98  # of the smoothed losses; the first ones may be many times as high as all others
FPS, LOSS = "frames per second", "sum of the weighted losses, smoothed"


def comparison_text(runs: Sequence[Run]) -> str:
    """Return the tables for a terminal."""
    listed = [f"{run.letter}  {run.path}  (metrics: {run.source})" for run in runs]
    heading = Section("Runs", notes=[*listed, data_verdict(runs)[1]])
    return text_of([heading, *(one for group in compare(runs) for one in group)], MOST_ROWS, "the page of --output")


def comparison_page(runs: Sequence[Run]) -> str:
    """Return the page, with charts of what training runs have logged."""
    same, verdict = data_verdict(runs)
    metrics, *others = compare(runs)
    learning = Section("Learning", charts=_learning_charts(runs))
    return render(
        "report.html",
        title="Comparison of " + ", ".join(run.letter for run in runs),
        runs=runs,
        verdict=verdict,
        verdict_kind={True: "good", False: "error", None: "warning"}[same],
        groups=[metrics, *([[learning]] if learning.charts else []), *others],
    )


def nms_text(content: Mapping[str, Any]) -> str:
    """Return what compare_nms.json holds as tables for a terminal, the kinds of NMS side by side."""
    runs = [Run(kind, Path(), "", {**content, **one}, None, None) for kind, one in content["nms"].items()]
    what = "{config}: {images} images of {annotations}; score threshold {score_threshold:g}, "
    what += "NMS at IoU {nms_threshold:g}, at most {max_detections} detections of "
    what += "a tile" if content.get("tiles") else "an image"
    notes = [what.format_map(content), "fast and exact look at one class at a time, cross_class at all at once."]
    sections = [_section(name, runs, kind) for kind, name in KINDS.items()]
    return text_of([Section("Kinds of NMS", notes=notes), *sections, _speed_section(runs)], MOST_ROWS, "")


def compare(runs: Sequence[Run]) -> list[list[Section]]:
    """Return the tables, those of masks and boxes in one group, without those that have nothing to say."""
    metrics, errors, classes = [], [], []
    for kind, name in KINDS.items():
        metrics.append(_section(name, runs, kind))
        errors.append(_section(f"AP50 that errors cost, {name}", runs, f"errors.{kind}.dAP", better=-1))
        per_class = _section(f"AP per class, {name}, largest differences first", runs, f"per_class.{kind}")
        if len(per_class.rows) > 1:  # the AP of one class is that of all
            rows = sorted(per_class.rows, key=lambda row: -_largest_difference(row[1 + len(runs) :]))
            classes.append(replace(per_class, rows=rows))
    groups = [metrics, errors, classes, [_speed_section(runs)], [_config_section(runs)]]
    told = ([section for section in group if section.rows or section.notes] for group in groups)
    return [group for group in told if group]


def data_verdict(runs: Sequence[Run]) -> tuple[bool | None, str]:
    """Say whether all were evaluated on the same images: True, False, or None where that cannot be known."""
    known, texts = [], []
    for run in runs:
        digest, name, count = (run.metrics.get(key) for key in ("annotations_sha256", "annotations", "images"))
        if name is None and run.config and run.config.get("data.val_annotations") is not None:
            name = Path(str(run.config["data.val_annotations"])).name
        known.append((digest, name, count))
        texts.append(("" if count is None else f"{count:,} images of ") + (name or "unknown data"))
    each = _of_each(runs, texts)
    num_digests, num_names, num_counts = (len({*values} - {None}) for values in zip(*known, strict=True))
    certain = all(digest and count for digest, _, count in known)
    if certain and num_digests == num_counts == 1:
        return True, f"All were evaluated on the same data: {texts[0]}."
    if num_digests > 1 and num_names == num_counts == 1:
        return False, f"Different data: the files are all named {known[0][1]}, but differ. The metrics do not compare."
    if certain or max(num_digests, num_names, num_counts) > 1:
        return False, f"Different data: {each}. The metrics do not compare."
    return None, f"Whether all were evaluated on the same images is not known: {each}."


def _of_each(runs: Sequence[Run], texts: Sequence[str]) -> str:
    return "; ".join(f"{run.letter} on {text}" for run, text in zip(runs, texts, strict=True))


def _section(
    title: str, runs: Sequence[Run], values: str | Sequence[Table], better: int = 1, ratio: bool = False
) -> Section:
    """Return a row for each name: its value in each run, "missing" where a run has none, and each against the first.

    Args:
        values: a dotted key of the metrics, or what each run has.
        better: 1 where more is better, -1 where less is.
        ratio: divide instead of subtracting; more is then better for frames per second alone.
    """
    tables = [table(run.metrics, values) for run in runs] if isinstance(values, str) else values
    rows = []
    for name in dict.fromkeys(name for one in tables for name in one):
        shown = [Cell(decimals(one[name], 1 if ratio else 3) if name in one else "missing") for one in tables]
        first, *others = (one.get(name) for one in tables)
        sign = -better if ratio and name != FPS else better
        rows.append([Cell(name), *shown, *(_difference(first, other, sign, ratio) for other in others)])
    letters, between = [run.letter for run in runs], "/" if ratio else "-"
    return Section(title, ["", *letters, *(f"{letter} {between} {letters[0]}" for letter in letters[1:])], rows)


def _difference(first: float | None, other: float | None, better: int, ratio: bool) -> Cell:
    if first is None or other is None or (ratio and first == 0):
        return Cell("-")
    # What is written decides, so that a difference of +0.000 is neither better nor worse.
    value = round(other / first - 1, 2) if ratio else round(other - first, 3)
    text = f"x {1 + value:.2f}" if ratio else f"{value:+.3f}" if value else "0.000"
    return Cell(text, better * ((value > 0) - (value < 0)))


def _largest_difference(row: Sequence[Cell]) -> float:
    return max(-1.0 if cell.text == "-" else abs(float(cell.text)) for cell in row)


def _speed_section(runs: Sequence[Run]) -> Section:
    """Compare frames per second and the milliseconds of each stage, as ratios."""
    tables: list[Table] = []
    for run in runs:
        fps = {FPS: run.metrics["fps"]} if "fps" in run.metrics else {}
        tables.append(fps | {f"{name}, ms": value for name, value in table(run.metrics, "milliseconds").items()})
    where = [measured_on(run.metrics) for run in runs]
    note = f"All on {where[0]}."
    if len(set(where)) > 1:
        note = f"Measured in different ways: {_of_each(runs, where)}. The times cannot be compared."
    section = _section("Speed", runs, tables, ratio=True)
    return replace(section, notes=[note] if section.rows else [])


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
    heads = ["", *(run.letter for run in runs)]
    return Section("Configuration", heads, rows, [] if rows else ["No key differs."], words=range(len(heads)))


def _yaml(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _learning_charts(runs: Sequence[Run]) -> list[Markup]:
    """Draw what training runs have logged; the first losses may leave the chart."""
    ways: dict[str, Callable[[History], dict[int, float]]] = {
        "mask AP": lambda history: history.metric("segm", "AP"),
        "box AP": lambda history: history.metric("bbox", "AP"),
        LOSS: lambda history: dict(zip(total := history.total_loss(), smooth(total).tolist(), strict=True)),
    }
    charts = []
    for name, values_of in ways.items():
        found = {run.letter: values_of(run.history) for run in runs if run.history}
        curves = {letter: (list(one), list(one.values())) for letter, one in found.items() if one}
        if curves:
            everything = [value for _, y in curves.values() for value in y]
            highest = float(np.quantile(everything, LOSSES_SHOWN if name == LOSS else 1))
            charts.append(line_chart(curves, "step", name, 1.05 * highest or 1, COLOURS))
    return charts
