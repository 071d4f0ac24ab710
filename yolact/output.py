"""Folders and files that command lines write: refused early where that is impossible, and never half-written."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from yolact.errors import UserError


@contextmanager
def output_folder(path: str | Path) -> Iterator[Path]:
    """Make a folder and see that files can be written into it; on an error, take it away again if it is still empty.

    Raises:
        UserError: it cannot be made or written to.
    """
    folder = Path(path)
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
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


def write_json(data: Any, path: Path, indent: int | None = None) -> None:
    """Write JSON so that either the old or the whole new file stands at `path`.

    Raises:
        UserError: the disk is full, or the like.
    """
    text = json.dumps(data, indent=indent, allow_nan=False, ensure_ascii=False)
    # Half of a surrogate pair, which a name of an annotation file may hold, is written as JSON's own escape.
    write_bytes((text + "\n").encode(errors="backslashreplace"), path)


def write_bytes(data: bytes, path: Path, option: str = "--output") -> None:
    """Write `data` to a temporary file beside `path` and rename it; `option` is what a user chooses the folder by.

    Raises:
        UserError: the disk is full, or the like.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(
            f"'{path}' could not be written ({error.strerror}); make room or give another folder with {option}."
        ) from error
