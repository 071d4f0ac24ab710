"""From a configuration, or a checkpoint, to a trainer that is ready to fit."""

import logging
import math
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolact.compat import dbolya
from yolact.config import Config, DataConfig, TrainConfig, as_size, dump_config, load_config, override_config
from yolact.data.dataset import CocoDataset
from yolact.data.samples import Colours
from yolact.data.white import choose_white
from yolact.device import compute_deterministically
from yolact.distributed import World
from yolact.engine.callbacks import BestCheckpoint, MetricsFile, TensorBoard
from yolact.engine.checkpoint import DATA_PATHS, load_checkpoint, model_weights, num_bytes, saved_config
from yolact.engine.folder import find_checkpoint, locked, prepare_folder, set_up_logging, sweep, warn_of_little_space
from yolact.engine.optim import batch_norm_size
from yolact.engine.pretrained import fitting_weights, load_backbone, transfer_weights
from yolact.engine.state import restore, training_state
from yolact.engine.trainer import Parts, Trainer
from yolact.errors import ConfigError, DatasetError
from yolact.models import Yolact, build_model
from yolact.output import write_bytes
from yolact.structures import Tiles
from yolact.text import counted

logger = logging.getLogger(__name__)

USUAL = 0.9  # of the objects, which tiles that overlap shall show whole


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
    if resume is not None:
        found = world.broadcast(partial(find_checkpoint, resume, runs))
        before = saved_config(found.checkpoint, found.path)
        config = override_config(before, overrides)
        require_equal_steps(before.train, config.train, found.path)
        folder = found.path.parent
    else:
        assert config is not None
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
    initial = read_weights(weights) if weights else None
    torch.manual_seed(config.train.seed)
    network = build_model(config, parts.backbone)
    if initial is not None and _are_moved(initial.class_names, train_data.categories.names):
        others = _class_tensors(config, parts)
        logger.info("%s has these classes in another order, so that its layers of classes are made anew", weights)
        initial = initial._replace(weights={key: one for key, one in initial.weights.items() if key not in others})
    if initial is not None:
        instead = fine_tuning(initial.config, Path(str(weights)), config.data)
        fitting_weights(network, initial.weights, str(weights), instead)
    with ExitStack() as stack:
        with world.raising_on_all():
            if world.is_main_process:  # it alone writes
                prepare_folder(folder, resuming=found is not None)
                stack.enter_context(locked(folder))
                set_up_logging(folder)
                sweep(folder)
                if initial is not None:
                    transfer_weights(network, initial.weights, str(weights))
                elif found is None:
                    _initialise(network, config, world, parts)
            else:
                set_up_logging(folder, world.rank)
        trainer = Trainer(config, network, folder, train_data, val_data, device, world, parts)
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


def load_data(config: Config) -> tuple[Config, CocoDataset, CocoDataset]:
    """Read both annotation files, and set what follows them; UserError if they do not agree.

    These are the white of images of more than 8 bits, the number of classes, the weights of classes, how many objects
    an evaluation must be able to find, and its tiles.
    """
    data, expected = config.data, config.model.num_classes
    config = replace(config, eval=replace(config.eval, tiles=config.eval.tiles or data.tiles))
    train = CocoDataset(
        data.train_annotations, data.train_images, max_images=data.max_train_images, in_tiles=data.tiles is not None,
        colours=Colours.of(config),
    )  # fmt: skip
    if data.white is None:
        data = replace(data, white=choose_white(train))
        config = replace(config, data=data)
    val = CocoDataset(
        data.val_annotations, data.val_images, max_images=config.eval.max_images, in_tiles=config.eval.tiles is not None
    )
    train.colours = val.colours = Colours.of(config)
    if train.categories != val.categories:
        both = [set(zip(one.categories.ids, one.categories.names, strict=True)) for one in (train, val)]
        raise DatasetError(
            f"{data.train_annotations} and {data.val_annotations} must declare the same categories, but only one of "
            f"them has {sorted(both[0] ^ both[1])[:3]}: make their 'categories' lists equal."
        )
    found = len(train.categories)
    if expected not in (None, found):
        raise ConfigError(
            f"model.num_classes of configuration '{config.name}' is {expected}, but {data.train_annotations} "
            f"declares {found} categories: set it to {found}, or to null to take it from the file."
        )
    if not train.class_counts.sum() and not data.allow_empty:
        crowds = f" but {train.num_crowds} crowd regions (iscrowd)" if train.num_crowds else ""
        raise DatasetError(
            f"{data.train_annotations} has no objects to train on{crowds}: label some (`yolact check` says more), or "
            "set data.allow_empty=true to train on background alone."
        )
    if not val.class_counts.sum():
        logger.warning("%s has no objects: there is nothing to score, and no best checkpoint", data.val_annotations)
    loss, settings = config.loss, config.eval
    if loss.class_weights == "inverse":
        loss = replace(loss, class_weights=inverse_weights(train.class_counts))
    if loss.class_weights != "none" and len(loss.class_weights) != found:
        raise ConfigError(
            f"loss.class_weights of configuration '{config.name}' must be a weight for each of the {found} categories "
            f"of {data.train_annotations}, got {len(loss.class_weights)}."
        )
    if data.tiles is not None and settings.tiles != data.tiles:
        logger.warning("trains on tiles of %s, but evaluates in tiles of %s (eval.tiles)", data.tiles, settings.tiles)
    if settings.tiles is not None and settings.tile_overlap is None:
        settings = replace(settings, tile_overlap=usual_overlap(train, min(as_size(settings.tiles)) // 2))
    tiles = Tiles.of(settings)
    most, most_of_class = (
        max(counts) for counts in zip(*(one.most_objects(tiles) for one in (train, val)), strict=True)
    )
    settings = replace(
        settings,
        max_detections=max(settings.max_detections, most),
        nms_top_k=max(settings.nms_top_k, 2 * most_of_class),
    )
    return replace(config, model=replace(config.model, num_classes=found), loss=loss, eval=settings), train, val


def usual_overlap(dataset: CocoDataset, most: int) -> int:
    """Return the pixels that `USUAL` of the objects fit into on both sides, `most` of them at most."""
    sides = dataset.longest_sides
    return min(math.ceil(np.quantile(sides, USUAL)), most) if len(sides) else most // 2


def inverse_weights(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """Return weights in inverse proportion to the objects of each class, whose mean over all objects is 1.

    A class without objects has weight 1.
    """
    present = counts > 0
    weights = np.where(present, counts.sum() / (max(1, present.sum()) * np.maximum(counts, 1)), 1.0)
    return tuple(weights.tolist())


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


def _are_moved(before: list[str] | None, now: list[str]) -> bool:
    """Tell whether a class of both lists stands in another place."""
    return before is not None and any(name in before and before.index(name) != place for place, name in enumerate(now))


def _class_tensors(config: Config, parts: Parts) -> set[str]:
    """Return the names of the tensors whose shape follows from the number of classes."""
    shapes = []
    for more in (0, 1):
        number = (config.model.num_classes or 1) + more
        with torch.device("meta"):
            model = build_model(replace(config, model=replace(config.model, num_classes=number)), parts.backbone)
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
            f"{list(sizes)}: "
            "end them so, or set train.image_size_order=random."
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
