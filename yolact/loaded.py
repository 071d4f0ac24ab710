"""Models as they are loaded: from a checkpoint, or from an exported file, with what the file says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yolact.compat import dbolya
from yolact.config import Config, override_config
from yolact.data.categories import COCO_CATEGORY_IDS, COCO_CLASSES, VOC_CATEGORY_IDS, VOC_CLASSES
from yolact.device import pick_device
from yolact.engine.checkpoint import load_checkpoint, model_weights, saved_config
from yolact.errors import CheckpointError, UserError
from yolact.models import Yolact, build_model
from yolact.runtimes.exported import ExportedRuntime, kind_of

SCORE_THRESHOLD = 0.3  # what people are shown; an evaluation counts detections of lower scores too
INSIDE = ("nms", "nms_threshold", "nms_top_k", "max_detections")  # settings that a complete file has in its graph


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode on its device, with what its checkpoint says of it."""

    model: Yolact
    config: Config
    class_names: list[str]  # by label
    category_ids: list[int]
    names_known: bool = True  # the authors' files hold no names, and only COCO's and VOC's follow from their count
    score_threshold: float = SCORE_THRESHOLD  # what a `Predictor` starts from: eval.score_threshold if overridden


@dataclass(frozen=True)
class LoadedFile:
    """An exported file in its runtime; the other fields are those of `LoadedModel`."""

    runtime: ExportedRuntime
    config: Config
    class_names: list[str]
    category_ids: list[int]
    names_known: bool = True
    score_threshold: float = SCORE_THRESHOLD


def load_weights(
    path: str | Path,
    device: str | torch.device | None = None,
    config: Config | None = None,
    overrides: Sequence[str] = (),
    backbone: nn.Module | None = None,
) -> LoadedModel | LoadedFile:
    """Load a checkpoint as `load_model` does, or an exported file as `load_file` does, whichever it is by its name."""
    if kind_of(path) is None:
        return load_model(path, pick_device(device), config, overrides, backbone)
    if config is not None or backbone is not None:
        raise UserError(f"'{path}' has its configuration and backbone inside: leave others out.")
    return load_file(path, device, overrides)


def load_file(path: str | Path, device: str | torch.device | None = None, overrides: Sequence[str] = ()) -> LoadedFile:
    """Open an exported file; `overrides` may change what is not in its graph.

    Raises:
        CheckpointError: it cannot be read, or is not of this project.
        UserError: its runtime or the device is missing, or an override is of something that the file fixes.
    """
    runtime = ExportedRuntime(path, device)
    exported, config = runtime.config, override_config(runtime.config, overrides)
    if config.model != exported.model:
        raise UserError(f"'{path}' has its network and its image size inside: export the model again to change them.")
    if exported.model.mask_iou and not runtime.is_complete:
        raise UserError(
            f"'{path}' has the raw outputs of a YOLACT++ model, without the network that scores its masks: use a "
            "complete file, or the checkpoint."
        )
    for key in INSIDE if runtime.is_complete else ():
        if getattr(config.eval, key) != (inside := getattr(exported.eval, key)):
            raise UserError(
                f"'{path}' has eval.{key}={inside} inside; leave it, export the model again with another, or export "
                "the raw outputs, which leave it open."
            )
    names, ids, known = (runtime.metadata[key] for key in ("class_names", "category_ids", "names_known"))
    return LoadedFile(runtime, config, names, ids, known, _threshold(config, overrides))


def _threshold(config: Config, overrides: Sequence[str]) -> float:
    is_set = any(override.partition("=")[0].strip() == "eval.score_threshold" for override in overrides)
    return config.eval.score_threshold if is_set else SCORE_THRESHOLD


def load_model(
    path: str | Path,
    device: str | torch.device = "cpu",
    config: Config | None = None,
    overrides: Sequence[str] = (),
    backbone: nn.Module | None = None,
) -> LoadedModel:
    """Load a checkpoint as `load` does; `overrides` such as "eval.nms=cross_class" are applied last.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit the configuration.
        ConfigError: an override is wrong, or the configuration is needed and not given.
        UserError: the device does not exist.
    """
    chosen = pick_device(device)  # before what takes long
    loaded = model_from_checkpoint(load_checkpoint(path), path, config, overrides, backbone)
    loaded.model.to(chosen)
    return loaded


def model_from_checkpoint(
    checkpoint: dict[str, Any],
    path: str | Path,
    config: Config | None = None,
    overrides: Sequence[str] = (),
    backbone: nn.Module | None = None,
) -> LoadedModel:
    """Build the model, on the CPU, of a checkpoint that was read from `path`; otherwise like `load_model`."""
    ours, given = "format" in checkpoint, config is not None
    if ours:
        config = config or saved_config(checkpoint, path)
        weights = model_weights(checkpoint)
        names, ids = list(checkpoint["class_names"]), list(checkpoint["category_ids"])
        known = checkpoint.get("names_known", True)
    else:
        names, ids, known = _published_classes(dbolya.num_classes(checkpoint, str(path)))
        config = config or dbolya.recognise(checkpoint, str(path))
        weights = dbolya.convert(checkpoint, str(path))
    config = override_config(config, overrides)
    if config.model.num_classes not in (None, len(names)):
        raise CheckpointError(
            f"'{path}' was trained on {len(names)} classes, but configuration '{config.name}' says "
            f"model.num_classes={config.model.num_classes}; add --set model.num_classes={len(names)}, or give the "
            "configuration it was trained with."
        )
    config = replace(config, model=replace(config.model, num_classes=len(names)))
    model = build_model(config, backbone)
    instead = "leave --config (config=) out, as the checkpoint has its own, or " if ours and given else ""
    _require_fit(model, weights, path, config.name, ours, instead)
    model.load_state_dict(weights)
    return LoadedModel(model.eval(), config, names, ids, known, _threshold(config, overrides))


def _published_classes(num_classes: int) -> tuple[list[str], list[int], bool]:
    """Return names and category ids for weights that hold neither; the authors' own data sets number from 1."""
    for names, ids in ((COCO_CLASSES, COCO_CATEGORY_IDS), (VOC_CLASSES, VOC_CATEGORY_IDS)):
        if num_classes == len(names):
            return list(names), list(ids), True
    numbers = list(range(1, num_classes + 1))
    return [f"class {number}" for number in numbers], numbers, False


def _require_fit(
    model: Yolact, weights: Mapping[str, Tensor], path: str | Path, config_name: str, ours: bool, instead: str
) -> None:
    """Require every tensor of the model in its shape and no other, or name the first that differs as the file does.

    Batch norm's counters may be missing, because PyTorch before 0.4.1 did not save them and nothing here reads them.
    """
    expected = model.state_dict() if ours else dbolya.export(model.state_dict())
    found = weights if ours else dbolya.export(weights)
    faults = [f"'{key}' is missing" for key in expected if key not in found and not key.endswith("num_batches_tracked")]
    faults += [
        f"'{key}' is {list(found[key].shape)} instead of {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and found[key].shape != tensor.shape
    ]
    faults += [f"'{key}' has no place in the model" for key in found if key not in expected]
    if faults:
        count = "1 tensor differs" if len(faults) == 1 else f"{len(faults)} tensors differ"
        raise CheckpointError(
            f"The weights of '{path}' do not fit the model of configuration '{config_name}' ({count}: {faults[0]}): "
            f"{instead}give the configuration, or the backbone of your own (backbone=), that they were trained with, "
            "or get the file again if it is incomplete."
        )
