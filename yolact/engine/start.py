"""From a configuration, or a checkpoint, to a trainer that is ready to fit."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolact.compat import dbolya
from yolact.config import Config, config_from_dict, dump_config, override_config
from yolact.data.dataset import CocoDataset
from yolact.data.transforms import Transform
from yolact.device import compute_deterministically, resolve_precision
from yolact.distributed import World
from yolact.engine.callbacks import BestCheckpoint, Callback, MetricsFile, TensorBoard
from yolact.engine.checkpoint import load_checkpoint, model_weights
from yolact.engine.folder import Found, find_checkpoint, locked, prepare_folder, sweep, warn_of_little_space
from yolact.engine.log import set_up_logging
from yolact.engine.optim import batch_norm_is_frozen, batch_norm_size
from yolact.engine.trainer import Trainer
from yolact.engine.weights import load_backbone, transfer_weights
from yolact.errors import CheckpointError, ConfigError, DatasetError
from yolact.evaluation.run import Evaluator
from yolact.losses import LossTerm, ModelWithLoss
from yolact.losses.assigners import Assigner
from yolact.models import Yolact, build_model
from yolact.output import write_bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a caller gives in code, in place of or beside what the configuration names; see `yolact.train`."""

    backbone: nn.Module | None = None
    assigner: Assigner | None = None
    loss_terms: Mapping[str, LossTerm] = field(default_factory=dict)
    transforms: Sequence[Transform] = ()
    evaluators: Sequence[Evaluator] = ()
    callbacks: Sequence[Callback] = ()


@contextmanager
def started(
    config: Config | None,
    world: World,
    device: torch.device,
    *,
    runs: Path,
    name: str | None = None,
    weights: str | None = None,
    resume: str | None = None,
    overrides: Sequence[str] = (),
    parts: Parts = Parts(),  # frozen
) -> Iterator[Trainer]:
    """Prepare a training, new or resumed, and keep its folder locked until the end of the block.

    Args:
        config: of a new run; a resumed one takes that of its checkpoint.
        runs, name: the run folder is RUNS/CONFIG NAME/NAME; the name is the time where none is given.
        weights: a checkpoint to fine-tune from, as far as it fits.
        resume: as `find_checkpoint` takes it.
        overrides: of the configuration of a resumed run.

    Raises:
        UserError: of all kinds, before anything is trained.
    """
    found = None
    if resume is not None:
        found = _find_on_all(resume, runs, world)
        config = override_config(config_from_dict(found.checkpoint["config"], str(found.path)), overrides)
        folder = found.path.parent
    else:
        assert config is not None
        folder = runs / config.name / (name or world.broadcast(lambda: datetime.now().strftime("%Y-%m-%d_%H-%M-%S")))
    check_world(config, world, device.type)
    if config.train.deterministic:
        compute_deterministically()
    train_data, val_data = load_data(config)
    config = with_classes(config, train_data)
    versions = {"version of PyTorch": torch.__version__, "configuration": dump_config(config)}
    world.require_equal({"number of training images": len(train_data), **versions})
    initial = read_weights(weights) if weights else None
    torch.manual_seed(config.train.seed)
    model = build_model(config, parts.backbone)
    with _opened(folder, config, world, resuming=found is not None):
        with world.raising_on_all():
            if found is None and world.is_main_process:
                _initialise(model, config, world, initial, weights, parts)
        trainer = _build_trainer(config, model, folder, device, train_data, val_data, world, parts)
        if found is not None:
            _resume(trainer, found, overrides)
        found = initial = None  # several times the size of the model, which nobody needs while it trains
        trainer.callbacks += _own_callbacks(trainer)
        trainer.callbacks += parts.callbacks
        warn_of_little_space(folder, trainer.checkpoint_bytes)
        yield trainer


def _find_on_all(given: str, runs: Path, world: World) -> Found:
    """Read the checkpoint that the main process finds, on every rank."""
    own: list[Found] = []

    def find() -> str:
        own.append(find_checkpoint(given, runs))
        return str(own[0].path)

    path = world.broadcast(find)
    return own[0] if own else find_checkpoint(path, runs)


@contextmanager
def _opened(folder: Path, config: Config, world: World, resuming: bool) -> Iterator[None]:
    """Prepare the run folder and keep others out of it, in the main process, which alone writes."""
    with ExitStack() as stack:
        with world.raising_on_all():
            if world.is_main_process:
                prepare_folder(folder, resuming)
                stack.enter_context(locked(folder))
                set_up_logging(folder)
                leftovers = sweep(folder)
                if leftovers:
                    logger.info("removed what a killed run had not finished writing: %s", ", ".join(leftovers))
                write_bytes(dump_config(config).encode(), folder / "config.yaml", option="--runs")
            else:
                set_up_logging(None, world.rank)
        yield


def _own_callbacks(trainer: Trainer) -> list[Callback]:
    callbacks: list[Callback] = []
    if trainer.world.is_main_process:
        callbacks.append(MetricsFile(trainer.folder, trainer.step, not trainer.awaits_evaluation))
        if trainer.config.train.tensorboard:
            callbacks.append(TensorBoard(trainer.folder, trainer.step))
    return [*callbacks, BestCheckpoint()]


def _build_trainer(
    config: Config,
    model: Yolact,
    folder: Path,
    device: torch.device,
    train_data: CocoDataset,
    val_data: CocoDataset,
    world: World,
    parts: Parts,
) -> Trainer:
    settings = config.train
    frozen, norm_size = batch_norm_is_frozen(settings, world), batch_norm_size(settings, world)
    precision = resolve_precision(settings.precision, device)
    model.to(device)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    world.broadcast_weights(model)
    if settings.sync_batch_norm and world.size > 1 and not frozen:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # names of parameters and buffers stay the same
    if settings.compile:
        model.compile()
    criterion = ModelWithLoss(model, config.loss, world, terms=parts.loss_terms, assigner=parts.assigner)
    trainer = Trainer(
        config, criterion, folder, train_data, val_data, precision,
        world=world, transforms=parts.transforms, evaluators=parts.evaluators,
    )  # fmt: skip
    logger.info("plan: %s", trainer.plan.describe(settings))
    logger.info(
        "device %s, %s; batch norm %s (train.freeze_batch_norm=%s, %d images a batch)",
        device, precision, "frozen" if frozen else "trained", settings.freeze_batch_norm, settings.batch_size,
    )  # fmt: skip
    if world.size > 1:
        seen = "" if frozen else f"; batch norm sees {norm_size} at once"
        logger.info("%d ranks, each with %d images of a batch%s", world.size, world.share(settings.batch_size), seen)
    return trainer


def _resume(trainer: Trainer, found: Found, overrides: Sequence[str]) -> None:
    """Go on from a checkpoint, and say which."""
    for warning in found.warnings:
        logger.warning("WARNING: %s", warning)
    names = trainer.train_data.categories.names
    if found.checkpoint["class_names"] != names:
        raise CheckpointError(
            f"The checkpoint was trained on {found.checkpoint['class_names'][:5]}..., but the data now declare "
            f"{names[:5]}...: resume on the same data, or start anew with --weights."
        )
    check_resumed(found.checkpoint, trainer.config, trainer.world)
    trainer.restore(found.checkpoint, found.path)
    changes = f" with {' '.join(overrides)}" if overrides else ""
    instead = " instead; the steps since then are done again" if found.warnings else ""
    logger.info("resumed %s at step %d%s%s", found.path, trainer.step, changes, instead)
    before, now = found.checkpoint.get("num_pictures", len(trainer.train_data)), len(trainer.train_data)
    if before != now:
        logger.warning(
            "WARNING: there are %d images to train on, and there were %d: they come in another order now", now, before
        )


def load_data(config: Config) -> tuple[CocoDataset, CocoDataset]:
    """Read both annotation files, which must declare the same classes."""
    data = config.data
    train = CocoDataset(data.train_annotations, data.train_images, max_images=data.max_train_images)
    val = CocoDataset(data.val_annotations, data.val_images, max_images=config.eval.max_images)
    if train.categories != val.categories:
        both = [set(zip(one.categories.ids, one.categories.names, strict=True)) for one in (train, val)]
        raise DatasetError(
            f"{data.train_annotations} and {data.val_annotations} must declare the same categories, but only one of "
            f"them has {sorted(both[0] ^ both[1])[:3]}: make their 'categories' lists equal."
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


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """Read the weights to fine-tune from: a checkpoint of ours, or one that the authors' code saved."""
    checkpoint = load_checkpoint(path)
    return model_weights(checkpoint) if "format" in checkpoint else dbolya.convert(checkpoint, path)


def _initialise(
    model: Yolact,
    config: Config,
    world: World,
    weights: dict[str, torch.Tensor] | None,
    origin: str | None,
    parts: Parts,
) -> None:
    """Decide what a new run starts from: given weights, a pretrained backbone, or nothing."""
    if weights is not None:
        transfer_weights(model, weights, str(origin))
    elif parts.backbone is not None:
        logger.info("backbone: %s, as it was given", type(parts.backbone).__name__)
    elif config.train.backbone_weights == "none":
        logger.info("starting from random weights")
        if batch_norm_is_frozen(config.train, world):
            logger.warning(
                "batch norm is frozen at its random start, because it would see %d images at once: "
                "set train.freeze_batch_norm=never, or give the backbone pretrained weights",
                batch_norm_size(config.train, world),
            )
    else:
        name = config.model.backbone.name
        logger.info("backbone: %s", load_backbone(model.backbone, name, config.train.backbone_weights))


def check_world(config: Config, world: World, device: str) -> None:
    """Refuse a configuration that these ranks cannot work on; `device` is a kind, such as "cuda".

    Raises:
        ConfigError: a batch cannot be shared evenly, or batch norm not synchronised.
    """
    settings = config.train
    if settings.batch_size % world.size:
        numbers = [str(number) for number in range(1, settings.batch_size + 1) if settings.batch_size % number == 0]
        raise ConfigError(
            f"train.batch_size of configuration '{config.name}' is {settings.batch_size}, which {world.size} ranks "
            f"cannot share evenly: start {' or '.join(numbers)}, or set it to a multiple of {world.size}."
        )
    if settings.sync_batch_norm and world.size > 1 and device != "cuda" and not batch_norm_is_frozen(settings, world):
        raise ConfigError(
            f"train.sync_batch_norm of configuration '{config.name}' is true, which PyTorch can do on CUDA only, and "
            f"this is {device}: set it to false, or train.freeze_batch_norm to always."
        )


def check_resumed(checkpoint: dict[str, Any], config: Config, world: World) -> None:
    """Refuse to go on with a number of ranks that makes another training of it.

    As the batch is shared, nothing depends on the number of ranks but what a trained batch norm sees at once.

    Raises:
        CheckpointError: batch norms were trained and would now be frozen, or the other way round.
    """
    before, now = config_from_dict(checkpoint["config"], "the checkpoint").train, config.train
    world_before = World(size=checkpoint.get("processes", 1))
    size_before, size = batch_norm_size(before, world_before), batch_norm_size(now, world)
    was_frozen, frozen = batch_norm_is_frozen(before, world_before), batch_norm_is_frozen(now, world)
    if was_frozen != frozen:
        words = ("frozen", "trained") if was_frozen else ("trained", "frozen")
        plural = "" if world_before.size == 1 else "s"
        raise CheckpointError(
            f"This run's batch norms were {words[0]}, with {size_before} images at once, and would now be "
            f"{words[1]}, with {size}: go on with {world_before.size} rank{plural}, or set "
            f"train.freeze_batch_norm to {'always' if was_frozen else 'never'}."
        )
    if not frozen and size != size_before:
        logger.warning(
            "WARNING: batch norms see %d images at once now, and saw %d: the run goes on, but not exactly as before",
            size, size_before,
        )  # fmt: skip
