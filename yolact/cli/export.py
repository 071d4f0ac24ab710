"""Export a model to ONNX or torch.export, and see that the file finds what PyTorch finds.

yolact export --weights weights/yolact_resnet50_54_800000.pth --format onnx
yolact export --weights runs/custom/first/best.pth --format onnx-raw --output raw.onnx --images holiday/

Formats: onnx      detections with masks, Fast NMS inside
         onnx-raw  the outputs of the network, for programs with a post-processing of their own
         torch, torch-raw  the same for PyTorch without this project: torch.export.load(FILE).module()

The file is run on images and compared with PyTorch before it is written. scripts/onnx_example.py uses one.
"""

import argparse
import os
from pathlib import Path

from yolact.cli.arguments import add_model, load_chosen_model
from yolact.errors import UserError

ENDINGS = {"onnx": ".onnx", "onnx-raw": "_raw.onnx", "torch": ".pt2", "torch-raw": "_raw.pt2"}  # of default names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "eval.nms=cross_class eval.max_detections=50")
    parser.add_argument("--format", choices=ENDINGS, required=True)
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: beside the weights, with their name")
    parser.add_argument(
        "--images", "--pictures", type=Path, nargs="+", metavar="PATH",
        help="files or folders (the first ten of each) to compare on; default: generated ones",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from yolact.tools.export import export_model, generated_images, read_images

    default = arguments.weights.parent / (arguments.weights.stem + ENDINGS[arguments.format])
    output = arguments.output or default
    if output.suffix != default.suffix or output.is_dir():
        raise UserError(
            f"--format {arguments.format} writes a file that ends in {default.suffix}, got --output '{output}'; "
            "rename it."
        )
    if not os.access(output.parent, os.W_OK):
        raise UserError(f"The folder '{output.parent}' of --output does not exist or is read-only; give another one.")
    loaded = load_chosen_model(arguments, "cpu")
    images = read_images(arguments.images) if arguments.images else generated_images(loaded.model.image_size)
    kind = "given" if arguments.images else "generated"
    print(f"exporting {loaded.config.name}, then comparing on {len(images)} {kind} images; this takes a minute or so")
    export, comparison = export_model(loaded, output, arguments.format, images)
    runtime = "ONNX Runtime" if arguments.format.startswith("onnx") else "torch.export"
    print(f"the same as PyTorch, run with {runtime} on the CPU", *comparison.lines(), sep="\n")
    print(f"{output} ({output.stat().st_size / 1e6:.0f} MB)")
    print(*export.lines(), sep="\n")
