"""Export a model for ONNX Runtime, OpenVINO, TensorRT or torch.export, and see that the file finds the same objects.

yolact export --weights weights/yolact_resnet50_54_800000.pth --format onnx
yolact export --weights runs/custom/first/best.pth --format openvino --precision int8
yolact export --weights runs/custom/first/best.pth --format onnx-raw --output raw.onnx --images holiday/

Formats: onnx, openvino, tensorrt, torch    detections with masks, Fast NMS inside
         onnx-raw, openvino-raw, ...        the outputs of the network: NMS and its settings stay open

A float file is run on images and compared with PyTorch before it is written. An int8 file is calibrated on images of
data.train_annotations, and its mask AP measured on data.val_annotations: a loss of over one AP is refused. `yolact
predict`, `eval`, `benchmark` and the others take the files as --weights; scripts/onnx_example.py is a program without
this package.
"""

import argparse
import os
from pathlib import Path

from yolact.cli.arguments import add_model, load_chosen_model, validation_set
from yolact.errors import UserError

FORMATS = [f"{name}{raw}" for name in ("onnx", "openvino", "tensorrt", "torch") for raw in ("", "-raw")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "eval.nms=cross_class eval.max_detections=50", files=False)
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16", "int8"), default="fp32", help="default: fp32")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: beside the weights, with their name")
    parser.add_argument(
        "--images", "--pictures", type=Path, nargs="+", metavar="PATH",
        help="files or folders (the first ten of each) to compare a float file on; default: generated ones",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from yolact.data.dataset import CocoDataset
    from yolact.data.samples import Colours
    from yolact.output import require_replaceable
    from yolact.runtimes.exported import KINDS
    from yolact.tools.export import export_int8, export_model, generated_images, read_images

    form, precision = arguments.format, arguments.precision
    kind, raw = KINDS[form.removesuffix("-raw")], "_raw" if form.endswith("-raw") else ""
    lower = "" if precision == "fp32" else f"_{precision}"
    output = arguments.output or arguments.weights.with_name(f"{arguments.weights.stem}{raw}{lower}{kind.ending}")
    if not output.name.endswith(kind.ending) or (output.is_dir() and kind.ending.startswith(".")):
        raise UserError(f"--format {form} writes what ends in {kind.ending}, got --output '{output}'; rename it.")
    if not os.access(output.parent, os.W_OK):
        raise UserError(f"The folder '{output.parent}' of --output does not exist or is read-only; give another one.")
    require_replaceable(output)
    if precision == "int8" and arguments.images:
        raise UserError("--images are for float files; int8 is measured on data.val_annotations: leave --images out.")
    loaded = load_chosen_model(arguments, "cpu")
    config, colours = loaded.config, Colours.of(loaded.config)
    if precision == "int8":
        val_data = validation_set(loaded, arguments.weights)
        train_data = CocoDataset(config.data.train_annotations, config.data.train_images, colours=colours)
        export, attempt = export_int8(loaded, output, form, train_data, val_data)
        kept = ", ".join(attempt.float_parts) or "nothing"
        print(f"int8: {100 * attempt.loss:.2f} AP lost, {100 * attempt.mask_ap:.2f} left; in float: {kept}")
    else:
        if arguments.images:
            given, images = "given", read_images(arguments.images, colours)
        else:
            given, images = "generated", generated_images(max(loaded.model.image_size), colours.channels)
        print(f"exporting {config.name}, then comparing on {len(images)} {given} images; this takes a minute or so")
        export, comparison = export_model(loaded, output, form, images, precision)
        print(f"the same as PyTorch, run with {kind.name}", *comparison.lines(), sep="\n")
    files = [output] if output.is_file() else list(output.iterdir())
    print(f"{output} ({sum(file.stat().st_size for file in files) / 1e6:.0f} MB)")
    print(*export.lines(), sep="\n")
