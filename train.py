"""Train YOLACT: `python train.py --config configs/shapes.yaml`.

A run writes to runs/<config name>/<time or --name>/: config.yaml, log.txt, metrics.jsonl, last.pth, best.pth and plots.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from yolact.compat import dbolya
from yolact.config import Config, config_from_dict, dump_config, load_config, override_config
from yolact.data.coco import CocoDataset
from yolact.device import pick_device, resolve_precision
from yolact.engine.checkpoint import load_checkpoint, model_weights
from yolact.engine.fit import Run, fit
from yolact.engine.log import set_up_logging
from yolact.engine.optim import MovingAverage, batch_norm_is_frozen, make_optimizer, make_plan, set_training_mode
from yolact.engine.pretrained import load_backbone
from yolact.engine.transfer import transfer_weights
from yolact.errors import CheckpointError, ConfigError, DatasetError, UserError, exit_on_user_error
from yolact.losses import ModelWithLoss
from yolact.models import Yolact, build_model

logger = logging.getLogger("yolact.train")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", metavar="FILE", help="a YAML file of configs/; not needed with --resume")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="such as train.batch_size=4",
    )
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--weights", metavar="FILE", help="fine-tune from a checkpoint, as far as it fits")
    start.add_argument("--resume", metavar="DIR_OR_FILE", help="go on exactly where a run stopped")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ...; default: cuda where there is one")
    parser.add_argument("--name", help="of the run folder; default: the time")
    parser.add_argument("--runs", default="runs", metavar="DIR", help="where run folders are made (default: runs)")
    arguments = parser.parse_args(argv)
    if not arguments.config and not arguments.resume:
        parser.error("--config FILE is needed, or --resume DIR_OR_FILE")
    if arguments.config and arguments.resume:
        parser.error("--resume takes the configuration from the checkpoint: leave --config out, change keys by --set")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, or 128 + the signal's number where one stopped the training."""
    arguments = parse_arguments(argv)
    device = pick_device(arguments.device)
    checkpoint = None
    if arguments.resume:
        path = checkpoint_file(arguments.resume)
        checkpoint = load_checkpoint(path)
        config, folder = resumed_config(checkpoint, path, arguments.overrides), path.parent
    else:
        config = load_config(arguments.config, arguments.overrides)
        folder = Path(arguments.runs) / config.name / (arguments.name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
    train_data, val_data = load_data(config)
    config = with_classes(config, train_data)
    weights = read_weights(arguments.weights) if arguments.weights else None
    torch.manual_seed(config.train.seed)
    model = build_model(config)
    prepare_folder(folder, resuming=checkpoint is not None)
    set_up_logging(folder)
    if checkpoint is None:
        initialise(model, config, weights, arguments.weights)
    (folder / "config.yaml").write_text(dump_config(config))
    run = build_run(config, model, folder, device, train_data, val_data)
    if checkpoint is not None:
        require_same_classes(checkpoint, train_data)
        run.restore(checkpoint)
        changes = f" with {' '.join(arguments.overrides)}" if arguments.overrides else ""
        logger.info("resumed %s at step %d%s", path, run.step, changes)
    signal_number = fit(run)
    if signal_number is None:
        logger.info("done: best mask AP %.4f; %s", run.best or 0.0, folder / "best.pth")
        return 0
    logger.info("stopped at step %d; go on with: python train.py --resume %s", run.step, folder)
    return 128 + signal_number


def checkpoint_file(given: str) -> Path:
    path = Path(given)
    return path / "last.pth" if path.is_dir() else path


def resumed_config(checkpoint: dict[str, Any], path: Path, overrides: Sequence[str]) -> Config:
    if "optimizer" not in checkpoint:
        raise CheckpointError(
            f"'{path}' holds weights only, nothing to resume: start from it with --config FILE --weights {path}."
        )
    return override_config(config_from_dict(checkpoint["config"], str(path)), overrides)


def load_data(config: Config) -> tuple[CocoDataset, CocoDataset]:
    """Read both annotation files, which must declare the same classes."""
    data = config.data
    train = CocoDataset(data.train_annotations, data.train_images, max_images=data.max_train_images)
    val = CocoDataset(data.val_annotations, data.val_images, max_images=config.eval.max_images)
    if train.categories != val.categories:
        differing = sorted(set(zip(train.categories.ids, train.categories.names, strict=True)) ^ set(
            zip(val.categories.ids, val.categories.names, strict=True)
        ))  # fmt: skip
        raise DatasetError(
            f"{data.train_annotations} and {data.val_annotations} must declare the same categories, but only one of "
            f"them has {differing[:3]}: make their 'categories' lists equal."
        )
    return train, val


def with_classes(config: Config, train_data: CocoDataset) -> Config:
    """Return the configuration with the number of classes that the training annotations declare."""
    found, expected = len(train_data.categories), config.model.num_classes
    if expected not in (None, found):
        raise ConfigError(
            f"model.num_classes of configuration '{config.name}' is {expected}, but {config.data.train_annotations} "
            f"declares {found} categories: set it to {found}, or to null to take it from the file."
        )
    return replace(config, model=replace(config.model, num_classes=found))


def require_same_classes(checkpoint: dict[str, Any], train_data: CocoDataset) -> None:
    """Refuse to resume on data with other classes."""
    if checkpoint["class_names"] != train_data.categories.names:
        raise CheckpointError(
            f"The checkpoint was trained on {checkpoint['class_names'][:5]}..., but the data now declare "
            f"{train_data.categories.names[:5]}...: resume on the same data, or start anew with --weights."
        )


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """Read the weights to fine-tune from: a checkpoint of ours, or one that the authors' code saved."""
    checkpoint = load_checkpoint(path)
    return model_weights(checkpoint) if "format" in checkpoint else dbolya.convert(checkpoint)


def initialise(model: Yolact, config: Config, weights: dict[str, torch.Tensor] | None, origin: str | None) -> None:
    """Decide what a new run starts from: given weights, a pretrained backbone, or nothing."""
    if weights is not None:
        transfer_weights(model, weights, str(origin))
    elif config.train.backbone_weights == "none":
        logger.info("starting from random weights")
        if batch_norm_is_frozen(config.train):
            logger.warning(
                "batch norm is frozen at its random start, because a batch has %d pictures: "
                "set train.freeze_batch_norm=never, or give the backbone pretrained weights", config.train.batch_size
            )  # fmt: skip
    else:
        backbone = config.model.backbone.name
        logger.info("backbone: %s", load_backbone(model.backbone, backbone, config.train.backbone_weights))


def build_run(
    config: Config,
    model: Yolact,
    folder: Path,
    device: torch.device,
    train_data: CocoDataset,
    val_data: CocoDataset,
) -> Run:
    settings = config.train
    frozen = batch_norm_is_frozen(settings)
    precision = resolve_precision(settings.precision, device)
    plan = make_plan(settings, len(train_data))
    model.to(device)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    set_training_mode(model, frozen)
    logger.info(
        "data: %d pictures to train, %d to validate, %d classes", len(train_data), len(val_data), model.num_classes
    )
    logger.info("plan: %s", plan.describe(settings))
    logger.info(
        "device %s, %s; batch norm %s (train.freeze_batch_norm=%s, %d pictures a batch)",
        device, precision, "frozen" if frozen else "trained", settings.freeze_batch_norm, settings.batch_size,
    )  # fmt: skip
    return Run(
        config=config,
        plan=plan,
        folder=folder,
        device=device,
        precision=precision,
        model=ModelWithLoss(model, config.loss),
        optimizer=make_optimizer(model, settings),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        average=MovingAverage(model, settings.ema_decay) if settings.ema_decay else None,
        train_data=train_data,
        val_data=val_data,
    )


def prepare_folder(folder: Path, resuming: bool) -> None:
    """Make the run folder; a new run does not write into an old one."""
    if not resuming and (folder / "metrics.jsonl").exists():
        raise UserError(f"{folder} already holds a run: go on with --resume {folder}, or give another --name.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").open("a").close()
    except OSError as error:
        raise UserError(
            f"The run folder {folder} cannot be written ({error.strerror}): choose another place with --runs."
        ) from error


if __name__ == "__main__":
    exit_on_user_error(main)
