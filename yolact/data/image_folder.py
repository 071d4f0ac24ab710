"""Finding the files that an annotation file names, however a tool wrote their names."""

import os
import unicodedata
from collections import Counter
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from yolact.text import printable

MOST_SEARCHED = 1_000_000  # files below a folder that are looked at for one of a name


class ImageFolder:
    """A folder of images; each of its folders is listed once, instead of asking for one file after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names_in, self._folded_in = cache(self._list), cache(self._list_folded)

    def _list(self, parent: str) -> set[str]:
        # A folder may be absent, not to be listed, or have a zero in its name; a pipe would be waited for.
        with suppress(OSError, ValueError), os.scandir(self.folder / parent) as entries:
            return {entry.name for entry in entries if entry.is_symlink() or entry.is_file() or entry.is_dir()}
        return set()

    def _list_folded(self, parent: str) -> dict[str, str]:
        """Return the names in a folder that no other one equals but for case and accents, by what they share."""
        times = Counter(map(folded, self._names_in(parent)))
        return {folded(name): name for name in self._names_in(parent) if times[folded(name)] == 1}

    def holds(self, name: str) -> bool:
        """Tell whether there is a file of this name, relative to the folder."""
        parent, last = os.path.split(name)
        # A listing may spell a name otherwise than the file does (accents, case), so ask before refusing. os.path
        # takes names that are too long for a file, or hold a zero, for absent ones; Path raises.
        return last in self._names_in(parent) or os.path.isfile(self.folder / name)

    def resolve(self, name: str) -> str | None:
        """Return the name of the file that is certainly meant by `name`, which there is not itself, or None.

        It differs in its separators (Windows), in being escaped as in an address, or in accents that are composed
        otherwise (macOS) or in case, where one file alone has such a name.
        """
        slashed = name.replace("\\", "/")
        for other in map(os.path.normpath, (slashed, unquote(slashed))):
            if leaves_folder(other):
                continue
            if other != name and self.holds(other):
                return other
            parent, last = os.path.split(other)
            if (found := self._folded_in(parent).get(folded(last))) is not None:
                return os.path.join(parent, found)
        return None

    def only_of_its_name(self, name: str) -> str | None:
        """Return the one file, here or further below, of the same last name; None for none, or for several."""
        return self._by_last_name.get(PureWindowsPath(name).name)

    @cached_property
    def _by_last_name(self) -> dict[str, str]:
        found: dict[str, str] = {}
        times: Counter[str] = Counter()
        for parent, _, names in os.walk(self.folder):
            times.update(names)
            found.update({name: Path(parent, name).relative_to(self.folder).as_posix() for name in names})
            if times.total() > MOST_SEARCHED:
                return {}
        return {name: path for name, path in found.items() if times[name] == 1}

    def hint(self, name: str) -> str:
        """Return the part of a sentence that proposes a file, or ""."""
        found = self.only_of_its_name(name)
        if found is None:
            return ""
        return f" (the only file of that name there is '{printable(found)}', which `yolact check --fix` takes)"


def leaves_folder(name: str) -> bool:
    """Tell whether a relative name, by the rules of any system, leads out of the folder that it is relative to."""
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    return ".." in parts or name.startswith(("/", "\\")) or bool(PureWindowsPath(name).drive)


def folded(name: str) -> str:
    """Return what names share that differ in case and in how accents are composed."""
    return unicodedata.normalize("NFC", name).lower()
