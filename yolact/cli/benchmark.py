"""Measure accuracy, speed and memory in every runtime that is installed, and what training and evaluation cost.

yolact benchmark --weights runs/custom/first/best.pth --output benchmark.json     # and benchmark.png
yolact benchmark --config yolact_resnet50 --parts training evaluation

Parts: runtimes    PyTorch, ONNX Runtime, OpenVINO, TensorRT, torch.export in each precision: mask AP, milliseconds of
                   network, detection and masks, all from a file to masks, memory, size;  throughput  their batches
       loader      training samples of one core;  training  the whole step that trains, and its memory
       evaluation  from masks to COCO's metrics

With --weights the first part alone is measured. Without, weights are random and find as many objects as trained ones,
but have no AP. Missing images are generated."""

import argparse
import os
import sys
from pathlib import Path

from yolact.cli.arguments import PRECISIONS, add_device, add_set, count, require_suffix, validation_set
from yolact.errors import UserError

PARTS = ("runtimes", "throughput", "loader", "training", "evaluation")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a benchmark."""
    parser.add_argument("--config", help="a name or YAML file; default: that of the weights, or yolact_resnet50")
    parser.add_argument("--weights", type=Path, help="a checkpoint, ours or published by the authors")
    add_set(parser, "train.batch_size=2")
    add_device(parser)
    parser.add_argument("--precision", choices=PRECISIONS, help="default: fp32, and bf16 where the device computes it")
    parser.add_argument("--images", "--pictures", type=Path, metavar="DIR", help="the first eight images of a folder")
    parser.add_argument("--parts", nargs="+", choices=PARTS, metavar="PART", help="default: all, or runtimes")
    parser.add_argument("--repeats", type=count, default=20, help="timed calls of each stage (default: 20)")
    parser.add_argument("--batch-sizes", type=count, nargs="+", default=[1, 8], metavar="N", help="default: 1 8")
    parser.add_argument("--num-images", type=count, default=5000, help="of the evaluation (default: 5000)")
    text = "also write what is printed there, and beside it AP against FPS as FILE.png"
    parser.add_argument("--output", type=Path, metavar="FILE.json", help=text)


def run(arguments: argparse.Namespace) -> None:
    """Measure, print a table as it grows, and write it."""
    from yolact.config import load_config
    from yolact.device import pick_device, resolve_precision
    from yolact.loaded import load_model
    from yolact.output import write_bytes, write_json
    from yolact.tools.benchmark import measure, speed_plot

    if arguments.output:
        require_suffix(arguments.output, "table", ".json")
        if not os.access(arguments.output.parent, os.W_OK):
            raise UserError(f"The folder '{arguments.output.parent}' of --output does not exist or is read-only.")
    device = pick_device(arguments.device)
    config, loaded = load_config(arguments.config or "yolact_resnet50", arguments.set), None
    if arguments.weights:
        loaded = load_model(arguments.weights, "cpu", config if arguments.config else None, arguments.set)
    precisions = {arguments.precision} if arguments.precision else {"fp32", resolve_precision("auto", device)}
    parts, val_data = arguments.parts or (PARTS if loaded is None else PARTS[:1]), None
    if loaded is not None and "runtimes" in parts:
        if Path(annotations := loaded.config.data.val_annotations).is_file():
            val_data = validation_set(loaded, arguments.weights)
        else:
            print(f"note: no mask AP, as there is no '{annotations}' (--set data.val_annotations)", file=sys.stderr)
    result = measure(
        parts, loaded.config if loaded else config, loaded,
        arguments.images, device=device, precisions=sorted(precisions, reverse=True), repeats=arguments.repeats,
        batch_sizes=arguments.batch_sizes, num_images=arguments.num_images, val_data=val_data,
    )  # fmt: skip
    if arguments.output:
        write_json(result, arguments.output, indent=2)
        plot = arguments.output.with_suffix(".png")
        if drawn := speed_plot(result):
            write_bytes(drawn, plot)
        elif plot.exists():
            print(f"note: '{plot}' is not of this run, which measured no AP to draw, and stays", file=sys.stderr)
