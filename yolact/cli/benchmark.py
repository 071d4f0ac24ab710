"""Measure speed and memory.

yolact benchmark --config yolact_resnet50
yolact benchmark --weights runs/custom/first/best.pth --images holiday/ --parts latency memory --output benchmark.json

Parts: latency     network, detection, masks, and all from a file to masks, one image at a time
       throughput  batches, from images to masks;  nms  its kinds;  loader  training samples of one core
       training    the whole step that trains;  evaluation  from masks to COCO's metrics;  memory

Weights that are not given are random, and find as many objects as trained ones. Missing images are generated."""

import argparse
import os
from pathlib import Path

from yolact.cli.arguments import PRECISIONS, add_device, add_set, count
from yolact.errors import UserError

PARTS = ("latency", "throughput", "nms", "loader", "training", "evaluation", "memory")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a benchmark."""
    parser.add_argument("--config", help="a name or YAML file; default: that of the weights, or yolact_resnet50")
    parser.add_argument("--weights", type=Path, help="a checkpoint, ours or published by the authors")
    add_set(parser, "train.batch_size=2")
    add_device(parser)
    parser.add_argument("--precision", choices=PRECISIONS, help="default: fp32, and bf16 where the device computes it")
    parser.add_argument("--images", "--pictures", type=Path, metavar="DIR", help="the first eight images of a folder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help="default: all")
    parser.add_argument("--repeats", type=count, default=20, help="timed calls of each stage (default: 20)")
    parser.add_argument("--batch-sizes", type=count, nargs="+", default=[1, 8], metavar="N", help="default: 1 8")
    parser.add_argument("--num-images", type=count, default=5000, help="of the evaluation (default: 5000)")
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="also write what is printed there")


def run(arguments: argparse.Namespace) -> None:
    """Measure, print a table as it grows, and write it."""
    from yolact.config import load_config
    from yolact.device import keep_freed_memory, pick_device, resolve_precision
    from yolact.output import write_json
    from yolact.predictor import load_model
    from yolact.tools.benchmark import measure

    if arguments.output and not os.access(arguments.output.parent, os.W_OK):
        raise UserError(f"The folder '{arguments.output.parent}' of --output does not exist or is read-only.")
    device = pick_device(arguments.device)
    if device.type == "cpu":
        keep_freed_memory()
    config, loaded = load_config(arguments.config or "yolact_resnet50", arguments.set), None
    if arguments.weights:
        loaded = load_model(arguments.weights, "cpu", config if arguments.config else None, arguments.set)
    precisions = {arguments.precision} if arguments.precision else {"fp32", resolve_precision("auto", device)}
    result = measure(
        arguments.parts, loaded.config if loaded else config, loaded, arguments.images, device=device,
        precisions=sorted(precisions, reverse=True), repeats=arguments.repeats,
        batch_sizes=arguments.batch_sizes, num_images=arguments.num_images,
    )  # fmt: skip
    if arguments.output:
        write_json(result, arguments.output, indent=2)
