"""Run folders: made, locked, swept of what a kill left, and searched for a checkpoint to go on from."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from yolact.engine.callbacks import BEST, LAST, METRICS_FILE
from yolact.engine.checkpoint import load_checkpoint, previous_of
from yolact.engine.trainer import NEEDED
from yolact.errors import CheckpointError, UserError
from yolact.output import TEMPORARY

logger = logging.getLogger(__name__)

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
    where = path if given else runs
    pattern = "" if given else "**/"
    files = [file for name in (LAST, previous_of(Path(LAST)).name) for file in where.glob(pattern + name)]
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
    if "optimizer" not in checkpoint:
        raise CheckpointError(
            f"'{path}' holds weights only, nothing to resume: start from it with --config FILE --weights {path}."
        )
    absent = [key for key in NEEDED if key not in checkpoint]
    if absent:
        raise CheckpointError(f"{path}: the checkpoint lacks {', '.join(absent)}, which a run needs to go on.")
    return checkpoint


def prepare_folder(folder: Path, resuming: bool) -> None:
    """Make the run folder, which a new run does not share with an old one, and see that it can be written.

    Raises:
        UserError: it holds a run already, or cannot be made or written.
    """
    if not resuming and (folder / METRICS_FILE).exists():
        raise UserError(f"{folder} already holds a run: go on with --resume {folder}, or give another --name.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").open("a").close()
    except OSError as error:
        file = next((place for place in (folder, *folder.parents) if os.path.isfile(place)), None)
        reason = f"{file} is a file" if file else error.strerror
        remedy = "copy it to where you may write" if resuming else "choose another place with --runs"
        raise UserError(f"The run folder {folder} cannot be written ({reason}): {remedy}.") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training in this folder; the system takes the lock away from one that is killed.

    Raises:
        UserError: another process is training in it.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        try:
            lock.acquire(timeout=SECONDS_TO_WAIT)
        except Timeout:
            raise UserError(
                f"Another process is training in {folder}: wait for it or end it, or start anew with --config."
            ) from None
    except (NotImplementedError, OSError):  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        lock.release()


def warn_of_little_space(folder: Path, checkpoint_bytes: int) -> None:
    """Say at the start of a run if its checkpoints will not fit on the disk."""
    names = (LAST, previous_of(Path(LAST)).name, BEST)
    needed = checkpoint_bytes * (1 + sum(not (folder / name).exists() for name in names))  # and one being written
    free = shutil.disk_usage(folder).free
    if free < needed:
        logger.warning(
            "the disk of %s has %.0f MB free, but the checkpoints need about %.0f MB: make room, or the run will stop",
            folder, free / 1e6, needed / 1e6,
        )  # fmt: skip


def sweep(folder: Path) -> list[str]:
    """Remove the unfinished files of a killed run and return their names."""
    leftovers = sorted(file for file in folder.glob(f"*{TEMPORARY}") if file.is_file())
    for file in leftovers:
        with suppress(OSError):
            os.remove(file)
    return [file.name for file in leftovers]
