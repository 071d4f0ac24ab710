"""MATLAB 5 to 7 files, read by SciPy in a process of its own, because damaged ones crash it."""

import faulthandler
import io
import multiprocessing
import signal
import struct
import sys
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolact.errors import DatasetError

Load = Callable[..., Mapping[str, Any]]  # scipy.io.loadmat

MAX_BYTES = 32_000_000  # before and after unpacking; the largest files of SBD have about a megabyte
MAX_MEMORY = 500_000_000  # bytes that SciPy may take; a damaged number makes it ask for all there is
TIMEOUT = 10.0  # seconds; a file of SBD takes a millisecond

_HEADER = 128  # bytes
_BYTE_ORDERS = {b"IM": "<", b"MI": ">"}
_COMPRESSED = 15  # type of an element


class MatReader:
    """Reads structs from .mat files; a context manager, which ends its process."""

    def __init__(self, load: Load) -> None:
        """Take scipy.io.loadmat, which the caller imports: only those who have .mat files need SciPy."""
        self._load = load
        self._process: BaseProcess | None = None

    def __enter__(self) -> "MatReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read_struct(self, path: Path, name: str, fields: tuple[str, ...]) -> dict[str, NDArray[Any]]:
        """Return fields of a variable that is one struct.

        Args:
            path: the file.
            name: of the variable.
            fields: names of fields that hold plain arrays.

        Raises:
            DatasetError: the file cannot be read, is larger than any real one, or holds something else.
        """
        found = self._ask(_read_bounded(path), name, fields)
        if isinstance(found, str):
            raise _damaged(path, found)
        if found is None:
            raise DatasetError(
                f"{path} has no struct {name} with arrays {' and '.join(fields)}; unpack the data set again."
            )
        return found

    def _ask(self, *question: object) -> dict[str, NDArray[Any]] | str | None:
        """Return what `_find` gives, or what became of the process."""
        try:
            if self._process is None:
                self._start()
            self._pipe.send(question)
            if self._pipe.poll(TIMEOUT):
                answer: dict[str, NDArray[Any]] | str | None = self._pipe.recv()
                return answer
            outcome = f"SciPy is not done with it after {TIMEOUT:g} seconds"
        except (OSError, EOFError):
            outcome = "SciPy crashed on it"
        self._stop()
        return outcome

    def _start(self) -> None:
        # Forking is fast, but sound on Linux only.
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._load), daemon=True)  # type: ignore[attr-defined]
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self._pipe.recv()  # it is ready

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(pipe: Connection, load: Load) -> None:
    """Answer questions until this process is killed, or the other one is."""
    faulthandler.disable()  # the other side says that there was a crash
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # and ends this process when Ctrl-C is pressed
    parent = multiprocessing.parent_process()
    assert parent is not None
    _limit_memory()
    pipe.send("ready")
    while pipe in wait([pipe, parent.sentinel]):
        pipe.send(_find(load, *pipe.recv()))


def _limit_memory() -> None:
    """Give this process an end to its memory, on Linux."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MAX_MEMORY, hard))


def _find(load: Load, data: bytes, name: str, fields: tuple[str, ...]) -> dict[str, NDArray[Any]] | str | None:
    """Return the fields, None where the variable is something else, or in words why the file cannot be read."""
    try:
        variable = load(io.BytesIO(data), variable_names=[name]).get(name)
        if (
            not isinstance(variable, np.ndarray)
            or variable.size != 1
            or not set(fields) <= {*(variable.dtype.names or ())}
        ):
            return None
        found = {field: variable[field].item() for field in fields}
        return (
            found if all(type(value) is np.ndarray and not value.dtype.hasobject for value in found.values()) else None
        )
    except Exception as error:  # SciPy checks little, so that a damaged file ends in any kind of exception
        return str(error) or type(error).__name__


def _read_bounded(path: Path) -> bytes:
    """Return the file with its compressed variables unpacked."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise DatasetError(f"Cannot read {path}: {error.strerror}; unpack the data set again.") from None
    order = _BYTE_ORDERS.get(data[_HEADER - 2 : _HEADER])
    if order is None:
        raise _damaged(path, "not a file of MATLAB 5 to 7")
    try:
        data = _unpack(data, order) if len(data) <= MAX_BYTES else data
    except (zlib.error, struct.error) as error:
        raise _damaged(path, str(error)) from None
    if len(data) > MAX_BYTES:
        raise _damaged(path, f"more than {MAX_BYTES:,} bytes when unpacked")
    return data


def _unpack(data: bytes, order: str) -> bytes:
    """Replace compressed elements by their content, until there are more than `MAX_BYTES` bytes."""
    parts, at, left = [data[:_HEADER]], _HEADER, MAX_BYTES + 1 - _HEADER
    while at < len(data) and left > 0:
        kind, size = struct.unpack_from(order + "II", data, at)
        end = at + 8 + size
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            parts.append(unpacker.decompress(data[at + 8 : end], left))
            if not unpacker.eof and len(parts[-1]) < left:
                raise zlib.error("it ends too early")
        else:
            parts.append(data[at:end])
        at, left = end, left - len(parts[-1])
    return b"".join(parts)


def _damaged(path: Path, why: str) -> DatasetError:
    return DatasetError(f"Cannot read {path} ({' '.join(why.split())}); unpack the data set again.")
