"""Curves of a training run, from its metrics.jsonl: losses.png and map.png.

A line of metrics.jsonl is either {"step": int, "losses": {name: float | null, ...}, "lr": float, ...} or
{"step": int, "evaluation": {"segm": {"AP": float | null, ...}, "bbox": {...}, ...}}. Other keys are ignored.
"""

import gc
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from yolact.pages.style import COLOURS

LOSS_NAMES = ("box", "mask", "class", "semantic", "mask_iou")


@dataclass
class History:
    """What a run has logged, by step; a step that was run again after a resume counts once, as it was last."""

    losses: dict[int, dict[str, float]] = field(default_factory=dict)
    lr: dict[int, float] = field(default_factory=dict)
    evaluations: dict[int, dict[str, Any]] = field(default_factory=dict)


def read_history(metrics_file: Path) -> History:
    """Read metrics.jsonl. A line that an interruption cut off is passed over, as are losses that are not finite."""
    history = History()
    for line in metrics_file.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        step = entry["step"]
        if "losses" in entry:
            history.losses[step] = {name: value for name, value in entry["losses"].items() if _is_finite(value)}
        if _is_finite(entry.get("lr")):
            history.lr[step] = entry["lr"]
        if "evaluation" in entry:
            history.evaluations[step] = entry["evaluation"]
    return history


def write_curves(run_folder: str | Path) -> list[Path]:
    """Draw losses.png and map.png into a run's folder, each where there is something to draw; return their paths."""
    folder = Path(run_folder)
    history = read_history(folder / "metrics.jsonl")
    written = []
    if history.losses:
        written.append(_save(draw_losses(history, folder.name), folder / "losses.png"))
    if history.evaluations:
        written.append(_save(draw_accuracy(history, folder.name), folder / "map.png"))
    # Figures and their pixels hold one another. A training that draws them time and again would keep them until Python
    # looks for such objects by itself, a hundred megabytes later.
    gc.collect()
    return written


def draw_losses(history: History, title: str = "") -> Figure:
    """Draw every loss, raw and smoothed, on a logarithmic scale, above the learning rate."""
    figure = Figure(figsize=(9, 6.5), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    found = {name for losses in history.losses.values() for name in losses}
    names = [name for name in LOSS_NAMES if name in found] + sorted(found.difference(LOSS_NAMES))
    for place, name in enumerate(names):
        steps = [step for step in sorted(history.losses) if name in history.losses[step]]
        _draw_curve(upper, steps, [history.losses[step][name] for step in steps], name, COLOURS[place % len(COLOURS)])
    if len(names) > 1:
        steps = [step for step in sorted(history.losses) if len(history.losses[step]) == len(names)]
        _draw_curve(upper, steps, [sum(history.losses[step].values()) for step in steps], "total", "#222222")
    if any(value > 0 for losses in history.losses.values() for value in losses.values()):
        upper.set_yscale("log")
    upper.set_ylabel("weighted loss")
    upper.set_title(f"{title} losses".strip(), loc="left")
    upper.legend(ncols=len(names) + 1, fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    steps = sorted(history.lr)
    lower.plot(steps, [history.lr[step] for step in steps], color="#222222", linewidth=1.5)
    lower.set_ylabel("learning rate")
    lower.set_ylim(bottom=0)
    lower.set_xlabel("step")
    for axis in (upper, lower):
        clean_axis(axis)
    return figure


def draw_accuracy(history: History, title: str = "") -> Figure:
    """Draw mask and box AP and mask AP50 over the steps, and mark the best mask AP."""
    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    axis = figure.subplots()
    curves = (("segm", "AP", "mask AP", "-"), ("segm", "AP50", "mask AP50", "--"), ("bbox", "AP", "box AP", "-"))
    for (kind, key, label, line), colour in zip(curves, (COLOURS[1], COLOURS[1], COLOURS[0]), strict=True):
        steps = [step for step in sorted(history.evaluations) if _is_finite(history.evaluations[step][kind][key])]
        values = [history.evaluations[step][kind][key] for step in steps]
        axis.plot(steps, values, line, color=colour, label=label, marker="o", markersize=4, linewidth=1.8)
        if label == "mask AP" and values:
            best = int(np.argmax(values))
            axis.annotate(
                f"best {values[best]:.3f}\nat step {steps[best]:,}",
                (steps[best], values[best]),
                xytext=(0, -10),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=9,
            )
    axis.set(xlabel="step", ylabel="average precision")
    axis.set_title(f"{title} validation".strip(), loc="left")
    axis.margins(x=0.08)
    axis.set_ylim(0, min(1.02, max(0.1, axis.get_ylim()[1] * 1.1)))
    axis.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    clean_axis(axis)
    return figure


def smooth(values: Sequence[float]) -> np.ndarray:
    """Return the centred moving average over about a twenty-fifth of the values."""
    half = len(values) // 50
    padded = np.pad(np.asarray(values, float), half, mode="edge")
    return np.convolve(padded, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")


def _draw_curve(axis: Axes, steps: list[int], values: list[float], label: str, colour: str) -> None:
    if len(values) >= 50:
        axis.plot(steps, values, color=colour, linewidth=0.7, alpha=0.25)
    axis.plot(steps, smooth(values), color=colour, linewidth=1.8, label=label)


def clean_axis(axis: Axes) -> None:
    """Give an axis a faint grid and no frame above and to the right."""
    axis.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure).print_png(path)
    return path
