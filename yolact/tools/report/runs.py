"""Evaluations and training runs as they lie on the disk."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolact.config.loading import read_mapping
from yolact.errors import UserError
from yolact.evaluation.speed import conditions
from yolact.tools.report.curves import History, read_history

Metrics = dict[str, Any]
Table = dict[str, float | None]

# Where numbers by name lie in metrics.json.
TABLES = (
    *("segm", "bbox", "per_class.segm", "per_class.bbox", "milliseconds"),
    *("errors.segm.dAP", "errors.bbox.dAP"),
)
NUMBERS, TEXTS = ("fps", "images"), ("annotations", "annotations_sha256")


@dataclass(frozen=True)
class Run:
    """One of several that are compared.

    Attributes:
        letter: what it is called in tables.
        path: as the user gave it.
        source: in words, where its metrics come from.
        metrics: as in metrics.json, or as an evaluation in training logged them; an older file may lack any of them.
        config: values by dotted key; None where there is no configuration.
        history: what was logged in training; None for an evaluation.
    """

    letter: str
    path: Path
    source: str
    metrics: Metrics
    config: dict[str, Any] | None
    history: History | None

    def table(self, name: str) -> Table:
        """Return one of `TABLES`, empty where the metrics have none."""
        return table(self.metrics, name)


class Unknown(dict[str, Any]):
    """Metrics for a text, "unknown KEY" where one is absent."""

    def __missing__(self, key: str) -> str:
        return f"unknown {key}"


def measured_on(metrics: Metrics) -> str:
    """Say what the times of an evaluation were measured on, as far as that is known."""
    return conditions(Unknown(metrics))


def table(metrics: Metrics, name: str) -> Table:
    """Return the numbers under a dotted key, empty where there is none.

    Raises:
        ValueError: something else is there.
    """
    found: Any = metrics
    for key in name.split("."):
        found = found.get(key, {}) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not all(map(_is_number, found.values())):
        raise ValueError(f"'{name}' does not hold numbers")
    return found


def read_metrics(path: Path) -> Metrics:
    """Read a metrics.json. Any metric may be absent, but what is there must be one.

    Raises:
        UserError: it cannot be read, or is not what an evaluation writes.
    """
    try:
        return _checked(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(
            f"'{path}' cannot be read ({error.strerror}); give metrics.json files of yolact eval."
        ) from error
    except json.JSONDecodeError:
        raise UserError(f"'{path}' is not JSON; give metrics.json files as yolact eval writes them.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is not a metrics.json as yolact eval writes it: {error}.") from None


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read folders of evaluations, folders of training runs, and metrics.json files.

    Raises:
        UserError: one is none of these, or cannot be read.
    """
    if not 2 <= len(paths) <= 26:
        raise UserError(f"Two to 26 runs can be compared, got {len(paths)}; give folders or metrics.json files.")
    return [_read_run(path, chr(ord("A") + number)) for number, path in enumerate(paths)]


def _checked(metrics: Any) -> Metrics:
    """Require what an evaluation may have written; a ValueError says what is wrong."""
    if not isinstance(metrics, dict) or not {"segm", "bbox"} & metrics.keys():
        raise ValueError("it has metrics neither of masks ('segm') nor of boxes ('bbox')")
    for name in TABLES:
        table(metrics, name)
    for name in NUMBERS:
        if not _is_number(metrics.get(name)):
            raise ValueError(f"'{name}' is not a number")
    for name in TEXTS:
        if not isinstance(metrics.get(name), str | None):
            raise ValueError(f"'{name}' is not text")
    return metrics


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _read_run(path: Path, letter: str) -> Run:
    file = path if path.is_file() else path / "metrics.json"
    if file.is_file():
        return Run(letter, path, file.name, read_metrics(file), _read_config(file.parent), None)
    if (path / "metrics.jsonl").is_file():
        history = _read_history(path / "metrics.jsonl")
        source, metrics = _metrics_of_training(path, history)
        return Run(letter, path, source, metrics, _read_config(path), history)
    there = "has neither metrics.json nor metrics.jsonl" if path.is_dir() else "does not exist"
    raise UserError(
        f"'{path}' {there}; give the folder of an evaluation or of a training run, or a metrics.json of yolact eval."
    )


def _read_history(path: Path) -> History:
    try:
        history = read_history(path)
        for metrics in history.evaluations.values():
            _checked(metrics)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' is not a metrics.jsonl as yolact train writes it: {error!r}.") from None
    return history


def _metrics_of_training(folder: Path, history: History) -> tuple[str, Metrics]:
    """Return the metrics of a training run: of its evaluation if there is one, else the best found in training."""
    own, found = folder / "eval" / "metrics.json", history.evaluations
    if own.is_file():
        return "eval/metrics.json", read_metrics(own)
    if not found:
        raise UserError(f"The run '{folder}' has not been evaluated yet; run yolact eval on its last.pth first.")
    best = max(found, key=lambda step: (table(found[step], "segm").get("AP") or 0.0, step))
    count = "the only evaluation" if len(found) == 1 else f"the best of {len(found)} evaluations"
    return f"{count} in training, step {best:,}", found[best]


def _read_config(folder: Path) -> dict[str, Any] | None:
    path = folder / "config.yaml"
    return _flat(read_mapping(path)) if path.is_file() else None


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
