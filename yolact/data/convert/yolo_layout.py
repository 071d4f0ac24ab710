"""Where the pictures, labels and class names of a YOLO data set lie."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolact.config.loading import read_mapping
from yolact.data.convert.common import SPLITS, Notes, is_plain, list_files, name_below, swap_folder
from yolact.data.images import SUFFIXES
from yolact.errors import DatasetError

YAML_SUFFIXES = (".yaml", ".yml")


def find_settings(source: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the data set and what its YAML file says, which may be nothing.

    Args:
        source: the folder, of which data.yaml or the only YAML file counts, or that file.

    Raises:
        DatasetError: neither exists, or the file is of keypoints.
        ConfigError: the file is not valid YAML.
    """
    if source.suffix.lower() in YAML_SUFFIXES:
        folder, path = source.parent, source
    elif source.is_dir():
        folder = source
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in YAML_SUFFIXES)
        named = [file for file in files if file.stem == "data"] or files
        if len(named) > 1:
            raise DatasetError(f"'{source}' holds {len(named)} YAML files; give the one that describes the data set.")
        if not named:
            return folder, {}
        path = named[0]
    else:
        raise DatasetError(f"There is no folder '{source}'; check the path.")
    settings = read_mapping(path)
    if "kpt_shape" in settings:
        raise DatasetError(f"{path} describes keypoints ('kpt_shape'), not masks; export the data set as segmentation.")
    return folder, settings


def find_names(folder: Path, settings: dict[str, Any]) -> dict[int, str]:
    """Return the class names by number, from the settings or classes.txt; none where there are none.

    Raises:
        DatasetError: they are not text, or two are the same.
    """
    given = settings.get("names")
    names: dict[int, str]
    if given is not None:
        entries = dict(enumerate(given)) if isinstance(given, list) else given
        if not isinstance(entries, dict) or not all(type(k) is int and 0 <= k < 1e6 for k in entries):
            raise DatasetError(f"'names' of the YAML file in '{folder}' must be a list, or name numbers; correct it.")
        names = {key: str(value) if type(value) is int else value for key, value in sorted(entries.items())}
    else:
        names = dict(enumerate(_names_file(folder)))
    wrong = [name for name in names.values() if not isinstance(name, str) or not name or not is_plain(name)]
    if wrong:
        raise DatasetError(f"The class name {wrong[0]!r} of '{folder}' is not text; put it in quotes or correct it.")
    [(name, count)] = Counter(names.values()).most_common(1) or [("", 0)]
    if count > 1:
        raise DatasetError(f"{count} classes of '{folder}' have the name '{name}'; give each its own.")
    return names


def _names_file(folder: Path) -> list[str]:
    for path in (folder / "classes.txt", folder / "labels" / "classes.txt"):
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, ValueError):
                raise DatasetError(f"{path} cannot be read as text; save it as UTF-8.") from None
            return [line.strip() for line in lines if line.strip()]
    return []


def find_pictures(folder: Path, settings: dict[str, Any], notes: Notes) -> dict[str, list[str]]:
    """Return the names of the pictures below the folder, by split as the settings have it, else all under "".

    Without a YAML file that says where they are, pictures below folders named "images" count where there are any, else
    all pictures.

    Raises:
        DatasetError: there are none, an entry of the YAML file leads elsewhere, or two splits share a picture.
    """
    entries = {split: settings[split] for split in SPLITS if settings.get(split)}
    if entries:
        lists = {split: sorted(set(_listed(folder, settings, split, notes))) for split in entries}
        _check_apart(lists)
        return lists
    names = list_files(folder, SUFFIXES, notes)
    names = [name for name in names if "images" in name.split("/")[:-1]] or names
    if not names:
        raise DatasetError(f"There are no pictures below '{folder}'; check the path.")
    return {"": names}


def _check_apart(lists: dict[str, list[str]]) -> None:
    splits: dict[str, str] = {}
    for split, names in lists.items():
        for name in names:
            if name in splits:
                raise DatasetError(
                    f"The YAML file has the picture '{name}' in '{splits[name]}' and in '{split}'; take it out of one, "
                    f"or take '{split}' out of the file and split with --val-share."
                )
            splits[name] = split
    if not splits:
        raise DatasetError("The entries 'train' and 'val' of the YAML file lead to no pictures; correct them.")


def _listed(folder: Path, settings: dict[str, Any], split: str, notes: Notes) -> Iterator[str]:
    """Yield the pictures that an entry of the YAML file leads to: a folder, a file of names, or a list of those."""
    entry, path = settings[split], settings.get("path")
    roots = [folder / path, folder] if isinstance(path, str) else [folder]
    for text in entry if isinstance(entry, list) else [entry]:
        name = _locate(folder, text, roots) if isinstance(text, str) else None
        if name is None:
            raise DatasetError(
                f"'{split}' of the YAML file is {text!r}, which leads to nothing below '{folder}'; correct it, or take "
                "'train' and 'val' out of the file if the folders are named so."
            )
        if (folder / name).is_dir():
            prefix = "" if name == "." else f"{name}/"
            yield from (prefix + picture for picture in list_files(folder / name, SUFFIXES, notes))
        else:
            yield from _names_in(folder, name, roots)


def _names_in(folder: Path, name: str, roots: list[Path]) -> Iterator[str]:
    path = folder / name
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        raise DatasetError(
            f"{path}, which the YAML file names, cannot be read as a list of pictures; correct the file's entries."
        ) from None
    for line in filter(None, map(str.strip, lines)):
        found = _locate(folder, line, [path.parent, *roots]) if is_plain(line) else None
        if found is None:
            raise DatasetError(f"{path} lists {line!r}, which leads to nothing below '{folder}'; correct it.")
        yield found


def _locate(folder: Path, text: str, roots: list[Path]) -> str | None:
    """Return what `text` names, relative to the folder; None if that does not exist or lies elsewhere.

    Roboflow writes `../train/images` where `train/images` is meant.
    """
    text = text.replace("\\", "/")
    for root in roots:
        for path in (root / text, root / text.removeprefix("../")):
            name = name_below(folder, path)
            if name is not None and (os.path.isfile(folder / name) or os.path.isdir(folder / name)):
                return name
    return None


def label_name(picture: str) -> str:
    """Return the label file of a picture: beside it, or below "labels" where the picture is below "images"."""
    return swap_folder(os.path.splitext(picture)[0], "images", "labels") + ".txt"


def unused_labels(folder: Path, pictures: list[str]) -> list[str]:
    """Return the label files below folders named "labels" that belong to none of the pictures."""
    used = {label_name(name) for name in pictures}
    places = {name.rpartition("/")[0] for name in used if "labels" in name.split("/")}
    texts = (name for name in list_files(folder, {".txt"}, Notes()) if name.rpartition("/")[0] in places)
    return [name for name in texts if name not in used and not name.endswith("classes.txt")]
