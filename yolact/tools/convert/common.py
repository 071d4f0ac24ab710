"""What all readers share: what they found and left aside, and names that stay below a folder."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as brief
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from yolact.errors import DatasetError
from yolact.tools.convert.objects import FoundObject

T = TypeVar("T")

SPLITS = ("train", "val", "test")
SPLIT_FOLDER = re.compile(r"(train|val|test)(?:id|idation)?\d*")  # train, val, valid, validation, test, train2017


class FoundImage(NamedTuple):
    """One image and its objects."""

    name: str  # its path below the source folder, with forward slashes
    image_size: tuple[int, int]  # (H, W)
    objects: list[FoundObject]
    embedded: Callable[[], bytes] | None = None  # gives the file's content where that stands in a label file


@dataclass
class Conversion:
    """A data set that a reader fills, and what it leaves aside."""

    folder: Path  # the names of the images are relative to it
    splits: dict[str, list[FoundImage]] = field(default_factory=dict)  # "train", "val" and "test", or all under ""
    class_names: dict[int, str] = field(default_factory=dict)  # by category id, in ascending order
    left_out: list[str] = field(default_factory=list)  # for each image that cannot be used, a sentence that says why
    counts: Counter[str] = field(default_factory=Counter)  # of what else was passed over, by kind
    examples: dict[str, str] = field(default_factory=dict)  # the first of each kind

    def note(self, kind: str, example: str) -> None:
        """Count something that was passed over."""
        self.counts[kind] += 1
        self.examples.setdefault(kind, example)

    def kept(self, item: FoundObject | None, where: str) -> list[FoundObject]:
        """Return the object in a list; for None an empty list, and a note that an object has no pixel."""
        if item is None:
            self.note("objects that cover no pixel, passed over", where)
        return [item] if item is not None else []

    def collect(self, jobs: Sequence[T], read: Callable[[T], FoundImage | None]) -> list[FoundImage]:
        """Read one image for each job. Those that fail are left out, those that give None are passed over.

        Raises:
            DatasetError: every one fails.
        """
        found: dict[str, FoundImage] = {}
        for job in tqdm(jobs, desc="read", unit="image", disable=None):
            try:
                image = read(job)
                if image is not None and image.name in found:
                    raise DatasetError(f"The image {image.name} is labelled twice, again by {job}; remove one of them.")
            except DatasetError as error:
                self.left_out.append(str(error))
            else:
                if image is not None:
                    found[image.name] = image
        if not found and self.left_out:
            raise DatasetError(f"None of {len(self.left_out)} images can be used; the first: {self.left_out[0]}")
        return list(found.values())

    def list_files(self, folder: Path, suffixes: Collection[str]) -> list[str]:
        """Return the files below `folder` with these suffixes, as sorted names relative to it, with forward slashes.

        Hidden files are passed over, such as the `._x.jpg` that macOS leaves in archives. Linked folders are followed.

        Raises:
            DatasetError: the folder does not exist or cannot be listed.
        """
        if not folder.is_dir():
            raise DatasetError(f"There is no folder '{folder}'; check the path.")
        names = {name for name in _walk(folder) if os.path.splitext(name)[1].lower() in suffixes}
        odd = {name for name in names if not is_plain(name)}
        self.left_out += [f"The name {name!r} below {folder} is not text; rename the file." for name in sorted(odd)]
        return sorted(names - odd)


def _walk(folder: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise DatasetError(f"Cannot list the folder '{error.filename}': {error.strerror}; check its permissions.")

    seen = set()
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if os.path.realpath(parent) in seen:  # a link back to where we were
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        names = (os.path.join(parent, name) for name in files if not name.startswith("."))
        yield from (Path(os.path.relpath(name, folder)).as_posix() for name in names)


def own_splits(images: list[FoundImage], subsets: Mapping[str, str] | None = None) -> dict[str, list[FoundImage]]:
    """Sort images into the splits that their folders are named after; "" holds all where not every one is.

    `subsets` gives, by image, the name of a subset to take in place of folders.
    """
    splits: dict[str, list[FoundImage]] = {}
    for image in images:
        folders = [subsets[image.name]] if subsets else image.name.split("/")[:-1]
        matches = (SPLIT_FOLDER.fullmatch(folder.lower()) for folder in folders)
        splits.setdefault(next((match[1] for match in matches if match), ""), []).append(image)
    if "" in splits or "train" not in splits:
        return {"": images}
    return {split: splits[split] for split in SPLITS if split in splits}


def name_below(folder: Path, path: Path) -> str | None:
    """Return `path` relative to `folder`, with forward slashes; None where it leads elsewhere."""
    try:
        return Path(os.path.abspath(path)).relative_to(os.path.abspath(folder)).as_posix()
    except ValueError:
        return None


def swap_folder(name: str, old: str, new: str) -> str:
    """Return a path, with forward slashes, whose last folder called `old`, if any, is called `new`."""
    before, found, after = f"/{name}".rpartition(f"/{old}/")
    return f"{before}/{new}/{after}".removeprefix("/") if found else name


def is_plain(text: str) -> bool:
    """Tell whether text can be written and printed: no control characters, no bytes that are not text."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def check(is_right: bool, where: object, name: str, expected: str, found: object) -> None:
    """Raise a DatasetError on a field of a label file unless it is right."""
    if not is_right:
        raise DatasetError(f"'{name}' of {where} must be {expected}, not {brief(found)}; correct it.")


def read_file(path: Path) -> bytes:
    """Return the content of a file, or raise a DatasetError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"Cannot read {path}: {error.strerror}; check its permissions.") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file in UTF-8, or raise a DatasetError."""
    try:
        return read_file(path).decode("utf-8-sig").splitlines()
    except ValueError:
        raise DatasetError(f"The file {path} is not text; save it as UTF-8.") from None
