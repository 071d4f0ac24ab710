"""Finding the image that a label file names as another computer, a server or another folder knows it."""

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from urllib.parse import unquote

from yolact.data.image_folder import folded
from yolact.data.images import SUFFIXES
from yolact.errors import DatasetError
from yolact.text import printable
from yolact.tools.convert.common import Conversion

UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file


class Images:
    """The image files below the folder of a conversion, but for those of the names `masks`."""

    def __init__(self, conversion: Conversion, masks: Iterable[str] = ()) -> None:
        self._conversion = conversion
        self._known = {*conversion.list_files(conversion.folder, SUFFIXES)}.difference(masks)
        self._claimed, self._used = set[str](), set[str]()
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._known):
            self._by_name[folded(posixpath.basename(name))].append(name)

    def claim(self, given: object, near: Iterable[str] = ()) -> None:
        """Keep the file of just this path for the label that calls it so; to be called for all before the first `find`.

        Of cam1/a.jpg and cam2/a.jpg, of which one is there, the other then does not take it.
        """
        if isinstance(given, str) and (name := self._exact(given, near)):
            self._claimed.add(name)

    def find(self, given: str, where: object, near: Iterable[str] = ()) -> str:
        """Return the name, below the folder, of the file that a label, named `where` in errors, calls `given`.

        That is the file of this path below the folder or one of the folders `near`; else, which is counted, of those of
        the same last name, whatever its case, the one that agrees with the path in the most folders. DatasetError where
        there is none, or several agree equally.
        """
        chosen = self._exact(given, near)
        if chosen is None:
            path = given.replace("\\", "/")
            last = posixpath.basename(path)
            names = (folded(one) for one in (last, UPLOADED.sub("", last, count=1), unquote(last)))
            same = next(filter(None, (self._by_name.get(name) for name in names)), [])
            same = [name for name in same if name not in self._claimed]
            ranks = [len(posixpath.commonprefix([name.split("/")[::-1], path.split("/")[::-1]])) for name in same]
            most = max(ranks, default=0)
            best = [name for name, rank in zip(same, ranks, strict=True) if rank == most]
            if len(best) != 1:
                why = f"{len(best)} files fit it, {' and '.join(best[:2])}" if best else "no file has that name"
                raise DatasetError(
                    f"The image '{printable(given)}' of {where} is not found below '{self._conversion.folder}': {why}; "
                    "put it there once, or give the folder of the images by --images."
                )
            chosen = best[0]
            # A path on another computer or a server says nothing of folders here.
            if not given.startswith(("/", "\\", "..")) and ":" not in given:
                self._conversion.note("images found by their last names, in other folders than labels say", where)
        self._used.add(chosen)
        return chosen

    def _exact(self, given: str, near: Iterable[str]) -> str | None:
        path = given.replace("\\", "/")
        paths = (posixpath.normpath(f"{folder}/{path}") for folder in (".", *near))
        return next((name for name in paths if name in self._known), None)

    def unused(self) -> list[str]:
        """Return the images that were not asked for, sorted."""
        return sorted(self._known - self._used)
