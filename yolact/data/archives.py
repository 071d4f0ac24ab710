"""Unpacking downloaded zip archives: nothing outside the folder, nothing half-written, no more than expected."""

import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from yolact.errors import DownloadError

_CHUNK = 1 << 20  # bytes
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile lets out where an archive is damaged; struct.error and ValueError come from headers.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError)


class Limits(NamedTuple):
    """How many bytes may be unpacked at most; a small archive can hold more than any disk."""

    member: int
    total: int


def unpack(archive: Path, folder: Path, wanted: str, limits: Limits, *, progress: bool = True) -> int:
    """Unpack members of a zip archive below `folder`; those that are there already are only checked.

    A member is written under a temporary name and gets its own when its length and CRC-32 are the archive's. So
    whatever an interrupted call leaves is whole, and the next one goes on from there.

    Args:
        archive: the file.
        folder: made where it is missing.
        wanted: regular expression that the whole name of a member must match; others stay packed.
        limits: of the wanted members.
        progress: show a bar.

    Returns:
        The number of wanted members.

    Raises:
        DownloadError: the archive is damaged, has no such members, exceeds the limits, or has a member, wanted or not,
            that is a link or could leave the folder; a file that is there is not the archive's; there is no room, or
            the folder cannot be written.
    """
    with _open(archive) as file:
        members = _wanted_members(file, archive, wanted, limits)
        there = {member.filename for member in members if os.path.lexists(folder / member.filename)}
        _require_room(sum(member.file_size for member in members if member.filename not in there), folder)
        bar = tqdm(
            total=sum(member.file_size for member in members),
            desc=f"unpacking {archive.name}",
            unit="B",
            unit_scale=True,
            dynamic_ncols=True,
            delay=0.5,
            disable=not progress,
        )
        with bar:
            for member in members:
                handle = _require_same if member.filename in there else _write
                handle(file, member, folder / member.filename, bar.update)
    return len(members)


def _open(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except _DAMAGE as error:
        raise _damaged(archive, error) from error


def _wanted_members(file: zipfile.ZipFile, archive: Path, wanted: str, limits: Limits) -> list[zipfile.ZipInfo]:
    for member in file.infolist():
        _require_safe(member, archive)
    pattern = re.compile(wanted)
    members = [member for member in file.infolist() if pattern.fullmatch(member.filename)]
    if not members:
        raise DownloadError(f"'{archive}' holds nothing of the name {wanted}; it is another archive, remove it.")
    names = Counter(member.filename.casefold() for member in members)
    [(name, count)] = names.most_common(1)
    if count > 1:
        raise DownloadError(f"'{archive}' holds '{name}' {count} times; it is not an archive to be trusted, remove it.")
    largest, total = max(member.file_size for member in members), sum(member.file_size for member in members)
    if largest > limits.member or total > limits.total:
        raise DownloadError(
            f"'{archive}' would unpack to {total} bytes, its largest file to {largest}, expected at most "
            f"{limits.total} and {limits.member}; it is not an archive to be trusted, remove it."
        )
    return members


def _require_safe(member: zipfile.ZipInfo, archive: Path) -> None:
    """Refuse what never belongs in an archive of data; it tells more about the archive than about the member."""
    name, kind = member.orig_filename, stat.S_IFMT(member.external_attr >> 16)
    leaves = name.startswith("/") or ".." in PurePosixPath(name).parts or any(sign in name for sign in "\\:")
    if leaves or not name.isprintable():
        fault = f"the name {name!a}, which could leave the folder"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = f"'{name}', which is a link or a special file"
    elif member.compress_type not in _METHODS or member.flag_bits & 1:
        fault = f"'{name}', which is encrypted or packed in an unusual way"
    else:
        return
    raise DownloadError(f"'{archive}' has {fault}; it is not an archive to be trusted, remove it.")


def _require_room(needed: int, folder: Path) -> None:
    free = free_bytes(folder)
    if needed > free:
        raise DownloadError(
            f"Unpacking into '{folder}' needs another {gigabytes(needed)}, but only {gigabytes(free)} are free there; "
            "make room or choose another folder."
        )


def free_bytes(folder: Path) -> int:
    """Return the room on the disk of a folder that may yet have to be made."""
    place = Path(os.path.abspath(folder))
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def gigabytes(size: int) -> str:
    """Write a number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 5e7 else f"{size / 1e6:.1f} MB"


def _write(file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, update: Callable[[int], object]) -> None:
    temporary = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as output:
            for chunk in _chunks(file, member):
                output.write(chunk)
                update(len(chunk))
        os.replace(temporary, target)
    except OSError as error:
        raise DownloadError(
            f"'{target}' could not be written ({error.strerror}); make room or choose another folder, and run this "
            "again, which goes on from there."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _chunks(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """Yield the content of a member, which zipfile compares with its CRC-32 in the end."""
    length = 0
    try:
        with file.open(member) as source:
            while chunk := source.read(_CHUNK):
                length += len(chunk)
                yield chunk
        if length != member.file_size:
            raise EOFError(f"{length} bytes instead of {member.file_size}")
    except _DAMAGE as error:
        raise _damaged(Path(str(file.filename)), error, member.filename) from error


def _require_same(
    file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, update: Callable[[int], object]
) -> None:
    """Refuse a file that is there with another content than the archive's."""
    crc, length = 0, 0
    try:
        with open(target, "rb") as content:
            while length <= member.file_size and (chunk := content.read(_CHUNK)):
                crc, length = zlib.crc32(chunk, crc), length + len(chunk)
                update(len(chunk))
    except OSError as error:
        raise DownloadError(f"'{target}' is there but cannot be read ({error.strerror}); remove it.") from error
    if (crc, length) != (member.CRC, member.file_size):
        raise DownloadError(
            f"'{target}' is there but is not the file of that name in '{file.filename}'; remove it and run this again."
        )


def _damaged(archive: Path, error: Exception, member: str = "") -> DownloadError:
    why = " ".join(str(error).split()) or type(error).__name__
    return DownloadError(
        f"'{archive}' is damaged{f' at {member}' if member else ''} ({why}); remove it and run this again, which "
        "fetches it anew."
    )
