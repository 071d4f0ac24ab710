"""Folders and files that command lines write: refused early where that is impossible, and never half-written."""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from yolact.errors import UserError

TEMPORARY = ".tmp"  # ends the name of a file that is being written
OPENVINO_FILES = ("model.xml", "model.bin")  # in an exported folder, as yolact.runtimes.openvino knows it


@contextmanager
def output_folder(path: str | Path) -> Iterator[Path]:
    """Make a folder and see that files can be written into it; on an error, take it away again if it is still empty.

    Raises:
        UserError: it cannot be made or written to.
    """
    folder = Path(path)
    existed = os.path.exists(folder)  # which raises nothing
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "it is a file" if os.path.isfile(folder) else error.strerror
        raise UserError(
            f"The output folder '{folder}' cannot be written ({reason}); give another one with --output."
        ) from error
    try:
        yield folder
    except BaseException:
        if not existed:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the name `path` when the block ends: at every moment the old or the new one stands there.

    It survives a power cut. Until then it has a name of its own, so that two writers cannot mix; a kill leaves that.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def require_replaceable(path: Path) -> None:
    """Raise a UserError where a folder stands at `path` that holds anything but an exported model."""
    for inside in path.iterdir() if path.is_dir() else ():
        if inside.name not in OPENVINO_FILES or inside.is_dir():
            raise UserError(
                f"'{path}' holds '{inside.name}', which is not of an earlier export and would be lost with the folder: "
                "move it away, or choose another --output."
            )


@contextmanager
def finished_path(path: Path) -> Iterator[Path]:
    """Give the path of a file or folder that is to be made, which takes the name `path` when the block ends.

    Until then an older one stays there, and after an error too. The temporary name has the same ending.

    Raises:
        UserError: the disk is full, or the like, or the older one is no exported model.
    """
    temporary = path.with_name(f"{secrets.token_hex(4)}{TEMPORARY}_{path.name}")
    try:
        yield temporary
        require_replaceable(path)
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"'{path}' could not be written ({error.strerror}); make room or give another folder with --output."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a renaming in `folder` survive a power cut, where the system can open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(data: Any, path: Path, indent: int | None = None) -> None:
    """Write JSON as `write_bytes` does."""
    text = json.dumps(data, indent=indent, allow_nan=False, ensure_ascii=False)
    # Half of a surrogate pair, which a name of an annotation file may hold, is written as JSON's own escape.
    write_bytes((text + "\n").encode(errors="backslashreplace"), path)


def write_bytes(data: bytes, path: Path, option: str = "--output") -> None:
    """Write `data` as `atomic_file` does; `option` is what a user chooses the folder by.

    UserError if the disk is full, or the like.
    """
    try:
        with atomic_file(path) as file:
            file.write(data)
    except OSError as error:
        raise UserError(
            f"'{path}' could not be written ({error.strerror}); make room or give another folder with {option}."
        ) from error
