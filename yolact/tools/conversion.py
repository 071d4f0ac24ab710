"""Checkpoints of the authors' code into this project's form, and back."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolact.compat import dbolya
from yolact.config import config_to_dict, load_config
from yolact.engine.checkpoint import FORMAT, load_checkpoint, model_weights, save_checkpoint
from yolact.errors import CheckpointError, UserError
from yolact.loaded import LoadedModel, model_from_checkpoint

# What the authors' code reads the configuration, the epoch and the iteration from.
_THEIR_FILE_NAME = re.compile(r"(?P<config>.+)_(?P<epoch>\d+)_(?P<step>\d+)(_interrupt)?\.pth")


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    to: str | None = None,
    config_file: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> list[str]:
    """Write the model of `source` in the other form, and return sentences on what was done.

    Args:
        source: weights that the authors' code saved, or a checkpoint of this project.
        target: a file, or a folder, in which the file gets the name that its form asks for.
        to: "ours" or "authors"; default: the form that `source` does not have.
        config_file: replaces the configuration of a checkpoint, or says which one weights of the authors belong to.
        overrides: such as "model.num_classes=4", applied last.

    Raises:
        UserError: the source is in that form already, or the target is the source.
        CheckpointError: the source cannot be read or does not fit its configuration, the authors' code has no such
            model, or the target cannot be written.
        ConfigError: only a configuration could say what the weights are.
    """
    config = load_config(config_file) if config_file else None
    checkpoint = load_checkpoint(source)
    ours = "format" in checkpoint
    if to == ("ours" if ours else "authors"):
        form = "a checkpoint of this project" if ours else "in the form of the authors' code"
        raise UserError(f"'{source}' is {form} already, there is nothing to convert; leave --to {to} out.")
    loaded = model_from_checkpoint(checkpoint, source, config, overrides)
    fitting = [] if ours else dbolya.candidates(checkpoint, str(source))
    how = "from the checkpoint" if ours else "recognised by the tensors"
    if len(fitting) > 1:
        how = f"recognised by the file name (the tensors fit {', '.join(fitting)} alike)"
    state, name, lines = (_to_authors if ours else _to_ours)(checkpoint, loaded, Path(source))
    path = _save(state, Path(source), target, name, old_form=ours)  # for the PyTorch that the authors' code needs
    names = ", ".join(loaded.class_names[:5]) + (", ..." if len(loaded.class_names) > 5 else "")
    numbered = "" if loaded.names_known else " (numbered, because the file does not hold their names)"
    return [
        f"configuration: {loaded.config.name}, {how if config is None else 'given'}",
        *lines,
        f"classes: {len(loaded.class_names)}: {names}{numbered}",
        f"written and read back: {path}",
    ]


def _to_ours(checkpoint: dict[str, Any], loaded: LoadedModel, source: Path) -> tuple[dict[str, Any], str, list[str]]:
    """Return what to write, the usual name of that file, and what was done."""
    theirs, weights = dbolya.clean(checkpoint), dbolya.convert(checkpoint)
    name = _THEIR_FILE_NAME.fullmatch(source.name)
    state = {
        "format": FORMAT,
        "step": int(name["step"]) if name else 0,
        "model": weights,
        "ema": None,
        "config": config_to_dict(loaded.config),
        "class_names": loaded.class_names,
        "category_ids": loaded.category_ids,
        "names_known": loaded.names_known,
    }
    layers = ", ".join(f"{layer} ({count})" for layer, count in dbolya.legacy_groups(theirs.legacy).items())
    older = f"{len(theirs.legacy)} tensors of older versions of the authors' code: {layers}"
    prefix = f"names: the prefix 'module.' of DataParallel taken off {len(checkpoint)} of them"
    lines = [_renaming(theirs.tensors, weights), f"left out: {older if layers else 'nothing'}"]
    return state, f"{name['config'] if name else loaded.config.name}.pth", [prefix] * theirs.parallel + lines


def _to_authors(checkpoint: dict[str, Any], loaded: LoadedModel, _: Path) -> tuple[dict[str, Any], str, list[str]]:
    """Return what to write, the usual name of that file, and what was done."""
    config_name, differing = dbolya.nearest_published(loaded.config.model)
    theirs = f"{config_name}_config builds this model"
    if differing:
        changes = ", ".join(f"{key}={value}" for key, value in differing.items())
        if "model.num_classes" in differing:
            changes += f" (their num_classes, {len(loaded.class_names) + 1}, counts the background)"
        theirs = "none of theirs builds this model, so data/config.py needs one of its own: "
        theirs += f"{config_name}_config changed in {changes}"
        config_name = re.sub(r"\W", "_", loaded.config.name)  # a name of Python
        config_name += "_custom" if config_name in dbolya.PUBLISHED else ""
    weights, step = model_weights(checkpoint), checkpoint.get("step", 0)
    which = "the weights" if weights is checkpoint["model"] else "the moving average (EMA) of the weights"
    state = dbolya.export(weights)
    lines = [
        f"taken: {which} at step {step}",
        _renaming(weights, state),
        f"their configuration: {theirs}",
        f"in their code: python eval.py --config={config_name}_config --trained_model=...",
    ]
    return state, f"{config_name}_0_{step}.pth", lines


def _renaming(before: dict[str, Tensor], after: dict[str, Tensor]) -> str:
    return f"tensors: {len(after)}, of which {len(after.keys() - before.keys())} renamed; values unchanged"


def _save(state: dict[str, Any], source: Path, target: str | Path, name: str, old_form: bool) -> Path:
    """Write to `target`, or as `name` into that folder, read it again and compare: the old form has no checksums."""
    path = Path(target, name) if Path(target).is_dir() else Path(target)
    if path == Path(target) and str(target).endswith("/"):
        raise UserError(f"There is no folder '{target}'; make it first, or name a file.")
    if path.exists() and path.samefile(source):
        raise UserError(f"'{path}' is the file to convert and would be overwritten; give another name.")
    if path != Path(target) and path.exists():
        raise UserError(f"'{path}' exists already; name the file to write instead of its folder, or remove it.")
    save_checkpoint(state, path, old_form=old_form)
    try:
        expected, found = (content.get("model", content) for content in (state, load_checkpoint(path)))
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    except (CheckpointError, AssertionError) as error:
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"'{path}' did not read back as it was written and was removed; check the disk and convert again."
        ) from error
    return path
