"""From a configuration, or a checkpoint, to a trainer that is ready to fit."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path, PurePath

import torch

from yolact.config import Config, TrainConfig, as_size, dump_config, override_config
from yolact.device import compute_deterministically
from yolact.distributed import World
from yolact.engine.callbacks import BestCheckpoint, MetricsFile, TensorBoard
from yolact.engine.checkpoint import DATA_PATHS, num_bytes, saved_config
from yolact.engine.fine_tuning import initial_weights, transfer_weights
from yolact.engine.folder import find_checkpoint, locked, prepare_folder, set_up_logging, sweep, warn_of_little_space
from yolact.engine.optim import batch_norm_size
from yolact.engine.pretrained import load_backbone
from yolact.engine.state import restore, training_state
from yolact.engine.trainer import Parts, Trainer
from yolact.engine.training_data import load_data
from yolact.errors import ConfigError
from yolact.models import Yolact, build_model
from yolact.output import write_bytes
from yolact.text import counted

logger = logging.getLogger(__name__)


@contextmanager
def started(
    config: Config | None,
    world: World,
    device: torch.device,
    *,
    runs: Path,
    parts: Parts,
    name: str | None = None,
    weights: str | None = None,
    resume: str | None = None,
    overrides: Sequence[str] = (),
) -> Iterator[Trainer]:
    """Prepare a training, new or resumed, and keep its folder locked until the end of the block.

    The arguments are those of `yolact.train`, and all mistakes of the user's are raised before anything is trained.
    """
    found = None
    if name and resume is not None:
        raise ConfigError(f"A resumed run stays in its folder, and cannot get the name '{name}': leave --name out.")
    if name and (PurePath(name).name != name or name == ".."):
        raise ConfigError(f"--name must be usable as the name of a folder, got '{name}'; --runs says where it is made.")
    if resume is not None:
        found = world.broadcast(partial(find_checkpoint, resume, runs))
        before = saved_config(found.checkpoint, found.path)
        config = override_config(before, overrides)
        require_equal_steps(before.train, config.train, found.path)
        folder = found.path.parent
    else:
        if config is None:
            raise ConfigError('A training needs a configuration, such as yolact.load_config("shapes"), or resume=DIR.')
        folder = runs / config.name / (name or world.broadcast(lambda: datetime.now().strftime("%Y-%m-%d_%H-%M-%S")))
    check_training(config, world, device.type)
    if config.train.deterministic:
        compute_deterministically()
    config, train_data, val_data = load_data(config)
    world.require_equal({
        "number of training images": len(train_data),
        "version of PyTorch": torch.__version__,
        "configuration": dump_config(config),
    })  # fmt: skip
    torch.manual_seed(config.train.seed)
    network = build_model(config, parts.backbone)
    initial = None
    if weights is not None:
        initial = initial_weights(weights, network, config, train_data.categories.names, parts.backbone)
    with ExitStack() as stack:
        with world.raising_on_all():
            if world.is_main_process:  # it alone writes
                prepare_folder(folder, resuming=found is not None)
                stack.enter_context(locked(folder))
                set_up_logging(folder)
                sweep(folder)
                if initial is not None:
                    transfer_weights(network, initial, str(weights))
                elif found is None:
                    _initialise(network, config, world, parts)
            else:
                set_up_logging(folder, world.rank)
        trainer = Trainer(config, network, folder, train_data, val_data, device, world, parts)
        for part, names in parts.names.items():
            if names:
                logger.info("%s: %s, as given", part, ", ".join(names))
        settings, norm_size = config.train, batch_norm_size(config.train, world)
        logger.info("plan: %s", trainer.plan)
        logger.info(
            "%s, each with %d images of a batch, on %s in %s; batch norm %s (train.freeze_batch_norm=%s)",
            counted(world.size, "rank"), world.share(settings.batch_size), device, trainer.precision,
            f"trained on {norm_size} images at once" if norm_size else "frozen", settings.freeze_batch_norm,
        )  # fmt: skip
        if found is not None:
            for warning in found.warnings:
                logger.warning("WARNING: %s", warning)
            if any(getattr(before.data, key) != found.checkpoint["config"]["data"][key] for key in DATA_PATHS):
                logger.info("the data are those of %s, where the run began", found.checkpoint["directory"])
            restore(trainer, found.checkpoint, found.path)
            changes = f" with {' '.join(overrides)}" if overrides else ""
            instead = " instead; the steps since then are done again" if found.warnings else ""
            if trainer.step > trainer.plan.max_steps:
                raise ConfigError(
                    f"'{found.path}' is at step {trainer.step}, and the plan has {trainer.plan.max_steps} now: raise "
                    "train.max_steps or train.epochs, or take its weights as they are."
                )
            logger.info("resumed %s at step %d%s%s", found.path, trainer.step, changes, instead)
        with world.raising_on_all():
            if world.is_main_process:
                write_bytes(dump_config(config).encode(), folder / "config.yaml", option="--runs")
        found = initial = None  # several times the size of the model, which nobody needs while it trains
        if world.is_main_process:
            warn_of_little_space(folder, num_bytes(training_state(trainer)))
            trainer.callbacks.append(MetricsFile(folder, trainer.step, not trainer.awaits_evaluation))
            if config.train.tensorboard:
                trainer.callbacks.append(TensorBoard(folder, trainer.step))
        trainer.callbacks += [BestCheckpoint(), *parts.callbacks]
        yield trainer


def require_equal_steps(before: TrainConfig, now: TrainConfig, path: Path) -> None:
    """Raise ConfigError where a run would go on with steps of more or fewer images, in which its plan is counted."""
    images, images_now = (one.batch_size * one.accumulate for one in (before, now))
    if images != images_now:
        raise ConfigError(
            f"The steps of '{path}' have {images} images (train.batch_size {before.batch_size} x train.accumulate "
            f"{before.accumulate}), and --set makes it {images_now} ({now.batch_size} x {now.accumulate}), but the "
            "plan counts steps: keep the product, or start anew with --config FILE --weights FILE."
        )


def _initialise(network: Yolact, config: Config, world: World, parts: Parts) -> None:
    """Give a new network the backbone that it starts from, if any."""
    if parts.backbone is not None:
        logger.info("backbone: %s, as it was given", type(parts.backbone).__name__)
    elif config.train.backbone_weights != "none":
        origin = load_backbone(network.backbone, config.model.backbone.name, config.train.backbone_weights)
        logger.info("backbone: %s", origin)
    else:
        logger.info("starting from random weights")
        if "backbone" in config.train.freeze:
            logger.warning("the backbone is frozen at its random start: set train.backbone_weights, or leave it free")
        if not batch_norm_size(config.train, world):
            logger.warning(
                "batch norm is frozen at its random start: set train.freeze_batch_norm=never, or give the backbone "
                "pretrained weights"
            )


def check_training(config: Config, world: World, device: str) -> None:
    """Raise ConfigError where these ranks, on a kind of device such as "cuda", cannot train by a configuration."""
    settings, size, sizes = config.train, config.model.input_size, config.train.image_sizes
    # Here and not with the configuration, because a trained model may be used at another size.
    if settings.image_size_order == "progressive" and [*map(as_size, sizes)][-1:] != [size]:
        raise ConfigError(
            f"train.image_sizes must end with model.image_size, {config.model.image_size}, if progressive, got "
            f"{list(sizes)}: end them so, or set train.image_size_order=random."
        )
    if settings.patience and not settings.eval_every:
        raise ConfigError("train.patience counts evaluations while training: set train.eval_every, which is null.")
    if settings.batch_size % world.size:
        raise ConfigError(
            f"train.batch_size of configuration '{config.name}' is {settings.batch_size}, which {world.size} ranks "
            f"cannot share evenly: set it to a multiple of {world.size}, or start as many ranks as divide it."
        )
    if settings.sync_batch_norm and world.size > 1 and device != "cuda" and batch_norm_size(settings, world):
        raise ConfigError(
            f"train.sync_batch_norm of configuration '{config.name}' is true, which PyTorch can do on CUDA only, and "
            f"this is {device}: set it to false, or train.freeze_batch_norm to always."
        )
