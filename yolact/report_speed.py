"""The plot of mask AP against frames per second: figures of metrics.json files beside the published ones."""

import math
import textwrap
from collections.abc import Sequence
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from yolact.compat.published import MODELS
from yolact.errors import UserError
from yolact.evaluation.speed import conditions
from yolact.output import write_bytes
from yolact.pages.style import COLOURS
from yolact.report import clean_axis
from yolact.results.reading import read_metrics

MARKERS = "s^vPX*"
GREY = "#666666"
PUBLISHED_ON = "published, COCO test-dev, one Titan Xp, batch 1"
WARNING = "Only figures of the same pictures on the same hardware can be compared."
LONGEST_LABEL = 40  # characters
# Where a label may stand, in points from its marker, best first; from FAR on a line leads to the marker.
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
DISTANCES = (7, *range(16, 160, 12))
FAR = 16
MARKER = 4.5  # points from a marker's centre to its edge


class Measured(NamedTuple):
    """One point of the plot."""

    label: str
    fps: float
    mask_ap: float  # percent
    group: str  # what was evaluated on what; points of one group can be compared


class _Point(NamedTuple):
    """A marker that wants a label."""

    label: str
    fps: float
    mask_ap: float
    colour: str


def read_measured(path: Path, label: str) -> Measured:
    """Read the metrics.json of an evaluation.

    Raises:
        UserError: it cannot be read, or is not the metrics.json of an evaluation.
    """
    metrics = read_metrics(path)
    try:
        group = "{images} pictures of {annotations}, ".format_map(metrics) + conditions(metrics)
        mask_ap, fps = metrics["segm"]["AP"], metrics["fps"]
    except (KeyError, TypeError, IndexError) as error:
        missing = f"it has no {error}" if isinstance(error, KeyError) else "it is not an object with figures"
        raise UserError(f"'{path}' is not a metrics.json as eval.py writes it: {missing}.") from None
    if not (_is_positive(fps) and _is_number(mask_ap)):
        raise UserError(
            f"'{path}' has nothing to plot: expected numbers for mask AP and frames per second, got {mask_ap} and "
            f"{fps}; evaluate on pictures with objects."
        )
    return Measured(label, float(fps), 100 * mask_ap, group)


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Name each file after what was evaluated, with as many of the folders above as tell the files apart.

    runs/shapes/quickstart/eval/metrics.json is "shapes/quickstart", results/half/metrics.json is "half" and
    results/yolact_base.json is "yolact_base".

    Raises:
        UserError: a file stands twice.
    """
    names = [_named_folders(path) for path in paths]
    for count in range(1, max(map(len, names), default=0) + 1):
        labels = ["/".join(parts[-count:]) for parts in names]
        if len(set(labels)) == len(labels):
            return labels
    if names:
        twice = next(path for path in paths if names.count(_named_folders(path)) > 1)
        raise UserError(f"'{twice}' is given twice; name each evaluation once, or as LABEL={twice}.")
    return []


def _named_folders(path: Path) -> tuple[str, ...]:
    *folders, name = path.resolve().parts[1:]
    if name != "metrics.json":
        return (*folders, Path(name).stem)
    if len(folders) > 2 and folders[-1] == "eval":
        *above, config, run, _ = folders
        return (*above, f"{config}/{run}")
    return tuple(folders)


def write_speed(measured: Sequence[Measured], path: Path) -> None:
    """Write the plot as PNG.

    Raises:
        UserError: it cannot be written.
    """
    buffer = BytesIO()
    FigureCanvasAgg(draw_speed(measured)).print_png(buffer)
    write_bytes(buffer.getvalue(), path)


def draw_speed(measured: Sequence[Measured]) -> Figure:
    """Draw mask AP in percent against frames per second (logarithmic), the published models in hollow markers."""
    figure = Figure(figsize=(9.5, 7), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    published = _published_points(axis)
    points = _measured_points(axis, measured) + published
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0.12, y=0.1)
    axis.set(xlabel="frames per second: network, detection and masks", ylabel="mask AP, percent")
    axis.set_title("Accuracy against speed", loc="left", fontsize=13, pad=22)
    axis.annotate(WARNING, (0, 1), (0, 8), "axes fraction", "offset points", fontsize=9, color=GREY)
    clean_axis(axis)
    figure.legend(loc="outside lower left", frameon=False, fontsize=8.5)
    _place_labels(figure, axis, points)
    return figure


def _published_points(axis: Axes) -> list[_Point]:
    """Draw the published figures in hollow markers, one kind for each family."""
    points = [_Point(model.title, model.fps, model.mask_ap, GREY) for model in MODELS.values()]
    for family, marker in (("YOLACT", "o"), ("YOLACT++", "D")):
        own = [point for point in points if point.label.split("-")[0] == family]
        _draw_markers(axis, own, marker, f"{family}: {PUBLISHED_ON}", hollow=True)
    return points


def _measured_points(axis: Axes, measured: Sequence[Measured]) -> list[_Point]:
    """Draw the measured figures, one colour for each group."""
    points = []
    groups = dict.fromkeys(item.group for item in measured)
    for group, colour, marker in zip(groups, cycle(COLOURS), cycle(MARKERS), strict=False):
        own = [_Point(_shortened(m.label), m.fps, m.mask_ap, colour) for m in measured if m.group == group]
        _draw_markers(axis, own, marker, textwrap.fill(f"measured: {group}", width=120))
        points += own
    return points


def _draw_markers(axis: Axes, points: Sequence[_Point], marker: str, legend: str, hollow: bool = False) -> None:
    fps, mask_ap = [point.fps for point in points], [point.mask_ap for point in points]
    (line,) = axis.plot(fps, mask_ap, marker, color=points[0].colour, markersize=6.5, label=legend)
    if hollow:
        line.set(fillstyle="none", zorder=3)  # a hollow marker shows on a full one


def _shortened(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else "..." + label[3 - LONGEST_LABEL :]


def _place_labels(figure: Figure, axis: Axes, points: Sequence[_Point]) -> None:
    """Write each label where it covers no marker and no other label and stays within the axis, as far as possible."""
    figure.draw_without_rendering()  # settles where the axis lies
    figure.set_layout_engine("none")
    pixels = figure.dpi / 72  # of a typographic point
    markers = axis.transData.transform(np.array([(point.fps, point.mask_ap) for point in points]))
    taken = [Bbox.from_bounds(x - MARKER * pixels, y - MARKER * pixels, *[2 * MARKER * pixels] * 2) for x, y in markers]
    for point, marker in zip(points, markers, strict=True):
        text = axis.annotate(
            point.label,
            (point.fps, point.mask_ap),
            fontsize=8.5,
            color=point.colour,
            parse_math=False,  # a dollar sign is a dollar sign
            path_effects=[withStroke(linewidth=2.5, foreground="white")],  # lifts it off the grid
        )
        size = text.get_window_extent()
        places = [(distance, way) for distance in DISTANCES for way in DIRECTIONS]
        boxes = [_label_box(marker, size, distance * pixels, way) for distance, way in places]
        costs = [(_covered(box, taken, axis.bbox), _line_cost(_leader(marker, box), taken)) for box in boxes]
        best = costs.index(min(costs))  # the first of equals
        taken.append(boxes[best])
        corner = (boxes[best].x0 - size.x0, boxes[best].y0 - size.y0)
        text.set_position((corner[0] / pixels, corner[1] / pixels))
        text.set_anncoords("offset points")
        if places[best][0] >= FAR:
            line = axis.transData.inverted().transform(_leader(marker, boxes[best]))
            axis.plot(*line.T, color=point.colour, linewidth=0.6, scalex=False, scaley=False)


def _label_box(marker: np.ndarray, size: Bbox, distance: float, direction: tuple[int, int]) -> Bbox:
    """Return the box of a label beside a marker, in pixels."""
    x, y = (
        place + distance * way - (extent / 2) * (1 - way)
        for place, way, extent in zip(marker, direction, (size.width, size.height), strict=True)
    )
    return Bbox.from_bounds(x, y, size.width, size.height)


def _leader(marker: np.ndarray, box: Bbox) -> np.ndarray:
    """Return the ends of the line from a marker to the nearest point of its label, [2, 2] in pixels."""
    return np.array([marker, marker.clip(box.min, box.max)])


def _covered(box: Bbox, taken: Sequence[Bbox], within: Bbox) -> int:
    """Return how many square pixels of `box` others take; those outside of `within` count tenfold."""
    outside = box.width * box.height - _overlap(box, within)
    return round(sum(_overlap(box, other) for other in taken) + 10 * outside)


def _line_cost(line: np.ndarray, taken: Sequence[Bbox]) -> int:
    """Return the length of `line` in pixels; what runs over others than those it begins at counts several times."""
    start, end = line
    others = [box for box in taken if not box.contains(*start)]
    over = [any(box.contains(x, y) for box in others) for x, y in np.linspace(start, end, num=20)]
    return round(float(np.hypot(*(end - start)) * (1 + 9 * np.mean(over))))


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return 0.0 if common is None else float(common.width * common.height)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0
