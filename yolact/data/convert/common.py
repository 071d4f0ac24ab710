"""What all readers share: the records that they fill, the notes that they take, and names that stay below a folder."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from yolact.data.convert.objects import FoundObject
from yolact.errors import DatasetError

T = TypeVar("T")

SPLIT_FOLDER = re.compile(r"(train|val|test)(?:id|idation)?\d*")  # train, val, valid, validation, test, train2017
SPLITS = ("train", "val", "test")

Track = Callable[[list[Any]], Iterable[Any]]  # goes through a list and may show how far it is


class FoundPicture(NamedTuple):
    """One picture and its objects."""

    name: str  # its path below the source folder, with forward slashes
    image_size: tuple[int, int]  # (H, W)
    objects: list[FoundObject]
    embedded: Callable[[], bytes] | None = None  # gives the file's content where it lies within a label file


@dataclass
class Notes:
    """What a reader left aside.

    Attributes:
        left_out: for each picture that could not be used, a sentence that says why.
        counts: how often something else was passed over, by kind.
        examples: the first example of each kind.
        remarks: sentences on the whole data set.
    """

    left_out: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, kind: str, example: str) -> None:
        """Count something that was passed over."""
        self.counts[kind] += 1
        self.examples.setdefault(kind, example)


@dataclass
class Conversion:
    """A data set as a reader found it.

    Attributes:
        folder: the source; the names of the pictures are relative to it.
        splits: the pictures of "train", "val" and "test" where the source has its own split, else all under "".
        class_names: by category id, in ascending order.
        notes: what was left aside.
    """

    folder: Path
    splits: dict[str, list[FoundPicture]]
    class_names: dict[int, str]
    notes: Notes


def collect(jobs: list[T], read: Callable[[T], FoundPicture | None], notes: Notes, track: Track) -> list[FoundPicture]:
    """Read one picture for each job; those that fail are left out and noted, those that give None are passed over.

    Raises:
        DatasetError: every one fails, or two have the same name.
    """
    found: dict[str, FoundPicture] = {}
    for job in track(jobs):
        try:
            picture = read(job)
            if picture is not None and picture.name in found:
                raise DatasetError(
                    f"The picture {picture.name} is labelled a second time, by {job}; remove one of them."
                )
        except DatasetError as error:
            notes.left_out.append(str(error))
            continue
        if picture is not None:
            found[picture.name] = picture
    if not found and notes.left_out:
        raise DatasetError(f"None of {len(notes.left_out)} pictures can be used; the first: {notes.left_out[0]}")
    return list(found.values())


def own_splits(pictures: list[FoundPicture]) -> dict[str, list[FoundPicture]]:
    """Sort the pictures into the splits that their folders are named after; "" holds all where not every one is."""
    splits: dict[str, list[FoundPicture]] = {}
    for picture in pictures:
        splits.setdefault(_split_of(picture.name), []).append(picture)
    if "" in splits or "train" not in splits:
        return {"": pictures}
    return {split: splits[split] for split in SPLITS if split in splits}


def _split_of(name: str) -> str:
    matches = (SPLIT_FOLDER.fullmatch(part.lower()) for part in name.split("/")[:-1])
    return next((match[1] for match in matches if match), "")


def list_files(folder: Path, suffixes: Iterable[str], notes: Notes) -> list[str]:
    """Return the files below `folder` whose names end so, as sorted names relative to it, with forward slashes.

    Hidden files are passed over, such as the `._x.jpg` that macOS leaves in archives. Linked folders are followed.

    Raises:
        DatasetError: the folder does not exist or cannot be listed.
    """
    if not folder.is_dir():
        raise DatasetError(f"There is no folder '{folder}'; check the path.")
    names = []
    for name in _walk(folder):
        if os.path.splitext(name)[1].lower() not in suffixes:
            continue
        if is_plain(name):
            names.append(name)
        else:
            notes.left_out.append(f"The name {name!r} below {folder} holds bytes that are not text; rename the file.")
    return sorted(names)


def _walk(folder: Path) -> Iterator[str]:
    seen = set()

    def refuse(error: OSError) -> None:
        raise DatasetError(f"Cannot list the folder '{error.filename}': {error.strerror}; check its permissions.")

    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if os.path.realpath(place) in seen:  # a link back to where we were
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        for name in files:
            if not name.startswith("."):
                yield Path(os.path.relpath(os.path.join(place, name), folder)).as_posix()


def name_below(folder: Path, path: Path) -> str | None:
    """Return `path` relative to `folder`, with forward slashes; None where it leads elsewhere."""
    try:
        return Path(os.path.abspath(path)).relative_to(os.path.abspath(folder)).as_posix()
    except ValueError:
        return None


def swap_folder(name: str, old: str, new: str) -> str:
    """Return a path, with forward slashes, whose last folder called `old`, if any, is called `new`."""
    *folders, file = name.split("/")
    if old in folders:
        folders[len(folders) - 1 - folders[::-1].index(old)] = new
    return "/".join([*folders, file])


def is_plain(text: str) -> bool:
    """Tell whether text can be written and printed: no control characters, no bytes that are not text."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
