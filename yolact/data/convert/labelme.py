"""Folders of labelme's JSON files, one for each picture."""

import base64
import json
import os
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from yolact.data.annotations import parse_text
from yolact.data.convert.common import (
    Conversion,
    FoundPicture,
    Notes,
    Track,
    collect,
    is_plain,
    list_files,
    name_below,
    own_splits,
)
from yolact.data.convert.labelme_shapes import read_shapes
from yolact.data.images import SUFFIXES, decode_image, read_image
from yolact.errors import DatasetError


def read_labelme(folder: Path, track: Track) -> Conversion:
    """Read all label files below a folder; their labels in alphabetical order become the classes.

    Raises:
        DatasetError: there are no label files, or none can be used.
    """
    notes = Notes()
    names = list_files(folder, {".json"}, notes)
    pictures = collect([folder / name for name in names], partial(_read_picture, folder, notes), notes, track)
    if not pictures:
        raise DatasetError(
            f"There are no label files of labelme (JSON with 'shapes') below '{folder}'; check the path."
        )
    labelled = {picture.name for picture in pictures}
    for name in list_files(folder, SUFFIXES, Notes()):
        if name not in labelled:
            notes.add("pictures without a label file, left out", name)
    labels = sorted({item.class_name for picture in pictures for item in picture.objects})
    return Conversion(folder, own_splits(pictures), dict(enumerate(labels, start=1)), notes)


def _read_picture(folder: Path, notes: Notes, path: Path) -> FoundPicture | None:
    """Return what a label file says of its picture, None where it is no label file of labelme.

    Raises:
        DatasetError: a field is wrong, or the picture is absent, broken or of another size.
    """
    content = _read_json(path)
    if not isinstance(content, dict) or "shapes" not in content:
        notes.add("JSON files that are not labelme's, passed over", str(path))
        return None
    name, embedded = _find_picture(content, path, folder, notes)
    size = _declared_size(content, path)
    picture = decode_image(embedded(), path, size) if embedded else read_image(folder / name, size)
    image_size = (picture.shape[0], picture.shape[1])
    return FoundPicture(name, image_size, read_shapes(content["shapes"], image_size, path, notes), embedded)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"Cannot read the label file {path}: {error.strerror}; check its permissions.") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"The label file {path} is not valid JSON ({error}); save it again.") from None


def _find_picture(content: dict[str, Any], path: Path, folder: Path, notes: Notes) -> tuple[str, Any]:
    """Return the picture's name below `folder`, and a function that gives its content if only the label file has it.

    labelme writes a path relative to the label file, by the rules of the system that it ran on. Where it leads nowhere,
    because the files were moved, the picture of that name beside the label file is meant.
    """
    given = parse_text(content, "imagePath", str(path))
    if not is_plain(given):
        raise DatasetError(f"'imagePath' of {path} holds control characters ({given!r}); correct it.")
    windows = PureWindowsPath(given)
    name = None if windows.drive else name_below(folder, path.parent / windows.as_posix())
    if name is not None and os.path.isfile(folder / name):
        return name, None
    beside = (path.parent / windows.name).relative_to(folder).as_posix()
    if windows.name not in ("", "..") and os.path.isfile(folder / beside):
        notes.add("label files whose imagePath leads nowhere, with the picture beside them instead", str(path))
        return beside, None
    if windows.name not in ("", "..") and content.get("imageData") is not None:
        return beside, partial(_embedded_picture, path)
    why = "leaves the source folder" if name is None else "does not exist"
    raise DatasetError(
        f"The picture '{given}' of {path} {why} '{folder}', and the label file does not hold it as imageData; give the "
        "folder that holds both, or correct 'imagePath'."
    )


def _embedded_picture(path: Path) -> bytes:
    """Return the file that stands in a label file as `imageData`; read when needed, as all of them may fill memory."""
    content = _read_json(path)
    try:
        return base64.b64decode(content["imageData"], validate=True)
    except (TypeError, KeyError, ValueError):
        raise DatasetError(f"'imageData' of {path} is not base64 text; save the file again.") from None


def _declared_size(content: dict[str, Any], path: Path) -> tuple[int, int] | None:
    """Return (H, W) as the label file gives it, None where it does not."""
    size = content.get("imageHeight"), content.get("imageWidth")
    if size == (None, None):
        return None
    if not all(type(side) is int and side > 0 for side in size):
        raise DatasetError(
            f"'imageHeight' and 'imageWidth' of {path} must be whole numbers above 0, not {size[0]!r} and {size[1]!r}; "
            "correct them."
        )
    return size  # type: ignore[return-value]
