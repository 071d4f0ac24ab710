"""Starting from the weights of another model, as far as they fit."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolact.compat import dbolya
from yolact.config import Config, DataConfig, load_config
from yolact.engine.checkpoint import DATA_PATHS, load_checkpoint, model_weights, saved_config
from yolact.engine.pretrained import for_channels
from yolact.errors import CheckpointError, ConfigError
from yolact.models import Yolact, build_model

logger = logging.getLogger(__name__)


class Initial(NamedTuple):
    """Weights to fine-tune from, and the configuration of their model, if it is known."""

    weights: dict[str, Tensor]
    config: Config | None
    class_names: list[str] | None = None  # by label, where the file has them


def read_weights(path: str) -> Initial:
    """Read the weights to fine-tune from: a checkpoint of ours, or one that the authors' code saved."""
    checkpoint = load_checkpoint(path)
    if "format" in checkpoint:
        names = checkpoint["class_names"] if checkpoint.get("names_known", True) else None
        return Initial(model_weights(checkpoint), saved_config(checkpoint, path), names)
    weights = dbolya.convert(checkpoint, path)
    try:
        return Initial(weights, dbolya.recognise(checkpoint, path))
    except ConfigError:  # several are alike
        return Initial(weights, None)


def initial_weights(
    path: str, network: Yolact, config: Config, class_names: Sequence[str], backbone: nn.Module | None = None
) -> dict[str, Tensor]:
    """Return the weights of a file that a training of `network` shall start from.

    Layers of classes are left out where a class stands in another place in the file. CheckpointError if hardly anything
    fits.
    """
    weights, their_config, before = read_weights(path)
    if before and any(name in before and before.index(name) != place for place, name in enumerate(class_names)):
        logger.warning("%s has these classes in another order, so that its layers of classes are made anew", path)
        of_classes = _class_tensors(config, backbone)
        weights = {name: value for name, value in weights.items() if name not in of_classes}
    fitting_weights(network, weights, path, fine_tuning(their_config, Path(path), config.data))
    return weights


def _class_tensors(config: Config, backbone: nn.Module | None) -> set[str]:
    """Return the names of the tensors whose shape follows from the number of classes."""
    shapes = []
    for more in (0, 1):
        number = (config.model.num_classes or 1) + more
        with torch.device("meta"):
            model = build_model(replace(config, model=replace(config.model, num_classes=number)), backbone)
        shapes.append({name: value.shape for name, value in model.state_dict().items()})
    return {name for name, shape in shapes[0].items() if shapes[1][name] != shape}


def fine_tuning(config: Config | None, weights: Path, data: DataConfig) -> str:
    """Return the end of a sentence, with the command that fine-tunes weights on `data` by their own configuration."""
    if config is None:
        return ""
    for name in (str(weights.with_name("config.yaml")), config.name):
        try:
            model = load_config(name).model
        except ConfigError:
            continue
        if replace(model, num_classes=None) == replace(config.model, num_classes=None):
            settings = ["model.num_classes=null", *(f"data.{key}={getattr(data, key)}" for key in DATA_PATHS)]
            command = shlex.join(["--config", name, "--weights", str(weights), "--set", *settings])
            return f", or fine-tune this model, '{config.name}': {command}"
    return f" (this is '{config.name}', with {config.model.backbone.name})"


def fitting_weights(
    model: nn.Module, weights: Mapping[str, Tensor], origin: str, instead: str = ""
) -> dict[str, Tensor]:
    """Return the tensors that `model` has in the same shape, its first convolution for another number of channels too.

    CheckpointError if hardly anything fits, so that this is another kind of model; `instead` ends its sentence.
    """
    own, backbone = model.state_dict(), getattr(model, "backbone", None)
    weights = weights if backbone is None else for_channels(backbone, weights, "backbone.")
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if len(fitting) < len(own) / 2:
        raise CheckpointError(
            f"Only {len(fitting)} of the model's {len(own)} tensors are in '{origin}' with the same shape: give "
            f"weights of the same backbone (model.backbone.name) and widths{instead}."
        )
    return fitting


def transfer_weights(model: nn.Module, weights: Mapping[str, Tensor], origin: str) -> list[str]:
    """Load `fitting_weights`; the names of the other tensors of `model`, still fresh, are returned."""
    own, fitting = model.state_dict(), fitting_weights(model, weights, origin)
    model.load_state_dict(fitting, strict=False)
    remade = [name for name in own if name not in fitting]
    for name in sorted({*remade, *weights} - fitting.keys()):
        found, wanted = (list(state[name].shape) if name in state else "nothing" for state in (weights, own))
        logger.info(
            "%s %s: the file has %s, the model %s", "re-made" if name in own else "left out", name, found, wanted
        )
    logger.info("weights from %s: %d of %d tensors loaded, %d re-made", origin, len(fitting), len(own), len(remade))
    return remade
