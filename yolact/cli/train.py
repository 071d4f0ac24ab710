"""Train a model.

yolact train --config shapes
yolact train --config configs/custom.yaml --weights weights/yolact_resnet50_54_800000.pth    # fine-tune
yolact train --resume runs/custom/first                                                      # go on exactly

A run writes to runs/<config name>/<time or --name>/: config.yaml, log.txt, metrics.jsonl, last.pth, last.prev.pth (the
one before), best.pth and plots. Ctrl-C, SIGTERM and SIGUSR1 save and stop it.

`torchrun --nproc-per-node 4 train.py ...` shares every batch between four GPUs (docs/scaling.md).
"""

import argparse

from yolact.cli.arguments import add_device, add_set


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a training."""
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--config", metavar="NAME_OR_FILE", help="a configuration, for a new run")
    start.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="DIR_OR_FILE",
        help="go on exactly where a run stopped, with its configuration (--set changes keys of it); without a value, "
        "the run under --runs that was saved last",
    )
    parser.add_argument("--weights", metavar="FILE", help="fine-tune from a checkpoint, as far as it fits")
    add_set(parser, "such as train.batch_size=4")
    add_device(parser)
    parser.add_argument("--name", help="of the run folder; default: the time")
    parser.add_argument("--runs", metavar="DIR", help="where run folders are made (default: runs)")


def run(arguments: argparse.Namespace) -> int:
    """Train; return 0, or 128 + the number of the signal that stopped the training."""
    if arguments.weights and arguments.resume is not None:
        arguments.parser.error("--weights is for a new run: give --config, or leave it out")
    if arguments.runs and arguments.resume:
        arguments.parser.error("--runs is for a new run, or for --resume without a value: leave it out")
    from yolact.api import train
    from yolact.config import load_config
    from yolact.distributed import joined_world, local_device

    with joined_world() as world:
        device = local_device(arguments.device)
        trainer = train(
            load_config(arguments.config, arguments.set) if arguments.config else None,
            name=arguments.name,
            runs=arguments.runs or "runs",
            weights=arguments.weights,
            resume=arguments.resume,
            overrides=arguments.set,
            device=device,
            world=world,
        )
        return 0 if trainer.signal is None else 128 + trainer.signal
