"""Curves of a training run, from its metrics.jsonl: losses.png and map.png.

A line of metrics.jsonl is either {"step": int, "losses": {name: float | null, ...}, "lr": float, ...} or
{"step": int, "evaluation": {"segm": {"AP": float | null, ...}, "bbox": {...}, ...}}. Other keys are ignored.
"""

import gc
import json
import logging
import math
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from yolact.engine.callbacks import Callback
from yolact.engine.trainer import Trainer
from yolact.fonts import families
from yolact.tools.pages import COLOURS
from yolact.tools.report.charts import clean_axis

logger = logging.getLogger(__name__)

INK = "#222222"


class History(NamedTuple):
    """What a run has logged, by ascending step; one that was run again after a resume counts once, as it was last."""

    losses: dict[int, dict[str, float]]
    lr: dict[int, float]
    evaluations: dict[int, dict[str, Any]]

    def total_loss(self) -> dict[int, float]:
        """Return the sum of the losses of each step at which all were finite."""
        count = max(map(len, self.losses.values()), default=0)
        return {step: sum(one.values()) for step, one in self.losses.items() if 0 < len(one) == count}

    def metric(self, kind: str, key: str) -> dict[int, float]:
        """Return a metric of "segm" or "bbox" by step, where it was found."""
        found = {step: one.get(kind, {}).get(key) for step, one in self.evaluations.items()}
        return {step: value for step, value in found.items() if is_finite(value)}


def read_history(metrics_file: Path) -> History:
    """Read metrics.jsonl. A line that an interruption cut off is passed over, as are losses that are not finite."""
    losses, lr, evaluations = {}, {}, {}
    for line in metrics_file.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        step = int(entry["step"])
        if "losses" in entry:
            losses[step] = {name: value for name, value in entry["losses"].items() if is_finite(value)}
        if is_finite(entry.get("lr")):
            lr[step] = entry["lr"]
        if "evaluation" in entry:
            evaluations[step] = entry["evaluation"]
    return History(*(dict(sorted(one.items())) for one in (losses, lr, evaluations)))


class DrawCurves(Callback):
    """Draw losses.png and map.png after each evaluation and at the end."""

    def on_evaluate(self, trainer: Trainer) -> None:
        if trainer.world.is_main_process:
            try:
                write_curves(trainer.folder)
            except OSError as error:
                logger.warning("the curves could not be drawn: %s", error)

    on_end = on_evaluate


def write_curves(run_folder: str | Path) -> list[Path]:
    """Draw losses.png and map.png into a run's folder, each where there is something to draw; return their paths."""
    folder = Path(run_folder)
    history = read_history(folder / "metrics.jsonl")
    draw = {"losses.png": draw_losses} if history.losses else {}
    draw |= {"map.png": draw_accuracy} if history.evaluations else {}
    for name, function in draw.items():
        function(history, folder.name).savefig(folder / name)
    gc.collect()  # figures and their pixels hold one another; a training would keep a hundred megabytes of them
    return [folder / name for name in draw]


def draw_losses(history: History, title: str = "") -> Figure:
    """Draw every loss, raw and smoothed, on a logarithmic scale, above the learning rate."""
    figure = Figure((9, 6.5), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    names = list(dict.fromkeys(name for losses in history.losses.values() for name in losses))
    curves = {name: {step: one[name] for step, one in history.losses.items() if name in one} for name in names}
    colours = dict(zip(names, cycle(COLOURS), strict=False)) | {"total": INK}
    if len(names) > 1:
        curves["total"] = history.total_loss()
    for name, curve in curves.items():
        if len(curve) >= 50:
            upper.plot(list(curve), list(curve.values()), color=colours[name], linewidth=0.7, alpha=0.25)
        upper.plot(list(curve), smooth(curve), color=colours[name], linewidth=1.8, label=name)
    upper.set_yscale("log" if any(max(curve.values(), default=0) > 0 for curve in curves.values()) else "linear")
    lower.plot(list(history.lr), list(history.lr.values()), color=INK)
    lower.set_ylim(bottom=0)
    _finish(upper, "weighted loss", f"{title} losses")
    _finish(lower, "learning rate")
    lower.set_xlabel("step")
    return figure


def draw_accuracy(history: History, title: str = "") -> Figure:
    """Draw mask and box AP and mask AP50 over the steps, and mark the best mask AP."""
    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    axis = figure.subplots()
    curves = (("mask AP", "segm", "AP", "-"), ("mask AP50", "segm", "AP50", "--"), ("box AP", "bbox", "AP", "-"))
    for label, kind, key, line in curves:
        values, colour = history.metric(kind, key), COLOURS[kind == "segm"]
        axis.plot(list(values), list(values.values()), line, color=colour, label=label, marker="o", markersize=4)
    if found := history.metric("segm", "AP"):
        best = max(found, key=lambda step: found[step])
        text, point = f"best {found[best]:.3f}\nat step {best:,}", (best, found[best])
        axis.annotate(text, point, (0, -10), textcoords="offset points", ha="center", va="top", fontsize=9)
    axis.margins(x=0.08)
    axis.set_ylim(0, min(1.02, max(0.1, axis.get_ylim()[1] * 1.1)))
    _finish(axis, "average precision", f"{title} validation")
    axis.set_xlabel("step")
    return figure


def _finish(axis: Axes, y_name: str, title: str = "") -> None:
    axis.set_ylabel(y_name)
    axis.set_title(title, loc="left", parse_math=False, fontfamily=families(title))
    if curves := len(axis.get_legend_handles_labels()[0]):
        axis.legend(ncols=curves, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    clean_axis(axis)


def smooth(values: Mapping[int, float]) -> np.ndarray:
    """Return the centred moving average over about a twenty-fifth of the values."""
    if not values:
        return np.zeros(0)
    half = len(values) // 50
    padded = np.pad(np.array(list(values.values()), float), half, mode="edge")
    return np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")


def is_finite(value: object) -> bool:
    """Tell whether a value of a JSON file is a number that can be drawn and compared."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
