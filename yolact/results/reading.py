"""Evaluations and training runs as they lie on the disk."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolact.config.loading import read_mapping
from yolact.errors import UserError
from yolact.report import History, read_history
from yolact.results.wording import EXPLAINED

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One of several that are compared.

    Attributes:
        letter: what it is called in tables.
        path: as the user gave it.
        source: in words, where its figures come from.
        metrics: as in metrics.json; of a run that was evaluated in training only, "segm" and "bbox".
        config: values by dotted key; None where there is no configuration.
        history: what was logged in training; None for an evaluation.
    """

    letter: str
    path: Path
    source: str
    metrics: Metrics
    config: dict[str, Any] | None
    history: History | None

    def gains(self, kind: str) -> dict[str, float | None] | None:
        """Return what AP50 would gain without each kind of error, for "segm" or "bbox"; None if that was not found."""
        errors: dict[str, float | None] | None = self.metrics.get("errors", {}).get(kind, {}).get("dAP")
        return errors


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read folders of evaluations, folders of training runs, and metrics.json files.

    Raises:
        UserError: one is none of these, or cannot be read.
    """
    if not 2 <= len(paths) <= 26:
        raise UserError(f"Two to 26 runs can be compared, got {len(paths)}; give folders or metrics.json files.")
    return [_read_run(path, chr(ord("A") + place)) for place, path in enumerate(paths)]


def read_metrics(path: Path) -> Any:
    """Read a metrics.json.

    Raises:
        UserError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); give metrics.json files of eval.py.") from error
    except ValueError:
        raise UserError(f"'{path}' is not JSON; give metrics.json files as eval.py writes them.") from None


def _read_run(path: Path, letter: str) -> Run:
    if path.is_file():
        return Run(letter, path, path.name, _checked(path), _read_config(path.parent), None)
    if (path / "metrics.json").is_file():
        return Run(letter, path, "metrics.json", _checked(path / "metrics.json"), _read_config(path), None)
    if (path / "metrics.jsonl").is_file():
        history = _read_history(path / "metrics.jsonl")
        source, metrics = _figures_of_run(path, history)
        return Run(letter, path, source, metrics, _read_config(path), history)
    there = "has neither metrics.json nor metrics.jsonl" if path.is_dir() else "does not exist"
    raise UserError(
        f"'{path}' {there}; give the folder of an evaluation or of a training run, or a metrics.json of eval.py."
    )


def _read_history(path: Path) -> History:
    try:
        history = read_history(path)
        faults = [fault for metrics in history.evaluations.values() if (fault := _fault(metrics))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        faults = [f"reading it ends with {error!r}"]
    if faults:
        raise UserError(f"'{path}' is not a metrics.jsonl as train.py writes it: {faults[0]}.")
    return history


def _figures_of_run(folder: Path, history: History) -> tuple[str, Metrics]:
    """Return the figures of a training run: of its evaluation if there is one, else the best found in training."""
    own, found = folder / "eval" / "metrics.json", history.evaluations
    if own.is_file():
        return "eval/metrics.json", _checked(own)
    if not found:
        raise UserError(f"The run '{folder}' has not been evaluated yet; run eval.py on its last.pth first.")
    best = max(found, key=lambda step: (found[step]["segm"]["AP"] or 0.0, step))
    count = "the only evaluation" if len(found) == 1 else f"the best of {len(found)} evaluations"
    return f"{count} in training, step {best:,}", found[best]


def _checked(path: Path) -> Metrics:
    metrics = read_metrics(path)
    fault = _fault(metrics)
    if fault is not None:
        raise UserError(f"'{path}' is not a metrics.json as eval.py writes it: {fault}.")
    checked: Metrics = metrics
    return checked


def _fault(metrics: Any) -> str | None:
    """Return in words why this is not what an evaluation writes; None if it is."""
    if not isinstance(metrics, dict):
        return "it is not an object with figures"
    for kind in ("segm", "bbox"):
        if not isinstance(metrics.get(kind), dict):
            return f"it has no '{kind}'"
        for key in EXPLAINED:
            if not _is_figure(metrics[kind].get(key, "absent")):
                return f"'{kind}' has no figure '{key}'"
    times = metrics.get("milliseconds", {})
    for name, figures in (
        *_by_kind(metrics, "per_class"),
        *((name, found.get("dAP") if isinstance(found, dict) else None) for name, found in _by_kind(metrics, "errors")),
        ("milliseconds", times),
        ("fps", {"fps": metrics.get("fps")}),
        ("images", {"images": metrics.get("images")}),
    ):
        if not (isinstance(figures, dict) and all(map(_is_figure, figures.values()))):
            return f"'{name}' does not hold numbers"
    return None


def _by_kind(metrics: Metrics, key: str) -> list[tuple[str, Any]]:
    """Return what a key has for masks and boxes, where it is there at all."""
    values = metrics.get(key)
    if values is None:
        return []
    return [(f"{key}.{kind}", values.get(kind) if isinstance(values, dict) else None) for kind in ("segm", "bbox")]


def _is_figure(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _read_config(folder: Path) -> dict[str, Any] | None:
    path = folder / "config.yaml"
    return _flat(read_mapping(path)) if path.is_file() else None


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
