"""What a checkpoint holds of a training, and going on from one."""

import logging
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from yolact.config import config_from_dict, config_to_dict
from yolact.distributed import World
from yolact.engine.checkpoint import FORMAT
from yolact.engine.optim import batch_norm_size
from yolact.errors import CheckpointError

if TYPE_CHECKING:
    from yolact.engine.trainer import Trainer

logger = logging.getLogger(__name__)

PLAIN = ("step", "position", "best", "metrics", "nonfinite_steps", "nonfinite_in_a_row")  # attributes of the trainer
# What `restore` needs beside what every checkpoint has; later additions are read with a default.
NEEDED = (*PLAIN, "window", "optimizer", "scaler", "ema")


def training_state(trainer: "Trainer") -> dict[str, Any]:
    """Return what a checkpoint holds.

    No state of random numbers is needed: those of a step follow from the seed and the step.
    """
    categories = trainer.train_data.categories
    return {
        "format": FORMAT,
        **{name: getattr(trainer, name) for name in PLAIN},
        "awaits_evaluation": trainer.awaits_evaluation,
        "stale_evaluations": trainer.stale_evaluations,
        "window": dict(trainer.window),
        "num_pictures": len(trainer.train_data),
        "processes": trainer.world.size,
        "model": trainer.model.model.state_dict(),
        "ema": None if trainer.average is None else trainer.average.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "config": config_to_dict(trainer.config),
        "parts": trainer.parts.names,
        "directory": str(trainer.directory),
        "class_names": list(categories.names),
        "category_ids": list(categories.ids),
    }


def restore(trainer: "Trainer", checkpoint: dict[str, Any], path: Path) -> None:
    """Go on exactly where `checkpoint`, read from `path`, was saved, and warn of what makes that impossible.

    CheckpointError if it was trained on other classes, or does not belong to this model or optimizer.
    """
    names, before = trainer.train_data.categories.names, checkpoint["class_names"]
    if before != names:
        raise CheckpointError(
            f"The checkpoint was trained on {before[:5]}..., but the data now declare {names[:5]}...: resume on the "
            "same data, or start anew with --weights."
        )
    try:
        trainer.model.model.load_state_dict(checkpoint["model"])
        if trainer.average is not None:
            trainer.average.model.load_state_dict(checkpoint["ema"] or checkpoint["model"])
        _restore_optimizer(trainer.optimizer, checkpoint["optimizer"])
        trainer.scaler.load_state_dict(checkpoint["scaler"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = textwrap.shorten(str(error).rstrip(". "), 300, placeholder=" ...")
        raise CheckpointError(
            f"{path} does not fit this model or its optimizer ({reason}): give the backbone of your own again "
            "(backbone=), if it was trained with one; resume without changing keys of model, "
            "train.optimizer, train.freeze or train.freeze_batch_norm, and on as many ranks as before where batch "
            "norms depend on their number; or start anew with --weights."
        ) from error
    for name in PLAIN:
        setattr(trainer, name, checkpoint[name])
    batch = trainer.config.train.batch_size
    trainer.position = -(-trainer.position // batch) * batch  # batches of another size begin at a multiple of it
    trainer.awaits_evaluation = checkpoint.get("awaits_evaluation", False)
    trainer.stale_evaluations = checkpoint.get("stale_evaluations", 0)
    trainer.window = Counter(checkpoint["window"])
    trainer.saved, trainer.saved_step = path, trainer.step
    _warn_of_changes(trainer, checkpoint)


def _restore_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Copy the state of each parameter; settings other than the learning rate are the configuration's.

    ValueError, KeyError, TypeError or AttributeError if another optimizer or other parameters have saved it.
    """
    own = optimizer.state_dict()["state"]
    counts, own_counts = (
        [len(group["params"]) for group in groups] for groups in (saved["param_groups"], optimizer.param_groups)
    )
    if counts != own_counts:
        raise ValueError(f"the optimizer had groups of {counts} parameters to train, and has {own_counts} now")
    for group, own_group in zip(saved["param_groups"], optimizer.param_groups, strict=True):
        own_group["lr"] = group["lr"]  # until the next step sets it
    for number, values in saved["state"].items():  # a parameter that had no gradient yet may have none
        if values.keys() != own.get(number, {}).keys():
            raise ValueError(f"the optimizer's state was {', '.join(values) or 'empty'}")
        for name, value in values.items():
            expected = own[number][name]
            if value.shape != expected.shape:
                raise ValueError(f"the optimizer's {name} is {[*value.shape]} for a parameter {[*expected.shape]}")
            expected.copy_(value)  # its fused step trusts the memory layout to be the parameter's


def _warn_of_changes(trainer: "Trainer", checkpoint: dict[str, Any]) -> None:
    """Say what makes the run go on otherwise than it would have."""
    config_before = config_from_dict(checkpoint["config"], "the checkpoint")
    before, now = checkpoint.get("num_pictures", len(trainer.train_data)), len(trainer.train_data)
    if before != now:
        logger.warning(
            "WARNING: there are %d images to train on, and there were %d: they come in another order now", now, before
        )
    for part, names in trainer.parts.names.items():
        if names != (names_before := checkpoint.get("parts", {}).get(part, names)):
            logger.warning("WARNING: %s= is %s, and was %s: give the same again", part, names, names_before)
    tiles, tiles_before = (one.data.tiles for one in (trainer.config, config_before))
    if tiles != tiles_before:
        logger.warning("WARNING: data.tiles is %s, and was %s: an epoch has other samples now", tiles, tiles_before)
    # As the batch is shared, nothing depends on the number of ranks but what a trained batch norm sees at once.
    settings, settings_before = trainer.config.train, config_before.train
    size = batch_norm_size(settings, trainer.world)
    size_before = batch_norm_size(settings_before, World(size=checkpoint.get("processes", 1)))
    if size not in (0, size_before):
        logger.warning(
            "WARNING: batch norms see %d images at once now, and saw %d: the run goes on, but not exactly as before",
            size, size_before,
        )  # fmt: skip
