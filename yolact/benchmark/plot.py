"""What was measured as bars, each stage beside the compared one."""

from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from yolact.benchmark.other import COMPARED, base_name
from yolact.output import write_bytes
from yolact.pages.style import BLUE, GREY
from yolact.report import clean_axis

BAR, FRAME = 0.24, 0.75  # inches that a bar takes, and a panel's title and numbers
Values = dict[str, float]


def values_of(result: dict[str, Any]) -> dict[str, tuple[str, Values]]:
    """Return for each stage of the benchmark's result the unit and what to draw, in the order of the result."""
    found: dict[str, tuple[str, Values]] = {}
    for name, part in result.items():
        if name == "memory":
            peaks = {stage: figures["peak"] for stage, figures in part.items() if figures["peak"] is not None}
            found[name] = ("peak memory in MB", {stage: peak / 2**20 for stage, peak in peaks.items()})
        elif name == "evaluation":
            found[name] = ("seconds", part["seconds"])
        elif isinstance(part, dict) and "stages" in part:
            found[name] = ("median in ms", {stage: times["median_ms"] for stage, times in part["stages"].items()})
    return {name: (unit, beside(values)) for name, (unit, values) in found.items() if values}


def beside(values: Values) -> Values:
    """Put each compared stage after those that it is compared with; the order of the others stays."""
    groups: dict[str, Values] = {}
    for name, value in values.items():
        groups.setdefault(base_name(name), {})[name] = value
    return {name: value for group in groups.values() for name, value in group.items()}


def write_bars(result: dict[str, Any], path: Path) -> None:
    """Draw one panel for each stage of the benchmark's result, as PNG.

    Raises:
        UserError: it cannot be written.
    """
    buffer = BytesIO()
    FigureCanvasAgg(draw_bars(result)).print_png(buffer)
    write_bytes(buffer.getvalue(), path)


def draw_bars(result: dict[str, Any]) -> Figure:
    """Draw one panel for each stage of the benchmark's result."""
    panels = values_of(result)
    heights = [FRAME + BAR * len(values) for _, values in panels.values()]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (name, (unit, values)) in zip(axes, panels.items(), strict=True):
        _draw(axis, f"{name}: {unit}", values)
    return figure


def _draw(axis: Axes, title: str, values: Values) -> None:
    colours = [GREY if name.endswith(COMPARED) else BLUE for name in values]
    bars = axis.barh(list(values), list(values.values()), color=colours)
    axis.bar_label(bars, [f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in values.values()], padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.12, y=0.02)
    axis.set_title(title, loc="left")
    clean_axis(axis)
