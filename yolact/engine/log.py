"""What a run writes down: metrics.jsonl, the text log, and TensorBoard events if asked for."""

import json
import logging
import os
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
        try:
            tqdm.write(self.format(record), file=sys.stdout)
        except OSError:
            self.setLevel(logging.CRITICAL + 1)  # the terminal is gone; the run and log.txt go on


class _LogFile(logging.FileHandler):
    """A log that gives up with one line where it cannot be written, instead of a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        print(f"{self.baseFilename} cannot be written any more: {sys.exc_info()[1]}", file=sys.stderr)
        self.setLevel(logging.CRITICAL + 1)


def set_up_warnings(rank: int) -> None:
    """Send warnings alone to the console, as the process of this rank does where the first one has the word."""
    logger = logging.getLogger("yolact")
    console = _TqdmHandler()
    console.setFormatter(logging.Formatter(f"[process {rank}] %(message)s"))
    logger.setLevel(logging.WARNING)
    logger.addHandler(console)


def set_up_logging(folder: Path) -> None:
    """Send the package's log lines to the console and to log.txt in the run folder."""
    logger = logging.getLogger("yolact")
    logger.setLevel(logging.INFO)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    console, file = _TqdmHandler(), _LogFile(folder / "log.txt")
    console.setFormatter(logging.Formatter("%(message)s"))
    file.setFormatter(logging.Formatter(LOG_FORMAT))
    for handler in (console, file):
        logger.addHandler(handler)


class MetricsFile:
    """metrics.jsonl: one JSON object a line, training lines {"step", "lr", "losses", ...}, and evaluation lines.

    The file holds nothing that depends on the machine's speed, so two equal runs write equal files. Opened for a run
    that goes on at `step`, it is cut after the last line that the checkpoint knows of: the rest will be written again.
    """

    def __init__(self, folder: Path, step: int, evaluated: bool = True, tensorboard: bool = False):
        """Open the file, made if it is not there.

        Args:
            folder: of the run.
            step: of the checkpoint that the run goes on from.
            evaluated: whether an evaluation at that step, if any, is in the checkpoint; else its line is cut off too.
            tensorboard: write TensorBoard events as well.

        Raises:
            UserError: it cannot be written, or TensorBoard is asked for and not installed.
        """
        self.path = folder / "metrics.jsonl"
        try:
            self.file = self.path.open("a+b", buffering=0)
            self.file.truncate(self._known(step, evaluated))
        except OSError as error:
            raise UserError(f"{self.path} cannot be written ({error.strerror}): see to its permissions.") from error
        self.writer = _tensorboard_writer(folder, step) if tensorboard else None

    def _known(self, step: int, evaluated: bool) -> int:
        """Return how many bytes there are up to the last line that a checkpoint at `step` knows of."""
        known = place = 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            place += len(line)
            at = _step_of(line)
            if at < step or (at == step and (evaluated or b'"evaluation"' not in line)):
                known = place
        return known

    def write(self, record: dict[str, Any]) -> None:
        """Append one line; numbers are also sent to TensorBoard under their keys.

        Raises:
            UserError: the disk is full, or the like; half a line is dropped when the run goes on.
        """
        rest = (json.dumps(record) + "\n").encode()
        try:
            while rest:
                rest = rest[self.file.write(rest) :]
        except OSError as error:
            raise UserError(
                f"{self.path} could not be written ({error.strerror}): make room and go on with --resume "
                f"{self.path.parent}."
            ) from error
        if self.writer is not None:
            for name, value in _flatten(record):
                self.writer.add_scalar(name, value, record["step"])

    def sync(self) -> None:
        """See that the lines survive a power cut, as the checkpoint does that is saved next."""
        os.fsync(self.file.fileno())

    def __enter__(self) -> "MetricsFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.file.close()
        if self.writer is not None:
            self.writer.close()


class NoMetricsFile(MetricsFile):
    """What all processes but the first write their metrics to: nothing."""

    def __init__(self) -> None:
        pass

    def write(self, record: dict[str, Any]) -> None:
        """Forget the line."""

    def sync(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass


def _step_of(line: bytes) -> float:
    """Return the step of a line; a line that a kill cut short counts as after every step."""
    try:
        return json.loads(line)["step"] if line.endswith(b"\n") else float("inf")
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
