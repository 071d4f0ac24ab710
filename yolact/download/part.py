"""The part that is there of a download: its bytes, its version, and that one process alone writes it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from yolact.errors import DownloadError

try:
    import fcntl
except ImportError:  # Windows, where two processes that fetch the same file are not kept apart
    fcntl = None  # type: ignore[assignment]

MEGABYTE = 1_000_000  # bytes


class Wanted(NamedTuple):
    """What is asked for; `size` in bytes and `sha256` in lower-case hex digits, None where unknown."""

    url: str
    size: int | None
    sha256: str | None

    def difference(self, size: int, sha256: str | None = None) -> str | None:
        """Say how bytes differ from the ones expected, None where they do not, as far as is known."""
        if self.size not in (None, size):
            return f"{size} bytes instead of {self.size}"
        if self.sha256 is not None and sha256 not in (None, self.sha256):
            return f"SHA-256 {sha256} instead of {self.sha256}"
        return None


class Part:
    """The bytes that are there of a download, in `<path>.part`, and which version of the file they belong to."""

    def __init__(self, path: Path, file: FileIO, wanted: Wanted) -> None:
        self.path, self._file, self._wanted = path, file, wanted
        self._tag_path = path.with_name(path.name + ".tag")
        self.tag = self._read_tag()
        self._digest = digest(file)
        self.length = file.tell()
        self.joined = self.length > 0  # from more than one answer of the server
        self.received = 0  # bytes in this call

    @property
    def resumable(self) -> bool:
        """Whether a later request can go on where this one stops."""
        return self.length > 0 and (self._wanted.sha256 is not None or self.tag is not None)

    @property
    def note(self) -> str:
        """End of an error message: what the next run begins with."""
        kept = f"; {amount(self.length)} are kept in '{self.path}', and the next run goes on from there"
        return kept if self.resumable else ""

    def difference(self) -> str | None:
        """Say how the bytes differ from the ones expected, None where they do not, as far as is known."""
        return self._wanted.difference(self.length, self._digest.hexdigest())

    def restart(self, tag: str | None) -> None:
        """Drop all bytes; those that follow belong to the version `tag`."""
        with self._errors():
            self._file.truncate(0)
            self._digest, self.length, self.joined, self.tag = hashlib.sha256(), 0, False, tag
            self._tag_path.write_text(f"{self._wanted.url}\n{tag or ''}", encoding="utf-8")

    def write(self, chunk: bytes) -> None:
        """Append bytes."""
        rest = memoryview(chunk)
        with self._errors():
            while rest:
                written = self._file.write(rest)
                self._digest.update(rest[:written])
                self.length, self.received, rest = self.length + written, self.received + written, rest[written:]

    def finish(self, path: Path) -> None:
        """Give the bytes their final name."""
        with self._errors():
            os.fsync(self._file.fileno())
            self._file.close()  # because Windows renames no open file
            os.replace(self.path, path)
            self._tag_path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Take the files away."""
        self._file.close()
        for path in (self.path, self._tag_path):
            with suppress(OSError):
                path.unlink()

    def _read_tag(self) -> str | None:
        with suppress(OSError, ValueError):
            url, _, tag = self._tag_path.read_text(encoding="utf-8").partition("\n")
            return tag if url == self._wanted.url and tag else None
        return None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DownloadError(
                f"'{self.path}' could not be written ({error.strerror}); make room or choose another folder{self.note}."
            ) from error


@contextmanager
def open_part(path: Path, wanted: Wanted) -> Iterator[Part]:
    """Open `<path>.part`, made with its folder; in the end take away what the next run cannot use."""
    name, folder_existed = path.with_name(path.name + ".part"), os.path.exists(path.parent)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(name, "a+b", buffering=0))
            _require_alone(file, name)
            file.seek(0)
            part = Part(name, file, wanted)
        except OSError as error:
            raise DownloadError(f"'{name}' cannot be written ({error.strerror}); choose another folder.") from error
        try:
            yield part
        finally:
            if not part.resumable:
                part.remove()
            if not folder_existed:
                with suppress(OSError):  # something came
                    path.parent.rmdir()


def _require_alone(file: FileIO, name: Path) -> None:
    """Refuse a part that another process is writing; the lock ends with the process, however that ends."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = os.path.samestat(os.fstat(file.fileno()), os.stat(name))
    except (BlockingIOError, FileNotFoundError):
        alone = False
    except OSError:  # a network drive without locks
        return
    if not alone:
        raise DownloadError(f"Another process is just downloading '{name}'; wait until it is done.")


def digest(file: FileIO) -> "hashlib._Hash":
    """Read a file to its end and return its SHA-256, which further bytes can be added to."""
    result = hashlib.sha256()
    while chunk := file.read(MEGABYTE):
        result.update(chunk)
    return result


def amount(size: int) -> str:
    """Write a number of bytes for people."""
    return f"{size / MEGABYTE:.1f} MB" if size >= MEGABYTE / 10 else f"{size} bytes"
