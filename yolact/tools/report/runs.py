"""Evaluations and training runs as they lie on the disk."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolact.config.loading import read_mapping
from yolact.errors import UserError
from yolact.text import printable
from yolact.tools.report.curves import History, is_finite, read_history

Metrics = dict[str, Any]
Table = dict[str, float | None]

TABLES = ("segm", "bbox", "per_class.segm", "per_class.bbox", "errors.segm.dAP", "errors.bbox.dAP", "milliseconds")
# Of files that do not say; those without a runtime are older than any but PyTorch.
UNKNOWN = {"device": "unknown device", "runtime": "PyTorch", "dtype": "unknown precision", "batch_size": "unknown"}


@dataclass(frozen=True)
class Run:
    """One of several that are compared."""

    letter: str  # what it is called in tables
    path: Path  # as the user gave it
    source: str  # in words, where its metrics come from
    metrics: Metrics  # as in metrics.json, or as logged in training; an older file may lack any of them
    config: dict[str, Any] | None  # values by dotted key; None where there is no configuration
    history: History | None  # what was logged in training; None for an evaluation


def table(metrics: Metrics, name: str) -> Table:
    """Return the numbers under a dotted key of metrics, such as those of `TABLES`; empty where there is none.

    Raises:
        ValueError: something else is there.
    """
    found: Any = metrics
    for key in name.split("."):
        found = found.get(key, {}) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not all(map(_is_number, found.values())):
        raise ValueError(f"'{name}' does not hold numbers")
    return found


def measured_on(metrics: Metrics) -> str:
    """Say what the times of an evaluation were measured on, as far as that is known.

    One of several ranks measures them, on its share of the images while the others work on theirs.
    """
    said = "{device}, {runtime}, {dtype}, batch {batch_size}".format_map(UNKNOWN | metrics)
    said += "".join(f", {flip} flip" for flip in metrics.get("flips", ()))
    count = metrics.get("processes", 1)  # older files have none
    return said if count == 1 else f"{said}, one of {count} processes"


def read_metrics(path: Path) -> Metrics:
    """Read a metrics.json. Any metric may be absent, but what is there must be one.

    Raises:
        UserError: it cannot be read, or is not what an evaluation writes.
    """
    try:
        return _checked(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); give metrics.json files.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is not a metrics.json as yolact eval writes it: {error}.") from None


def others_results(folder: Path, identity: dict[str, str], config: str) -> str:
    """Return the weights of an evaluation in `folder` whose metrics of `identity` or config.yaml differ, or ""."""
    with suppress(UserError, OSError):  # there is none, or none that can be read
        old, settings = read_metrics(folder / "metrics.json"), (folder / "config.yaml").read_bytes()
        if settings != config.encode() or any(old.get(key) != value for key, value in identity.items()):
            return printable(old.get("weights") or "weights without a name")
    return ""


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
    for name in ("fps", "images", "annotations", "annotations_sha256", "weights"):
        value = metrics.get(name)
        if not (_is_number(value) if name in ("fps", "images") else isinstance(value, str | None)):
            raise ValueError(f"'{name}' is {value!r:.50}")
    return metrics


def _is_number(value: Any) -> bool:
    return value is None or is_finite(value)


def _read_run(path: Path, letter: str) -> Run:
    file = path if path.is_file() else path / "metrics.json"
    log, own = path / "metrics.jsonl", path / "eval/metrics.json"
    config = file.with_name("config.yaml")
    values = _flat(read_mapping(config)) if config.is_file() else None
    if file.is_file():
        return Run(letter, path, *_read_named(file, file.name), values, None)
    if not log.is_file():
        there = "has neither metrics.json nor metrics.jsonl" if path.is_dir() else "does not exist"
        raise UserError(f"'{path}' {there}; give the folder of an evaluation or of a training run, or a metrics.json.")
    try:
        history = read_history(log)
        found = {step: _checked(metrics) for step, metrics in history.evaluations.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{log}' is not a metrics.jsonl as yolact train writes it: {error!r}.") from None
    if own.is_file():
        return Run(letter, path, *_read_named(own, "eval/metrics.json"), values, history)
    if not found:
        raise UserError(f"The run '{path}' has not been evaluated yet; run yolact eval on its last.pth first.")
    best = max(found, key=lambda step: (table(found[step], "segm").get("AP") or 0.0, step))
    count = "the only evaluation" if len(found) == 1 else f"the best of {len(found)} evaluations"
    return Run(letter, path, f"{count} in training, step {best:,}", found[best], values, history)


def _read_named(file: Path, name: str) -> tuple[str, Metrics]:
    """Return what a metrics.json is called in words, with the weights that it is of, and what it holds."""
    metrics = read_metrics(file)
    return name + (f" of {printable(metrics['weights'])}" if metrics.get("weights") else ""), metrics


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
