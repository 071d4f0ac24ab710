"""Checkpoints of the authors' code into this project's form, and back: what scripts/convert_weights.py does."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from yolact.compat import dbolya
from yolact.config import Config, config_to_dict
from yolact.engine.checkpoint import FORMAT, load_checkpoint, model_weights, save_checkpoint
from yolact.errors import CheckpointError, UserError
from yolact.predictor import LoadedModel, model_from_checkpoint

Form = Literal["ours", "authors"]

# What the authors' code reads the configuration, the epoch and the iteration from.
_THEIR_FILE_NAME = re.compile(r"(?P<config>.+)_(?P<epoch>\d+)_(?P<step>\d+)(_interrupt)?\.pth")


class Converted(NamedTuple):
    """A file that was written and read back, and sentences for a person on what was done."""

    path: Path
    report: list[str]


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    to: Form | None = None,
    config: Config | None = None,
    overrides: Sequence[str] = (),
) -> Converted:
    """Write the model of `source` in the other form.

    Args:
        source: weights that the authors' code saved, or a checkpoint of this project.
        target: a file, or a folder, in which the file gets the name that its form asks for.
        to: the form to write; default: the one that `source` does not have.
        config: replaces the configuration of a checkpoint, or says which one weights of the authors belong to.
        overrides: such as "model.num_classes=4", applied last.

    Raises:
        UserError: the source is in that form already, or the target is the source.
        CheckpointError: the source cannot be read or does not fit its configuration, or the target not be written.
        ConfigError: only a configuration could say what the weights are, or the authors' code has no such model.
    """
    source = Path(source)
    checkpoint = load_checkpoint(source)
    ours = "format" in checkpoint
    if to == ("ours" if ours else "authors"):
        form = "a checkpoint of this project" if ours else "in the form of the authors' code"
        raise UserError(f"'{source}' is {form} already, there is nothing to convert; leave --to {to} out.")
    loaded = model_from_checkpoint(checkpoint, source, config, overrides)
    convert = _to_authors if ours else _to_ours
    return convert(checkpoint, loaded, source, Path(target), config is not None)


def _to_ours(
    checkpoint: dict[str, Any], loaded: LoadedModel, source: Path, target: Path, config_given: bool
) -> Converted:
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
    path = _target_file(source, target, f"{name['config'] if name else loaded.config.name}.pth")
    save_checkpoint(state, path)
    _require_written(state, path)
    report = [f"{source}: weights of the authors' code"]
    if theirs.parallel:
        report.append(f"names: the prefix 'module.' of DataParallel taken off {len(checkpoint)} of them")
    report += [
        _recognition(checkpoint, loaded.config, source, config_given),
        _renaming(theirs.tensors, weights),
        _omission(theirs.legacy),
        _classes(loaded),
        f"written and read back: {path}",
    ]
    return Converted(path, report)


def _to_authors(
    checkpoint: dict[str, Any], loaded: LoadedModel, source: Path, target: Path, config_given: bool
) -> Converted:
    nearest, differing = dbolya.nearest_published(loaded.config.model)
    weights = model_weights(checkpoint)
    state = dbolya.export(weights)
    config_name = _their_name(loaded.config.name) if differing else nearest
    path = _target_file(source, target, f"{config_name}_0_{checkpoint.get('step', 0)}.pth")
    save_checkpoint(state, path, old_form=True)  # their code is mostly run on an old PyTorch
    _require_written(state, path)
    which = "the weights" if weights is checkpoint["model"] else "the moving average (EMA) of the weights"
    origin = "given" if config_given else "from the checkpoint"
    return Converted(
        path,
        [
            f"{source}: checkpoint of this project at step {checkpoint.get('step', 0)}, {which} taken",
            f"configuration: {loaded.config.name}, {origin}",
            _renaming(weights, state),
            _classes(loaded),
            _their_configuration(loaded, nearest, differing),
            f"written and read back: {path}",
            f"in their code: python eval.py --trained_model={path} --config={config_name}_config ...",
        ],
    )


def _their_name(name: str) -> str:
    """Return a name for a configuration that their data/config.py does not have; there it is a Python name."""
    name = re.sub(r"\W", "_", name)
    return f"{name}_custom" if name in dbolya.PUBLISHED else name


def _target_file(source: Path, target: Path, name: str) -> Path:
    """Return the file to write: `target`, or `name` in it where it is a folder."""
    path = target / name if target.is_dir() else target
    if path.exists() and path.samefile(source):
        raise UserError(f"'{path}' is the file to convert and would be overwritten; give another name.")
    if path != target and path.exists():
        raise UserError(f"'{path}' exists already; name the file to write instead of its folder, or remove it.")
    return path


def _require_written(state: dict[str, Any], path: Path) -> None:
    """Read a file again and require that it holds `state`.

    Raises:
        CheckpointError: it does not, or cannot be read, and was removed.
    """
    try:
        same = _equal(load_checkpoint(path), state)
    except CheckpointError:
        same = False
    if not same:
        path.unlink(missing_ok=True)
        raise CheckpointError(
            f"'{path}' did not read back as it was written and was removed; check the disk and convert again."
        )


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        # As bits, because a NaN does not equal itself.
        same_kind = (left.dtype, left.shape) == (right.dtype, right.shape)
        return same_kind and torch.equal(_bits(left), _bits(right))
    return type(left) is type(right) and bool(left == right)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _recognition(checkpoint: dict[str, Any], config: Config, source: Path, config_given: bool) -> str:
    if config_given:
        return f"configuration: {config.name}, given"
    candidates = dbolya.candidates(checkpoint, str(source))
    how = "tensors" if len(candidates) == 1 else f"file name (the tensors fit {', '.join(candidates)} alike)"
    return f"configuration: {config.name}, recognised by the {how}"


def _renaming(before: dict[str, Tensor], after: dict[str, Tensor]) -> str:
    return f"tensors: {len(after)}, of which {len(after.keys() - before.keys())} renamed; values unchanged"


def _omission(names: list[str]) -> str:
    if not names:
        return "left out: nothing"
    layers = ", ".join(f"{layer} ({count})" for layer, count in dbolya.legacy_groups(names).items())
    return f"left out: {len(names)} tensors of older versions of the authors' code: {layers}"


def _classes(loaded: LoadedModel) -> str:
    names = loaded.class_names
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    numbered = "" if loaded.names_known else " (numbered, because the file does not hold their names)"
    return f"classes: {len(names)}: {shown}{numbered}"


def _their_configuration(loaded: LoadedModel, nearest: str, differing: dict[str, Any]) -> str:
    """Say in one sentence which configuration of the authors' code builds this model."""
    if not differing:
        return f"their configuration: {nearest}_config builds this model"
    changes = ", ".join(f"{key}={value}" for key, value in differing.items())
    if "model.num_classes" in differing:
        changes += f" (their num_classes, {len(loaded.class_names) + 1}, counts the background)"
    return (
        f"their configuration: none of theirs builds this model, so data/config.py needs one of its own: "
        f"{nearest}_config changed in {changes}"
    )
