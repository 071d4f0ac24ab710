"""Finding the image that a label file names as another computer, a server or another folder knows it."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Container, Iterable

from yolact.data.images import SUFFIXES
from yolact.errors import DatasetError
from yolact.text import printable
from yolact.tools.convert.common import Conversion

UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file


class Images:
    """The image files below the folder of a conversion, but for those of the names `masks`."""

    def __init__(self, conversion: Conversion, masks: Container[str] = ()) -> None:
        self.folder = conversion.folder
        self.names = [name for name in conversion.list_files(conversion.folder, SUFFIXES) if name not in masks]
        self.used: set[str] = set()
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self._by_name[posixpath.basename(name)].append(name)

    def find(self, given: str, where: object, near: Iterable[str] = ()) -> str:
        """Return the name, below the folder, of the file that a label, named `where` in errors, calls `given`.

        That is the file of this path below the folder or one of the folders `near`; else the one that agrees with the
        path in the most folders, and has the same name. DatasetError where there is none, or several agree equally.
        """
        path = given.replace("\\", "/")
        last = posixpath.basename(path)
        same = self._by_name.get(last) or self._by_name.get(UPLOADED.sub("", last, count=1), [])
        chosen = [name for name in (posixpath.normpath(f"{folder}/{path}") for folder in (".", *near)) if name in same]
        if not chosen:
            ranks = [len(posixpath.commonprefix([name.split("/")[::-1], path.split("/")[::-1]])) for name in same]
            chosen = [name for name, rank in zip(same, ranks, strict=True) if rank == max(ranks)]
            if len(chosen) != 1:
                found = f"{len(chosen)} files fit it, {' and '.join(chosen[:2])}" if chosen else "no file has that name"
                raise DatasetError(
                    f"The image '{printable(given)}' of {where} is not found below '{self.folder}': {found}; put it "
                    "there once, or give the folder of the images by --images."
                )
        self.used.add(chosen[0])
        return chosen[0]

    def unused(self) -> list[str]:
        """Return the images that were not asked for, sorted."""
        return [name for name in self.names if name not in self.used]
