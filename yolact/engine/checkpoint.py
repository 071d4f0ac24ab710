"""Checkpoints that an interruption cannot break and that are never read wrong: one way to write, one to read.

A checkpoint of ours is a dict of plain data: "format", "step", "model" and "ema" (state dicts, the latter or None),
"optimizer", "scaler", "position", "config", "class_names", "category_ids", "metrics", "best" and what else a run goes
on with (`training_state`); one converted from weights alone has no more than it knows, and "names_known". A file of
tensors alone is somebody's weights, such as the authors' published ones.
"""

import logging
import os
import re
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from yolact.config import Config, config_from_dict
from yolact.errors import CheckpointError
from yolact.output import TEMPORARY, atomic_file
from yolact.text import printable

logger = logging.getLogger(__name__)

FORMAT = "yolact-1"
DATA_PATHS = ("train_images", "train_annotations", "val_images", "val_annotations")  # of a configuration's data
PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device)
ZIP_START = b"PK\x03\x04"
LEGACY_START = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # the magic number of PyTorch before 1.6


def previous_of(path: Path) -> Path:
    """Return where the checkpoint before `path` is kept: last.prev.pth for last.pth."""
    return path.with_name(f"{path.stem}.prev{path.suffix}")


def save_checkpoint(
    state: dict[str, Any], path: str | Path, *, previous: Path | None = None, old_form: bool = False
) -> None:
    """Write `state` to `path` so that at every moment either the old or the new file stands there, whole.

    Args:
        state: tensors and plain data only, which is all that `load_checkpoint` reads.
        path: in an existing folder. A kill can leave a file ending in ".tmp" behind.
        previous: a whole checkpoint in the same folder, often the one at `path`, to be kept as `previous_of(path)`.
        old_form: write what PyTorch before 1.6 can read too; such files have no checksums.

    Raises:
        CheckpointError: the disk is full, the folder is read-only, and the like; the old file is untouched.
    """
    path = Path(path)
    _require_plain(state, "state")
    try:
        with atomic_file(path) as file:
            torch.save(state, file, _use_new_zipfile_serialization=not old_form)
            if previous is not None and previous.exists():
                _keep(previous, previous_of(path))
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # PyTorch may hide the system's error
        reason = (isinstance(cause, OSError) and cause.strerror) or str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: the checkpoint of {num_bytes(state) / 1e6:.0f} MB could not be written ({reason}): make room or "
            "choose another folder (an older file of this name is untouched)."
        ) from error


def _keep(path: Path, previous: Path) -> None:
    """Give the file at `path` a second name, so that at every moment a whole file stands under each."""
    if path == previous:
        return
    temporary = previous.with_name(previous.name + TEMPORARY)
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without such links
        shutil.copyfile(path, temporary)
    os.replace(temporary, previous)
    temporary.unlink(missing_ok=True)  # where both names were of one file already, replacing does nothing


def num_bytes(state: Any) -> int:
    """Return about how many bytes the tensors in a state take on a disk."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(map(num_bytes, state.values()))
    return sum(map(num_bytes, state)) if isinstance(state, list | tuple) else 0


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours, or a file of weights, onto the CPU, without running any code that stands in it.

    `torch.load` does not look at a file's checksums, and reads most flipped bits as other weights; so they are
    verified first. Files in PyTorch's form from before 1.6 are read too, but have no checksums.

    Returns:
        The saved dict. Without the key "format" it is a bare state dict.

    Raises:
        CheckpointError: missing, damaged, not a checkpoint, holding code, or of another version.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            state = _read(file, path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint; check the path.") from None
    except IsADirectoryError:
        raise CheckpointError(f"{path}: this is a folder; name a checkpoint in it, such as last.pth.") from None
    except OSError as error:
        raise CheckpointError(f"{path}: the checkpoint cannot be read: {error.strerror or error}.") from error
    _require_known_form(state, path)
    return state


def saved_config(checkpoint: dict[str, Any], path: str | Path) -> Config:
    """Return the configuration in a checkpoint of ours, read from `path`.

    Paths of data are relative to where the training began, and are so from another working directory too, unless the
    files are in this one.
    """
    config, began = config_from_dict(checkpoint["config"], str(path)), Path(str(checkpoint.get("directory", "")))
    changes: dict[str, Any] = {}
    for key in DATA_PATHS:
        given = getattr(config.data, key)
        if not os.path.exists(given) and os.path.exists(began / given):
            changes[key] = str(began / given)
    if changes:
        logger.info("data of %s are read from %s, where its training began", path, began)
    return replace(config, data=replace(config.data, **changes))


def model_weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the weights to use of a checkpoint of ours: the moving average if it keeps one, else the model's."""
    return checkpoint["model"] if checkpoint.get("ema") is None else checkpoint["ema"]


def _read(file: BinaryIO, path: Path) -> Any:
    start = file.read(len(LEGACY_START))
    is_zip = start.startswith(ZIP_START)
    if not is_zip and start != LEGACY_START:
        found = "another file" if start else "an empty one"
        raise CheckpointError(f"{path}: expected a checkpoint file of PyTorch, got {found}.")
    try:
        if is_zip:
            _verify_checksums(file)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # of many kinds: damaged bytes can mean anything
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named:
            raise CheckpointError(
                f"{path}: the checkpoint holds the Python object {printable(named[1])}, which could be code, and was "
                "not loaded; expected tensors and plain data only, such as a state dict."
            ) from error
        reason = printable((str(error) or type(error).__name__).splitlines()[0].rstrip(". "))
        previous = f", or use {previous_of(path)}" if previous_of(path).exists() else ""
        raise CheckpointError(
            f"{path}: the checkpoint is damaged or incomplete ({reason}); copy or download it again{previous}."
        ) from error


def _verify_checksums(file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:  # never by PyTorch; a megabyte can unpack to a gigabyte
                raise ValueError(f"{member.filename} is compressed")
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f"wrong checksum of {wrong}")


def _is_weights(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _is_list_of(kind: type, value: object) -> bool:
    return isinstance(value, list) and all(type(item) is kind for item in value)


# What even the smallest use of a checkpoint needs.
FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_is_weights, "names with tensors"),
    "ema": (lambda value: value is None or _is_weights(value), "names with tensors or nothing"),
    "config": (lambda value: isinstance(value, dict), "a configuration"),
    "class_names": (partial(_is_list_of, str), "a list of names"),
    "category_ids": (partial(_is_list_of, int), "a list of whole numbers"),
}


def _require_known_form(state: Any, path: Path) -> None:
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: expected a dict of weights, got {type(state).__name__}.")
    if "format" not in state:
        if not state or not _is_weights(state):
            keys = ", ".join(f"'{printable(str(key))}'" for key in list(state)[:4]) or "nothing"
            raise CheckpointError(
                f"{path}: expected weights, that is names with tensors, got a dict of {keys}; if weights stand in "
                "there, save them as a file of their own."
            )
        return
    form = state["format"]
    if form != FORMAT:
        shown = printable(form) if isinstance(form, str) else f"a {type(form).__name__}"
        raise CheckpointError(
            f"{path}: expected a checkpoint of format {FORMAT}, got {shown}; use the version that wrote it."
        )
    for key, (fits, expected) in FORMS.items():
        if not fits(state.get(key)):
            raise CheckpointError(
                f"{path}: expected {expected} under '{key}', got {type(state.get(key)).__name__}; no version of this "
                "project writes that, so get the file again from where it was made."
            )
    names, ids = state["class_names"], state["category_ids"]
    if len(names) != len(ids):
        raise CheckpointError(f"{path}: the checkpoint has {len(names)} class names, but {len(ids)} category ids.")


def _require_plain(value: Any, place: str) -> None:
    """Refuse, before anything is written, what `load_checkpoint` would not read back (a NumPy number, a path)."""
    if type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _require_plain(item, f"{place}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            _require_plain(item, f"{place}[{index}]")
    elif type(value) not in PLAIN and not isinstance(value, Tensor):
        raise TypeError(f"{place} must be plain data to be saved, got {type(value).__name__}")
