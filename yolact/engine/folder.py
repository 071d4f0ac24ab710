"""Run folders: made, locked, swept of what a kill left, logged into, and searched for a checkpoint to go on from."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout
from tqdm import tqdm

from yolact.engine.callbacks import BEST, LAST, METRICS_FILE
from yolact.engine.checkpoint import load_checkpoint, previous_of
from yolact.engine.state import NEEDED
from yolact.errors import CheckpointError, UserError
from yolact.output import TEMPORARY

logger = logging.getLogger(__name__)

BEFORE_LAST = previous_of(Path(LAST)).name
LOG_FILE = "log.txt"
# The workers of a killed training hold its lock until they see, within five seconds, that it is gone.
SECONDS_TO_WAIT = 10.0


class Found(NamedTuple):
    """A checkpoint to go on from."""

    path: Path
    checkpoint: dict[str, Any]
    warnings: list[str]  # about newer ones that cannot be used


def find_checkpoint(given: str, runs: Path) -> Found:
    """Read the checkpoint that --resume asks for.

    Args:
        given: a checkpoint file, which must be whole; a run folder, whose last.prev.pth stands in for a damaged
            last.pth; or "" for the newest whole one of all folders under `runs`.

    Raises:
        CheckpointError: there is none, or none that can be used.
    """
    path = Path(given)
    if given and not os.path.isdir(path):
        return Found(path, _read(path), [])
    where, pattern = (path, "") if given else (runs, "**/")
    files = [file for name in (LAST, BEFORE_LAST) for file in where.glob(pattern + name)]
    if not files:
        raise CheckpointError(
            f"There is no checkpoint to resume in {where}{'' if given else ' and its folders'} (no {LAST}): start with "
            "--config FILE, or name the folder of a run."
        )
    warnings: list[str] = []
    for file in sorted(files, key=lambda file: (file.stat().st_mtime_ns, file.name == LAST), reverse=True):
        try:
            checkpoint = _read(file)
        except CheckpointError as error:
            warnings.append(str(error))
            continue
        if given and file.name != LAST and not warnings:
            warnings.append(f"{path / LAST} is not there.")
        return Found(file, checkpoint, warnings)
    raise CheckpointError(f"None of the {len(files)} checkpoints in {where} can be used; the newest: {warnings[0]}")


def _read(path: Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(path)
    absent = [key for key in NEEDED if key not in checkpoint]
    if absent:
        raise CheckpointError(
            f"'{path}' lacks {', '.join(absent)}, so there is nothing to resume: start from its weights with --config "
            f"FILE --weights {path}."
        )
    return checkpoint


def prepare_folder(folder: Path, resuming: bool) -> None:
    """Make the run folder; UserError if it holds a run that is not gone on with, or cannot be written."""
    if not resuming and (folder / METRICS_FILE).exists():
        raise UserError(f"{folder} already holds a run: go on with --resume {folder}, or give another --name.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOG_FILE).open("a").close()
    except OSError as error:
        remedy = "copy it to where you may write" if resuming else "choose another place with --runs"
        raise UserError(f"The run folder {folder} cannot be written ({error.strerror}): {remedy}.") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out; UserError if one is training here. The system frees the lock of a killed one."""
    lock = FileLock(folder / ".lock", timeout=SECONDS_TO_WAIT)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"Another process is training in {folder}: wait for it or end it, or start anew with --config."
        ) from None
    except (NotImplementedError, OSError):  # a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()


def warn_of_little_space(folder: Path, checkpoint_bytes: int) -> None:
    """Say at the start of a run if its checkpoints will not fit on the disk."""
    absent = [name for name in (LAST, BEFORE_LAST, BEST) if not (folder / name).exists()]
    needed, free = checkpoint_bytes * (1 + len(absent)), shutil.disk_usage(folder).free  # 1 while it is being written
    if free < needed:
        logger.warning(
            "the disk of %s has %.0f MB free, but the checkpoints need about %.0f MB: make room, or the run will stop",
            folder, free / 1e6, needed / 1e6,
        )  # fmt: skip


def sweep(folder: Path) -> None:
    """Remove the unfinished files of a killed run."""
    leftovers = sorted(file for file in folder.glob(f"*{TEMPORARY}") if file.is_file())
    for file in leftovers:
        with suppress(OSError):
            file.unlink()
    if leftovers:
        names = ", ".join(file.name for file in leftovers)
        logger.info("removed what a killed run had not finished writing: %s", names)


class _Console(logging.Handler):
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


def set_up_logging(folder: Path, rank: int = 0) -> None:
    """Send the package's log lines to the console and to log.txt; other ranks than 0 print warnings alone."""
    ours = logging.getLogger("yolact")
    for handler in list(ours.handlers):
        ours.removeHandler(handler)
        handler.close()
    ours.setLevel(logging.WARNING if rank else logging.INFO)
    handlers: dict[logging.Handler, str] = {_Console(): f"[rank {rank}] %(message)s" if rank else "%(message)s"}
    if not rank:
        handlers[_LogFile(folder / LOG_FILE)] = "%(asctime)s %(message)s"
    for handler, form in handlers.items():
        handler.setFormatter(logging.Formatter(form))
        ours.addHandler(handler)
