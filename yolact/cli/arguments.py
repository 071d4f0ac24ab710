"""Arguments that several verbs have, and what they choose. Nothing heavy is imported before it is needed."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from yolact.errors import UserError

if TYPE_CHECKING:
    import torch

    from yolact.data.dataset import CocoDataset
    from yolact.loaded import LoadedModel
    from yolact.predictor import Predictor

PRECISIONS = ("fp32", "bf16", "fp16")


def add_model(parser: argparse.ArgumentParser, example: str = "eval.nms=cross_class", files: bool = True) -> None:
    """Add --weights, --config and --set; `example` is one of --set.

    With `files` the weights may be an exported file, and --device, --precision and --runtime say how to run them: see
    `load_chosen_predictor`. Without, they are for `load_chosen_model`.
    """
    what = "a checkpoint, ours or published by the authors"
    what += "; or what yolact export wrote (.onnx, _openvino, .engine, .pt2)" if files else ""
    parser.add_argument("--weights", type=Path, required=True, help=what)
    parser.add_argument("--config", help="a name or YAML file; default: the configuration in the checkpoint")
    add_set(parser, f"e.g. {example}")
    if files:
        add_device(parser)
        add_precision(parser)
        text = "run a checkpoint by this runtime: it is exported once, and kept (needs the package of that name)"
        parser.add_argument("--runtime", choices=("openvino", "onnx"), help=text)


def add_set(parser: argparse._ActionsContainer, help_text: str) -> None:
    """Add --set, a list of overrides of the configuration; given again it goes on."""
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=help_text)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device, for `pick_device`."""
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: cuda where there is some")


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Add --precision, a key of `yolact.device.DTYPES`, or what the device is fast at."""
    parser.add_argument(
        "--precision", choices=(*PRECISIONS, "auto"), default="fp32", help="of a checkpoint's network (default: fp32)"
    )


def add_score_threshold(parser: argparse.ArgumentParser) -> None:
    """Add --score-threshold, for `chosen_score_threshold`."""
    parser.add_argument(
        "--score-threshold", type=share, metavar="X", help="in [0, 1]; default: eval.score_threshold of --set, or 0.3"
    )


def chosen_score_threshold(arguments: argparse.Namespace, predictor: "Predictor") -> float:
    """Return the threshold of --score-threshold, or else the one that the model was loaded with."""
    if arguments.score_threshold is None:
        return predictor.score_threshold
    if arguments.score_threshold < predictor.lowest_score:
        raise UserError(
            f"'{arguments.weights}' has a score threshold of {predictor.lowest_score:g} inside, so --score-threshold "
            f"cannot be {arguments.score_threshold:g}: give a higher one, or export the model again with "
            f"--set eval.score_threshold={arguments.score_threshold:g}."
        )
    return float(arguments.score_threshold)


def load_chosen_model(arguments: argparse.Namespace, device: "str | torch.device") -> "LoadedModel":
    """Load the model that the arguments of `add_model` name; errors are those of `load_model`."""
    from yolact.config import load_config
    from yolact.loaded import load_model

    config = load_config(arguments.config) if arguments.config else None
    return load_model(arguments.weights, device, config, arguments.set)


def load_chosen_predictor(arguments: argparse.Namespace, device: "str | torch.device | None" = None) -> "Predictor":
    """Load what the arguments of `add_model` name, on `device` if it is given, else on that of --device.

    Raises:
        UserError: as `yolact.load`, or what --runtime needs is missing, or an option and --set say the same.
    """
    from yolact.config import load_config
    from yolact.device import resolve_precision
    from yolact.loaded import LoadedModel, load_weights
    from yolact.predictor import Predictor
    from yolact.runtimes.exported import KINDS, kind_of

    if arguments.runtime and (own := kind_of(arguments.weights)) not in (None, arguments.runtime):
        raise UserError(
            f"'{arguments.weights}' was exported for {KINDS[own].name}: leave --runtime out, or give the checkpoint."
        )
    config = load_config(arguments.config) if arguments.config else None
    keys = {one.partition("=")[0].strip() for one in arguments.set}
    for name in ("score_threshold", "tiles"):  # which some verbs have as options
        if getattr(arguments, name, None) is not None and f"eval.{name}" in keys:
            raise UserError(f"--{name.replace('_', '-')} and --set eval.{name} say the same: give one of them.")
    tiles = getattr(arguments, "tiles", None)
    overrides = [*arguments.set, *([] if tiles is None else [f"eval.tiles={tiles}"])]
    loaded = load_weights(arguments.weights, device or arguments.device, config, overrides)
    if arguments.runtime and isinstance(loaded, LoadedModel):
        from yolact.tools.export_cache import exported_for

        loaded = exported_for(loaded, arguments.runtime, arguments.precision, arguments.weights)
        return Predictor(loaded)
    precision = arguments.precision
    if isinstance(loaded, LoadedModel):
        precision = resolve_precision(precision, loaded.model.device)
    return Predictor(loaded, precision)


def require_suffix(output: Path, what: str, *allowed: str) -> None:
    """Raise a UserError where a file is given a name of another kind than that in which `what` is written."""
    if output.suffix.lower() not in allowed:
        kind = allowed[0]
        raise UserError(f"The {what} is written as {kind[1:]}: expected a name that ends with {kind}, got '{output}'.")


def validation_set(loaded: "LoadedModel | Predictor", weights: Path) -> "CocoDataset":
    """Open the validation images of a model's configuration, as `data_set_for` does."""
    data, tiles = loaded.config.data, loaded.config.eval.tiles
    most = loaded.config.eval.max_images
    return data_set_for(loaded, weights, data.val_annotations, data.val_images, most, tiles is not None)


def data_set_for(
    loaded: "LoadedModel | Predictor", weights: Path, annotations: str | Path, images: str | Path,
    max_images: int | None, in_tiles: bool,
) -> "CocoDataset":  # fmt: skip
    """Open a data set as a model takes its images; `weights` names the model in errors.

    Raises:
        CheckpointError: the model was trained for other classes.
        DatasetError: the annotation file cannot be used.
    """
    from yolact.data.categories import Categories
    from yolact.data.dataset import CocoDataset
    from yolact.data.samples import Colours
    from yolact.evaluation.run import check_classes

    colours = Colours.of(loaded.config)
    dataset = CocoDataset(annotations, images, max_images=max_images, in_tiles=in_tiles, colours=colours)
    check_classes(Categories(loaded.class_names, loaded.category_ids), loaded.names_known, dataset, weights)
    return dataset


def number(
    called: str, is_allowed: Callable[[float], bool], kind: Callable[[str], float] = float
) -> Callable[[str], float]:
    """Return a `type` for an argument that is a number within limits, for which messages have the name `called`."""

    def parse(text: str) -> float:
        value = kind(text)
        if not is_allowed(value):
            raise ValueError
        return value

    parse.__name__ = called  # argparse puts it into its message
    return parse


share = number("number in [0, 1]", lambda value: 0 <= value <= 1)
count = number("number from 1 on", lambda value: value >= 1, int)
