"""Train YOLACT: `python train.py --config configs/shapes.yaml`.

A run writes to runs/<config name>/<time or --name>/: config.yaml, log.txt, metrics.jsonl, last.pth, last.prev.pth (the
one before), best.pth and plots. Ctrl-C, SIGTERM and SIGUSR1 save and stop it; `python train.py --resume` goes on.

`torchrun --nproc-per-node 4 train.py ...` shares every batch out to four GPUs (docs/scaling.md).
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from yolact.compat import dbolya
from yolact.config import Config, config_from_dict, dump_config, load_config, override_config
from yolact.data.dataset import CocoDataset
from yolact.device import compute_deterministically, keep_freed_memory, resolve_precision
from yolact.distributed import Processes, joined_processes, own_device
from yolact.engine.checkpoint import load_checkpoint, model_weights
from yolact.engine.fit import fit
from yolact.engine.folder import Found, find_checkpoint, locked, prepare_folder, sweep, warn_of_little_space
from yolact.engine.log import set_up_logging, set_up_warnings
from yolact.engine.optim import (
    MovingAverage,
    batch_norm_is_frozen,
    make_optimizer,
    make_plan,
    normalised_together,
    set_training_mode,
)
from yolact.engine.pretrained import load_backbone
from yolact.engine.run import BEST, Run
from yolact.engine.sharing import check_resumed, check_sharing, synchronise_batch_norm
from yolact.engine.transfer import transfer_weights
from yolact.errors import CheckpointError, ConfigError, DatasetError, exit_on_user_error
from yolact.losses import ModelWithLoss
from yolact.models import Yolact, build_model
from yolact.output import write_bytes
from yolact.tools.inspect.quick import anchor_line, data_line

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
    start.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="DIR_OR_FILE",
        help="go on exactly where a run stopped; without a value, the run under --runs that was saved last",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ...; default: cuda where there is one")
    parser.add_argument("--name", help="of the run folder; default: the time")
    parser.add_argument("--runs", default="runs", metavar="DIR", help="where run folders are made (default: runs)")
    arguments = parser.parse_args(argv)
    if not arguments.config and arguments.resume is None:
        parser.error("--config FILE is needed, or --resume [DIR_OR_FILE]")
    if arguments.config and arguments.resume is not None:
        parser.error("--resume takes the configuration from the checkpoint: leave --config out, change keys by --set")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0, or 128 + the signal's number where one stopped the training."""
    arguments = parse_arguments(argv)
    with joined_processes() as processes:
        return train(arguments, processes)


def train(arguments: argparse.Namespace, processes: Processes) -> int:
    """Train as one of the processes that share the work out; returns as `main` does."""
    device = own_device(arguments.device)
    if device.type == "cpu":
        keep_freed_memory()
    found = None
    if arguments.resume is not None:
        found = find_together(arguments.resume, Path(arguments.runs), processes)
        config = override_config(config_from_dict(found.checkpoint["config"], str(found.path)), arguments.overrides)
        folder = found.path.parent
    else:
        config = load_config(arguments.config, arguments.overrides)
        name = arguments.name or processes.from_first(lambda: datetime.now().strftime("%Y-%m-%d_%H-%M-%S"))
        folder = Path(arguments.runs) / config.name / name
    check_sharing(config, processes, device.type)
    if config.train.deterministic:
        compute_deterministically()
    train_data, val_data = load_data(config)
    config = with_classes(config, train_data)
    versions = {"version of PyTorch": torch.__version__, "configuration": dump_config(config)}
    processes.require_equal({"number of training pictures": len(train_data), **versions})
    weights = read_weights(arguments.weights) if arguments.weights else None
    torch.manual_seed(config.train.seed)
    model = build_model(config)
    with opened(folder, config, processes, resuming=found is not None):
        with processes.together():
            if found is None and processes.first:
                initialise(model, config, processes, weights, arguments.weights)
        run = build_run(config, model, folder, device, train_data, val_data, processes)
        if found is None:
            logger.info(anchor_line(config, train_data))
        else:
            resume(run, found, arguments.overrides)
        found = weights = None  # several times the size of the model, which nobody needs while it trains
        warn_of_little_space(folder, run.checkpoint_bytes)
        signal_number = fit(run)
    if signal_number is None:
        logger.info("done: best mask AP %.4f; %s", run.best or 0.0, folder / BEST)
        return 0
    logger.info("stopped at step %d; go on with: python train.py --resume %s", run.step, folder)
    return 128 + signal_number


def find_together(given: str, runs: Path, processes: Processes) -> Found:
    """Read the checkpoint that the first process finds, in every process."""
    own: list[Found] = []

    def find() -> str:
        own.append(find_checkpoint(given, runs))
        return str(own[0].path)

    path = processes.from_first(find)
    return own[0] if own else find_checkpoint(path, runs)


@contextmanager
def opened(folder: Path, config: Config, processes: Processes, resuming: bool) -> Iterator[None]:
    """Prepare the run folder and keep others out of it, in the first process, which alone writes."""
    with ExitStack() as stack:
        with processes.together():
            if processes.first:
                prepare_folder(folder, resuming)
                stack.enter_context(locked(folder))
                start_folder(folder, config)
            else:
                set_up_warnings(processes.rank)
        yield


def start_folder(folder: Path, config: Config) -> None:
    """Begin the log, clean up after a kill, and write down the configuration."""
    set_up_logging(folder)
    leftovers = sweep(folder)
    if leftovers:
        logger.info("removed what a killed run had not finished writing: %s", ", ".join(leftovers))
    write_bytes(dump_config(config).encode(), folder / "config.yaml", option="--runs")


def resume(run: Run, found: Found, overrides: Sequence[str]) -> None:
    """Go on from a checkpoint, and say which."""
    for warning in found.warnings:
        logger.warning("WARNING: %s", warning)
    require_same_classes(found.checkpoint, run.train_data)
    check_resumed(found.checkpoint, run.config, run.processes)
    run.restore(found.checkpoint, found.path)
    changes = f" with {' '.join(overrides)}" if overrides else ""
    instead = " instead; the steps since then are done again" if found.warnings else ""
    logger.info("resumed %s at step %d%s%s", found.path, run.step, changes, instead)
    before = found.checkpoint.get("num_pictures", len(run.train_data))
    if before != len(run.train_data):
        logger.warning(
            "WARNING: there are %d pictures to train on, and there were %d: they come in another order now",
            len(run.train_data), before,
        )  # fmt: skip


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
    return model_weights(checkpoint) if "format" in checkpoint else dbolya.convert(checkpoint, path)


def initialise(
    model: Yolact,
    config: Config,
    processes: Processes,
    weights: dict[str, torch.Tensor] | None,
    origin: str | None,
) -> None:
    """Decide what a new run starts from: given weights, a pretrained backbone, or nothing."""
    if weights is not None:
        transfer_weights(model, weights, str(origin))
    elif config.train.backbone_weights == "none":
        logger.info("starting from random weights")
        if batch_norm_is_frozen(config.train, processes):
            logger.warning(
                "batch norm is frozen at its random start, because it would see %d pictures at once: "
                "set train.freeze_batch_norm=never, or give the backbone pretrained weights",
                normalised_together(config.train, processes),
            )
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
    processes: Processes,
) -> Run:
    settings = config.train
    frozen = batch_norm_is_frozen(settings, processes)
    precision = resolve_precision(settings.precision, device)
    plan = make_plan(settings, len(train_data))
    model.to(device)
    if settings.channels_last:
        model.to(memory_format=torch.channels_last)
    processes.copy_from_first(model)
    synchronise_batch_norm(model, config, processes)
    if settings.compile:
        model.compile()
    set_training_mode(model, frozen)
    logger.info(data_line(train_data, val_data))
    logger.info("plan: %s", plan.describe(settings))
    logger.info(
        "device %s, %s; batch norm %s (train.freeze_batch_norm=%s, %d pictures a batch)",
        device, precision, "frozen" if frozen else "trained", settings.freeze_batch_norm, settings.batch_size,
    )  # fmt: skip
    if processes.count > 1:
        share, together = processes.share(settings.batch_size), normalised_together(settings, processes)
        seen = "" if frozen else f"; batch norm sees {together} at once"
        logger.info("%d processes, each with %d pictures of a batch%s", processes.count, share, seen)
    return Run(
        config=config,
        plan=plan,
        folder=folder,
        device=device,
        precision=precision,
        model=ModelWithLoss(model, config.loss, processes),
        optimizer=make_optimizer(model, settings),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        average=MovingAverage(model, settings.ema_decay) if settings.ema_decay else None,
        train_data=train_data,
        val_data=val_data,
        processes=processes,
    )


if __name__ == "__main__":
    exit_on_user_error(main)
