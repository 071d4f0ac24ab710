"""What a run writes down: metrics.jsonl, the text log, and TensorBoard events if asked for."""

import json
import logging
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from yolact.errors import UserError

LOG_FORMAT = "%(asctime)s %(message)s"


class _TqdmHandler(logging.Handler):
    """Print log lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)


def set_up_logging(folder: Path) -> None:
    """Send the package's log lines to the console and to log.txt in the run folder."""
    logger = logging.getLogger("yolact")
    logger.setLevel(logging.INFO)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    console, file = _TqdmHandler(), logging.FileHandler(folder / "log.txt")
    console.setFormatter(logging.Formatter("%(message)s"))
    file.setFormatter(logging.Formatter(LOG_FORMAT))
    for handler in (console, file):
        logger.addHandler(handler)


class MetricsFile:
    """metrics.jsonl: one JSON object a line, training lines {"step", "lr", "losses", ...}, and evaluation lines.

    The file holds nothing that depends on the machine's speed, so two equal runs write equal files. Opened for a run
    that goes on at `step`, it drops the lines after that step: they will be written again.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = False):
        self.path = folder / "metrics.jsonl"
        lines = self.path.read_text().splitlines(keepends=True) if self.path.exists() else []
        self.path.write_text("".join(line for line in lines if _step_of(line) <= step))
        self.file = self.path.open("a", buffering=1)
        self.writer = _tensorboard_writer(folder, step) if tensorboard else None

    def write(self, record: dict[str, Any]) -> None:
        """Append one line; numbers are also sent to TensorBoard under their keys."""
        self.file.write(json.dumps(record) + "\n")
        if self.writer is not None:
            for name, value in _flatten(record):
                self.writer.add_scalar(name, value, record["step"])

    def __enter__(self) -> "MetricsFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.file.close()
        if self.writer is not None:
            self.writer.close()


def _step_of(line: str) -> float:
    """Return the step of a line; a line that a kill cut short counts as after every step."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return float("inf")


def _flatten(record: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for key, value in record.items():
        if isinstance(value, dict):
            pairs += _flatten(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and key != "step":
            pairs.append((prefix + key, float(value)))
    return pairs


def _tensorboard_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "train.tensorboard is true, but TensorBoard is not installed: run `pip install tensorboard`, or leave it "
            "out; metrics.jsonl and the plots are written in any case."
        ) from None
    return SummaryWriter(str(folder), purge_step=step)
