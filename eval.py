"""Evaluate a model: COCO's figures for masks and boxes, speed, result files, a gallery and a page.

python eval.py --weights runs/shapes/quickstart/best.pth
python eval.py --weights weights/yolact_base_54_800000.pth --set data.val_images=... --device cuda
torchrun --nproc-per-node 4 eval.py --weights ...      # four GPUs share out the pictures; the figures are the same
"""

import argparse
import hashlib
import logging
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from yolact.command_line import add_device, add_model, add_precision, load_chosen_model, validation_set
from yolact.config import Config, dump_config
from yolact.data.dataset import CocoDataset
from yolact.distributed import Processes, joined_processes, own_device
from yolact.errors import exit_on_user_error
from yolact.evaluation.analysis import analyse
from yolact.evaluation.run import evaluate
from yolact.output import output_folder
from yolact.tools.report.page import terminal_text, write_report


def main(argv: list[str] | None = None) -> None:
    """Run an evaluation from command line arguments."""
    arguments = parse_arguments(argv)
    with joined_processes() as processes:
        logging.basicConfig(level=logging.INFO if processes.first else logging.WARNING, format="%(message)s")
        evaluate_together(arguments, processes, command(argv))


def evaluate_together(arguments: argparse.Namespace, processes: Processes, command_line: str) -> None:
    """Evaluate as one of the processes that share out the pictures; the first one writes the results."""
    device = own_device(arguments.device)
    loaded = load_chosen_model(arguments, device)
    settings = loaded.config.eval
    dataset = validation_set(loaded, arguments.weights)
    processes.require_equal({"number of pictures": len(dataset), "configuration": dump_config(loaded.config)})
    with ExitStack() as stack:
        with processes.together():
            if processes.first:
                output = stack.enter_context(output_folder(arguments.output or arguments.weights.parent / "eval"))
                print(describe(loaded.config, dataset))
        evaluation = evaluate(loaded.model, dataset, settings, device, arguments.precision, processes=processes)
        if not processes.first:
            return
        analysis = analyse(dataset, evaluation)
        errors = {kind: found.as_json() for kind, found in analysis.errors.items()}
        digest = hashlib.sha256(dataset.annotation_file.read_bytes()).hexdigest()
        metrics = {**evaluation.metrics, "annotations_sha256": digest, "errors": errors}
        pictures = write_report(
            output,
            metrics,
            {"segm": evaluation.segm, "bbox": evaluation.bbox},
            evaluation.curves,
            analysis.shown,
            dataset,
            loaded.config,
            arguments.weights,
            command_line,
        )
    print(f"\n{terminal_text(metrics)}")
    print(f"\nWritten to {output}: report.html, metrics.json, config.yaml, detections_segm.json, detections_bbox.json")
    if pictures:
        print(f"Best and worst images, ground truth and result: {output / 'gallery'}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Evaluate a model on the validation pictures of its configuration.")
    add_model(parser)
    add_device(parser)
    add_precision(parser)
    parser.add_argument("--output", type=Path, help="folder for the results; default: 'eval' beside the weights")
    return parser.parse_args(argv)


def command(argv: list[str] | None) -> str:
    """Return the command line as it can be given again."""
    return shlex.join(["python", "eval.py", *(sys.argv[1:] if argv is None else argv)])


def describe(config: Config, dataset: CocoDataset) -> str:
    """Say in one line what is evaluated, and how detections are chosen."""
    settings = config.eval
    return (
        f"{config.name}: {len(dataset)} pictures of {dataset.annotation_file}, {len(dataset.categories)} classes; "
        f"score threshold {settings.score_threshold:g}, {settings.nms} NMS at IoU {settings.nms_threshold:g}, "
        f"at most {settings.max_detections} detections of a picture"
    )


if __name__ == "__main__":
    exit_on_user_error(main)
