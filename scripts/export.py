"""Export a model to ONNX or torch.export, and see that the file finds what PyTorch finds.

python scripts/export.py --weights weights/yolact_resnet50_54_800000.pth --format onnx
python scripts/export.py --weights runs/custom/first/best.pth --format onnx-raw --output raw.onnx --pictures holiday/

Formats: onnx      detections with masks, Fast NMS inside
         onnx-raw  the outputs of the network, for programs with a post-processing of their own
         torch, torch-raw  the same for PyTorch without this project: torch.export.load(FILE).module()

The file is run on pictures and compared with PyTorch before it gets its name. scripts/onnx_example.py uses one.
"""

import argparse
import os
from pathlib import Path

from yolact.command_line import add_model, load_chosen_model
from yolact.errors import UserError, exit_on_user_error
from yolact.export import FORMATS, Exported, Format, export_model
from yolact.export.checking import BOX_TOLERANCE, MASK_IOU, SCORE_TOLERANCE
from yolact.export.files import port_line, ran_with, require_packages
from yolact.export.pictures import generated_pictures, read_pictures


def main(argv: list[str] | None = None) -> None:
    """Export from command line arguments and say what was written and compared."""
    arguments = parse_arguments(argv)
    form = FORMATS[arguments.format]
    require_packages(form.container)
    output = output_file(arguments.output, arguments.weights, arguments.format, form)
    loaded = load_chosen_model(arguments, "cpu")
    if arguments.pictures:
        pictures, kind = read_pictures(arguments.pictures), "given"
    else:
        pictures, kind = generated_pictures(loaded.model.image_size), "generated"
    print(
        f"exporting {loaded.config.name}, then comparing on {len(pictures)} {kind} pictures; this takes a minute or so"
    )
    exported = export_model(loaded, output, form, pictures)
    print("\n".join(report(exported, output, form)))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser, "eval.nms=cross_class eval.max_detections=50")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: beside the weights, with their name")
    parser.add_argument(
        "--pictures", type=Path, nargs="+", metavar="PATH",
        help="files or folders (the first ten of each) to compare on; default: generated ones",
    )  # fmt: skip
    return parser.parse_args(argv)


def output_file(output: Path | None, weights: Path, name: str, form: Format) -> Path:
    """Return the file to write.

    Raises:
        UserError: its folder does not exist, or its name ends otherwise.
    """
    if output is None:
        ending = f"_raw{form.suffix}" if form.contents == "raw" else form.suffix
        return weights.with_name(weights.stem + ending)
    if output.suffix != form.suffix or output.is_dir():
        raise UserError(
            f"--format {name} writes a file that ends in {form.suffix}, got --output '{output}'; rename it."
        )
    if not os.access(output.parent, os.W_OK):
        raise UserError(f"The folder '{output.parent}' of --output does not exist or is read-only; give another one.")
    return output


def report(exported: Exported, output: Path, form: Format) -> list[str]:
    """Describe the file and the comparison."""
    export, comparison = exported
    plus = any(port.name == "mask_scores" for port in export.outputs)
    return [
        f"the same as PyTorch, run with {ran_with(form.container)}",
        *comparison.lines(plus),
        f"  (allowed: {SCORE_TOLERANCE:g} in scores, {BOX_TOLERANCE:g} pixels, mask IoU {MASK_IOU:g})",
        f"{output} ({output.stat().st_size / 1e6:.0f} MB)",
        *(f"  in   {port_line(port)}" for port in export.inputs),
        *(f"  out  {port_line(port)}" for port in export.outputs),
    ]


if __name__ == "__main__":
    exit_on_user_error(main)
