"""The plot of mask AP against frames per second: evaluations and the published models."""

import textwrap
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from yolact.compat.published import MODELS, PublishedModel
from yolact.errors import UserError
from yolact.fonts import families
from yolact.text import printable
from yolact.tools.pages import COLOURS
from yolact.tools.report.charts import clean_axis
from yolact.tools.report.runs import measured_on, read_metrics, table

GREY = "#666666"
LONGEST_LABEL = 40  # characters
PUBLISHED = "published, COCO test-dev, one Titan Xp, batch 1"


class Point(NamedTuple):
    """One evaluation; without a mask AP or a time it is not drawn."""

    label: str
    fps: float | None
    mask_ap: float | None  # percent
    group: str  # what was evaluated on what; points of one group can be compared


def read_points(given: Sequence[str]) -> list[Point]:
    """Read metrics.json files, each given as FILE or LABEL=FILE; without a label the run's folder is one.

    Raises:
        UserError: a file cannot be read, or is given twice, or none has both mask AP and frames per second.
    """
    split = [["", text] if Path(text).exists() or "=" not in text else text.split("=", 1) for text in given]
    names = iter(_labels([Path(file) for label, file in split if not label]))
    points = []
    for label, file in split:
        metrics, name = read_metrics(Path(file)), printable(label or next(names))
        name = name if len(name) <= LONGEST_LABEL else "..." + name[3 - LONGEST_LABEL :]
        mask_ap = table(metrics, "segm").get("AP")
        group = f"{metrics.get('images') or 'unknown'} images of {metrics.get('annotations') or 'unknown data'}"
        group = printable(f"{group}, {measured_on(metrics)}")
        points.append(Point(name, metrics.get("fps") or None, None if mask_ap is None else 100 * mask_ap, group))
    if all(None in (point.fps, point.mask_ap) for point in points):
        raise UserError(f"'{split[0][1]}' has nothing to plot: expected mask AP and frames per second; evaluate again.")
    return points


def draw_speed(points: Sequence[Point], published: Iterable[PublishedModel] = MODELS.values()) -> Figure:
    """Draw mask AP in percent against frames per second (logarithmic), labels in a column at the right."""
    drawn = [(m.title, m.fps, m.mask_ap, f"{m.title.split('-')[0]}: {PUBLISHED}") for m in published]
    drawn += [(p.label, p.fps, p.mask_ap, p.group) for p in points if p.fps is not None and p.mask_ap is not None]
    figure = Figure(figsize=(11, max(7, 0.25 * len(drawn))), dpi=120, layout="constrained")
    axis = figure.subplots()
    styles, colours = zip(cycle(COLOURS), cycle("s^vPX*"), strict=False), {}
    for group in dict.fromkeys(group for *_, group in drawn):
        x, y = zip(*((fps, mask_ap) for _, fps, mask_ap, other in drawn if other == group), strict=True)
        hollow = group.endswith(PUBLISHED)
        colours[group], marker = (GREY, "D" if "++" in group else "o") if hollow else next(styles)
        (line,) = axis.plot(x, y, marker, color=colours[group], label=textwrap.fill(group, width=120))
        if hollow:
            line.set(fillstyle="none", zorder=3)  # a hollow marker shows on a full one
    drawn.sort(key=lambda point: -point[2])
    for (label, fps, mask_ap, group), height in zip(drawn, np.linspace(0.98, 0.02, len(drawn)), strict=True):
        leader = {"arrowstyle": "-", "color": colours[group], "linewidth": 0.5, "relpos": (0, 0.5)}
        text = axis.annotate(label, (fps, mask_ap), (1.02, height), textcoords="axes fraction", arrowprops=leader)
        text.set(va="center", color=colours[group], fontsize=8.5, fontfamily=families(label))
        text.set_parse_math(False)  # a dollar sign is a dollar sign
    axis.set_xscale("log")
    ticks = LogLocator(subs=(1, 2, 3, 5))
    axis.xaxis.set(major_locator=ticks, major_formatter=FormatStrFormatter("%g"), minor_formatter=NullFormatter())
    axis.set(xlabel="frames per second: network, detection and masks", ylabel="mask AP, percent")
    axis.set_title("Accuracy against speed: only what saw the same images on the same hardware compares", loc="left")
    clean_axis(axis)
    figure.legend(loc="outside lower left", frameon=False, fontsize=8.5)
    return figure


def _labels(paths: Sequence[Path]) -> list[str]:
    """Name each file after what was evaluated, with as many of the folders above as make the names differ.

    runs/shapes/quickstart/eval/metrics.json is "shapes/quickstart", results/half/metrics.json is "half" and
    results/yolact_base.json is "yolact_base".
    """
    names = []
    for path in paths:
        file = path.resolve()
        folder = file.parent if file.name == "metrics.json" else file.with_suffix("")
        *above, last = folder.parts[1:]
        names.append([*above[:-2], "/".join(above[-2:])] if last == "eval" and len(above) > 1 else [*above, last])
    for count in range(1, max(map(len, names), default=0) + 1):
        labels = ["/".join(parts[-count:]) for parts in names]
        if len(set(labels)) == len(labels):
            return labels
    if names:
        raise UserError(f"'{paths[-1]}' or another file is given twice; give each once, or as LABEL=FILE.")
    return []
