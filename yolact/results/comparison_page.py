"""The comparison of several evaluations as one HTML file: no outside requests, every text escaped, no script."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import cycle

import numpy as np

from yolact.pages.charts import Series, bar_chart
from yolact.pages.lines import Line, line_chart
from yolact.pages.markup import code, document, text
from yolact.pages.style import COLOURS
from yolact.report import History, smooth
from yolact.results.comparison import Cell, Section, compare, data_verdict
from yolact.results.reading import Run
from yolact.results.style import STYLE
from yolact.results.wording import ERRORS_EXPLAINED, KINDS, figure

TRENDS = {-1: " worse", 0: "", 1: " better"}
LOSSES_SHOWN = 0.98  # of the smoothed losses; the first ones may be many times as high as all others


def comparison_page(runs: Sequence[Run]) -> str:
    """Return the page."""
    title = "Comparison of " + ", ".join(run.letter for run in runs)
    same, verdict = data_verdict(runs)
    kind = {True: "good", False: "error", None: "warning"}[same]
    listed = "".join(map(_listed, runs))
    figures, *others = ("".join(map(_section, group)) for group in compare(runs))
    heading = f'<h1>{title}</h1><ul class="plain">{listed}</ul><p class="verdict {kind}">{text(verdict)}</p>'
    body = [
        f"<header>{heading}</header>",
        f'<div class="columns">{figures}</div>',
        _errors(runs),
        _learning(runs),
        *(f'<div class="columns">{group}</div>' for group in others),
    ]
    return document(title, body, STYLE)


def _listed(run: Run) -> str:
    return f"<li><b>{run.letter}</b> {code(str(run.path))} (figures: {text(run.source)})</li>"


def _section(section: Section) -> str:
    notes = "".join(f'<p class="note">{text(note)}</p>' for note in section.notes)
    name = section.title[0].upper() + section.title[1:]
    if not section.rows:
        return f"<section><h2>{text(name)}</h2>{notes}</section>"
    kind = ' class="number"' if section.numbers else ""
    heads = "".join(f"<th{kind if place else ''}>{escape(head)}</th>" for place, head in enumerate(section.heads))
    rows = "".join(f"<tr>{_row(row, section.numbers)}</tr>" for row in section.rows)
    return (
        f'<section><h2>{text(name)}</h2>{notes}<div class="scroll tall"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _row(row: Sequence[Cell], numbers: bool) -> str:
    first, *others = row
    kind = "number" if numbers else ""
    cells = (f'<td class="{kind}{TRENDS[cell.trend]}">{text(cell.text)}</td>' for cell in others)
    return f"<td>{text(first.text)}</td>{''.join(cells)}"


def _errors(runs: Sequence[Run]) -> str:
    """Return what the kinds of errors cost as bars, where all evaluations say so."""
    charts = []
    for kind, name in KINDS.items():
        gains = [found for run in runs if (found := run.gains(kind)) is not None]
        if len(gains) == len(runs):
            series = [
                Series(run.letter, [one.get(key) or 0.0 for key in ERRORS_EXPLAINED], colour, _labels(one, len(runs)))
                for run, one, colour in zip(runs, gains, cycle(COLOURS), strict=False)
            ]
            highest = max(value for one in series for value in one.values)
            axis = f"AP at IoU 0.50 that each kind of error costs, {name}"
            charts.append(f"<figure>{bar_chart(list(ERRORS_EXPLAINED), series, axis, 1.1 * highest)}</figure>")
    return f'<section><h2>Errors</h2><div class="columns">{"".join(charts)}</div></section>' if charts else ""


def _labels(gains: Mapping[str, float | None], count: int) -> list[str]:
    """Return the figures above the bars, of which more than two side by side would cover each other."""
    return [figure(gains.get(key)) if count == 2 else "" for key in ERRORS_EXPLAINED]


def _learning(runs: Sequence[Run]) -> str:
    """Return the curves of those that are training runs."""
    histories = [
        (run.letter, colour, run.history) for run, colour in zip(runs, cycle(COLOURS), strict=False) if run.history
    ]
    ways: tuple[tuple[str, Callable[[History], dict[int, float]], bool], ...] = (
        ("mask AP", lambda history: _accuracy(history, "segm"), False),
        ("box AP", lambda history: _accuracy(history, "bbox"), False),
        ("sum of the weighted losses, smoothed", _losses, True),
    )
    charts = []
    for name, values_of, is_loss in ways:
        curves = {(letter, colour): values_of(history) for letter, colour, history in histories}
        curves = {key: values for key, values in curves.items() if values}
        if curves:
            charts.append(f"<figure>{_learning_chart(curves, name, is_loss)}</figure>")
    return f'<section><h2>Learning</h2><div class="columns">{"".join(charts)}</div></section>' if charts else ""


def _accuracy(history: History, kind: str) -> dict[int, float]:
    found = {step: metrics[kind]["AP"] for step, metrics in sorted(history.evaluations.items())}
    return {step: value for step, value in found.items() if value is not None}


def _losses(history: History) -> dict[int, float]:
    steps = [step for step in sorted(history.losses) if history.losses[step]]
    totals = smooth([sum(history.losses[step].values()) for step in steps]).tolist() if steps else []
    return dict(zip(steps, totals, strict=True))


def _learning_chart(curves: Mapping[tuple[str, str], Mapping[int, float]], name: str, is_loss: bool) -> str:
    everything = [value for values in curves.values() for value in values.values()]
    top = float(np.quantile(everything, LOSSES_SHOWN)) if is_loss else max(everything)
    last = max(max(values) for values in curves.values())
    lines = [
        Line(letter, [(step, value) for step, value in values.items() if value <= 1.05 * top], colour)
        for (letter, colour), values in curves.items()
    ]
    return line_chart(lines, "step", name, (0, last), (0, 1.05 * top or 1))
