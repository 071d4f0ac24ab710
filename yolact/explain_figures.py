"""An explanation in pictures: numbered objects, coefficients, contributions, and the sum as it becomes the mask.

All are uint8 [H, W, 3] BGR arrays, which a notebook shows. Red adds to a mask, blue takes away from it.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from yolact.draw import (
    MANY,
    Drawing,
    display_scale,
    draw_instances,
    figure_to_picture,
    prototypes_grid,
    resize_mask,
)
from yolact.explain import Explanation

RED, BLUE = "#b2182b", "#2166ac"
DIVERGING = "RdBu_r"
MOST_PANELS = 15  # beside the picture; what comes later changes little
PANEL_INCHES = 1.6  # the longer side of a panel
LEAST_INCHES = 1.2  # the width that a panel's title needs
PANEL_PIXELS = 400  # of the picture in a panel; more would not be seen
LEAST_VIEW = 12  # pixels of the prototypes that a panel shows; fewer are nothing but squares


def draw_prototypes(parts: Explanation) -> Drawing:
    """Draw the picture and its prototypes as a grid (YOLACT, figure 5)."""
    return prototypes_grid(parts.prototypes, parts.picture).view(Drawing)


def draw_numbers(parts: Explanation) -> Drawing:
    """Draw the picture with its masks and the number of each object, by which the other functions know it."""
    found = parts.instances
    scale = display_scale(*found.image_size)
    canvas = draw_instances(parts.picture, found, boxes=False, labels=False, scale=scale)
    figure = Figure(figsize=(canvas.shape[1] / 100, canvas.shape[0] / 100), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(canvas[:, :, ::-1], aspect="auto")
    axis.set_axis_off()
    size = max(canvas.shape[:2]) / (60 if len(found) < MANY else 90)
    for number, (x1, y1, x2, y2) in enumerate((found.boxes * scale).tolist()):
        text = axis.text((x1 + x2) / 2, (y1 + y2) / 2, str(number), color="white", fontsize=size, weight="bold")
        text.set(ha="center", va="center_baseline", path_effects=[withStroke(linewidth=size / 4, foreground="black")])
    return figure_to_picture(figure).view(Drawing)


def draw_coefficients(parts: Explanation, index: int) -> Drawing:
    """Draw the K coefficients of object `index` as bars, above the shares that their contributions have."""
    coefficients, shares = parts.coefficients[index].numpy(), parts.shares(index).numpy()
    count = len(shares)
    figure = Figure(figsize=(max(6.5, 1 + 0.24 * count), 4.4), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    colours = [RED if value > 0 else BLUE for value in coefficients]
    upper.bar(range(count), coefficients, color=colours)
    upper.set(ylim=(-1.05, 1.05), ylabel="coefficient")
    lower.bar(range(count), 100 * shares * np.sign(coefficients), color=colours)
    lower.set(ylabel="share, %", xlabel="prototype", xlim=(-0.7, count - 0.3))
    lower.xaxis.set_major_locator(MaxNLocator(min(count, 40), integer=True))
    for axis in (upper, lower):
        axis.axhline(0, color="#222222", linewidth=0.8)
        axis.grid(axis="y", color="#dddddd", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    upper.set_title(f"{_name(parts, index)}: coefficients; red adds, blue takes away", loc="left", fontsize=10)
    lower.set_title("share of what is added and taken away inside the box", loc="left", fontsize=10)
    return figure_to_picture(figure).view(Drawing)


def draw_contributions(parts: Explanation, index: int, count: int = MOST_PANELS) -> Drawing:
    """Draw the signed contributions to object `index` around its box, the largest share first.

    All have one scale of colours, so that they can be compared. The line is the border of the mask.

    Args:
        count: of the contributions; those that are zero in the box are left out.
    """
    maps, shares = parts.contributions(index), parts.shares(index)
    shown = [number for number in parts.order(index) if shares[number] > 0][:count]
    rest = float(shares.sum() - shares[shown].sum())
    heading = "prototype: its coefficient, and the share of its contribution in all that is added and taken away"
    titles = [f"{n}: {float(parts.coefficients[index, n]):+.2f}, {float(shares[n]):.0%}" for n in shown]
    panels = _Panels(parts, index, heading + (f"; not shown: {rest:.0%}" if rest > 0.005 else ""), titles)
    limit = float((maps.abs() * parts.window(index)).max()) or 1.0
    for axis, number in zip(panels.axes[1:], shown, strict=True):
        image = panels.draw_map(axis, maps[number].numpy(), limit)
        panels.draw_border(axis, "black")
    if shown:
        panels.draw_scale(image, "added to the mask's logits")
    return figure_to_picture(panels.figure).view(Drawing)


def draw_sum(parts: Explanation, index: int, count: int = MOST_PANELS) -> Drawing:
    """Draw how the contributions to object `index`, added one after another, become its mask.

    The largest share comes first. Each panel is the sigmoid of a sum, red above one half and blue below, with a line at
    one half, and says how well the mask that this gives inside the box agrees with the final one. The last panel is the
    whole sum; before it, panels end where the mask has settled.

    Args:
        count: of the panels at most, at least 2.
    """
    order, agreement = parts.order(index), parts.agreement(index)
    steps = [*range(min(parts.num_needed(index), len(order) - 1, count - 1)), len(order) - 1]
    titles = [f"{'+ ' if step else ''}{order[step]}: IoU {float(agreement[step]):.2f}" for step in steps[:-1]]
    heading = "the contributions added one after another: sigmoid of the sum, and IoU of its mask with the final one"
    panels = _Panels(parts, index, heading, [*titles, f"all {len(order)}"])
    for axis, total in zip(panels.axes[1:], parts.running_sums(index)[steps].sigmoid().numpy(), strict=True):
        image = panels.draw_map(axis, total - 0.5, 0.5)
        panels.draw_line(axis, total, "black")
        panels.draw_box(axis, "black")
    panels.draw_scale(image, "sigmoid of the sum").set_yticks([-0.5, 0, 0.5], ["0", "0.5", "1"])
    return figure_to_picture(panels.figure).view(Drawing)


def _name(parts: Explanation, index: int) -> str:
    found = parts.instances
    return f"Object {index}, {found.class_names[int(found.labels[index])]} {float(found.mask_scores[index]):.2f}"


class _Panels:
    """A figure of equal panels around one object, in pixels of the picture: the picture, then one for each title."""

    def __init__(self, parts: Explanation, index: int, heading: str, titles: Sequence[str]) -> None:
        self.parts, self.index = parts, index
        self.view = left, top, right, bottom = _view(parts, index)
        ratio = (bottom - top) / (right - left)
        count = 1 + len(titles)
        lines = math.ceil(count / (8 if ratio > 1.3 else 6))
        columns = math.ceil(count / lines)
        width, height = PANEL_INCHES * min(1, 1 / ratio), PANEL_INCHES * min(1, ratio)
        size = (max(columns * max(width + 0.1, LEAST_INCHES) + 0.9, 6.5), lines * (height + 0.3) + 0.5)
        self.figure = Figure(figsize=size, dpi=130, layout="constrained")
        self.figure.suptitle(f"{_name(parts, index)}\n{heading}", fontsize=9, x=0.01, ha="left")
        self.all_axes = list(self.figure.subplots(lines, columns, squeeze=False).flat)
        self.axes = self.all_axes[:count]
        for axis in self.all_axes:
            axis.set_axis_off()
            axis.set(xlim=(left, right), ylim=(bottom, top), aspect=1)
        for axis, title in zip(self.axes, ["picture", *titles], strict=True):
            axis.set_title(title, fontsize=8, pad=3)
        self._draw_picture(self.axes[0])

    def _draw_picture(self, axis: Axes) -> None:
        left, top, right, bottom = self.view
        scale = min(1, PANEL_PIXELS / max(bottom - top, right - left))
        size = math.ceil((right - left) * scale), math.ceil((bottom - top) * scale)
        part = cv2.resize(self.parts.picture[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
        axis.imshow(part[:, :, ::-1], extent=(left, right, bottom, top))
        # Kept for the other panels; at the picture's own size it would be slow to draw where that is large.
        region = self.parts.instances.regions[self.index]
        self.mask = resize_mask(region.crop(top, left, bottom, right), size[::-1])
        self.draw_border(axis, "white")
        self.draw_box(axis, "white")

    def draw_map(self, axis: Axes, values: np.ndarray, limit: float) -> AxesImage:
        """Draw a map [Hp, Wp] in the colours of -limit to limit."""
        height, width = self.parts.instances.image_size
        shown = axis.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, extent=(0, width, height, 0))
        axis.set(xlim=(self.view[0], self.view[2]), ylim=(self.view[3], self.view[1]))
        return shown

    def draw_border(self, axis: Axes, colour: str) -> None:
        """Draw the border of the final mask."""
        left, top, right, bottom = self.view
        self._draw_contour(axis, self.mask.astype(float), (left, top, right, bottom), colour)

    def draw_line(self, axis: Axes, values: np.ndarray, colour: str) -> None:
        """Draw where a map [Hp, Wp] crosses one half."""
        height, width = self.parts.instances.image_size
        self._draw_contour(axis, values, (0, 0, width, height), colour)

    def _draw_contour(self, axis: Axes, values: np.ndarray, extent: tuple[int, int, int, int], colour: str) -> None:
        if not (values <= 0.5).any() or not (values > 0.5).any():
            return  # no line, and matplotlib would warn
        left, top, right, bottom = extent
        rows, columns = values.shape
        x = left + (np.arange(columns) + 0.5) * (right - left) / columns
        y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
        axis.contour(x, y, values, levels=[0.5], colors=colour, linewidths=1)

    def draw_box(self, axis: Axes, colour: str) -> None:
        """Draw the box of the object."""
        x1, y1, x2, y2 = self.parts.instances.boxes[self.index].tolist()
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=0.8, ls="--"))

    def draw_scale(self, image: AxesImage, label: str) -> Axes:
        """Draw the scale of colours beside the panels."""
        bar = self.figure.colorbar(image, ax=self.all_axes, fraction=0.03, pad=0.01, aspect=25)
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)
        return bar.ax


def _view(parts: Explanation, index: int) -> tuple[int, int, int, int]:
    """Return the surroundings of an object in the picture: left, top, right and bottom, in whole pixels.

    They are twice as wide and high as its box, and show at least `LEAST_VIEW` pixels of the prototypes.
    """
    height, width = parts.instances.image_size
    map_height, map_width = parts.prototypes.shape[1:]
    x1, y1, x2, y2 = parts.instances.boxes[index].tolist()
    left, right = _widened(x1, x2, width, LEAST_VIEW * width / map_width)
    top, bottom = _widened(y1, y2, height, LEAST_VIEW * height / map_height)
    return left, top, right, bottom


def _widened(low: float, high: float, length: int, least: float) -> tuple[int, int]:
    """Return an interval around the one given, inside 0..length."""
    half = max(high - low, least / 2)
    middle = (low + high) / 2
    return max(0, math.floor(middle - half)), min(length, math.ceil(middle + half))
