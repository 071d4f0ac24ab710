"""Charts of the pages, drawn by matplotlib as SVG."""

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yolact.tools.pages import COLOURS

WIDTH = 6.2  # inches of a chart; the page scales it
ABOVE: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False}  # of the axis, for a legend
Curve = tuple[Any, Any]  # numbers, x and y


def clean_axis(axis: Axes) -> None:
    """Give an axis a faint grid and no frame above and to the right."""
    axis.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def bar_chart(
    names: Sequence[str],
    series: Mapping[str, Sequence[float | None]],
    axis_name: str,
    write: Callable[[float | None], str],
    highest: float | None = None,
) -> Markup:
    """Draw bars from 0 on for each name, one of each series; `write` gives the text above a bar.

    `highest` is the value of a bar of full height; default: the largest value.
    """
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    axis, width = figure.subplots(), 0.8 / len(series)
    heights = np.array([[value or 0.0 for value in values] for values in series.values()])
    for number, (name, values) in enumerate(series.items()):
        left = np.arange(len(names)) + number * width - 0.4
        bars = axis.bar(left, heights[number], 0.95 * width, align="edge", color=COLOURS[number], label=name)
        axis.bar_label(bars, [write(value) for value in values], fontsize=8, padding=2)
    axis.set_xticks(range(len(names)), names, fontsize=9)
    axis.set(xlabel=axis_name, ylim=(0, 1.1 * (highest or heights.max(initial=0) or 1)))
    axis.tick_params(bottom=False)
    axis.yaxis.set_visible(False)
    axis.spines[["top", "right", "left"]].set_visible(False)
    if len(series) > 1:
        axis.legend(ncols=len(series), **ABOVE)
    return _svg(figure)


def line_chart(curves: Mapping[str, Curve], x_name: str, y_name: str, highest: float, colours: Sequence[str]) -> Markup:
    """Draw curves from 0 to `highest`; those that have one point only are dots."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axis = figure.subplots()
    for (name, (x, y)), colour in zip(curves.items(), cycle(colours), strict=False):
        axis.plot(x, y, color=colour, label=name, marker="o" if len(x) == 1 else None)
    axis.set(xlabel=x_name, ylabel=y_name, ylim=(0, highest))
    axis.set_xlim(left=0)
    axis.legend(ncols=len(curves), **ABOVE)
    clean_axis(axis)
    return _svg(figure)


def _svg(figure: Figure) -> Markup:
    """Return a figure as an SVG element; its text stays text, in the page's font."""
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "yolact", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    text = stream.getvalue()
    return Markup(text[text.index("<svg") :])
