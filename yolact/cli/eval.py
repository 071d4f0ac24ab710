"""Evaluate a model on the validation images of its configuration.

yolact eval --weights runs/shapes/quickstart/best.pth
yolact eval --weights weights/yolact_base_54_800000.pth --set data.val_images=... --device cuda
yolact eval --weights best_int8.onnx        # what yolact export wrote, in its runtime

Prints COCO's metrics for masks and boxes, AP by class and speed, and writes report.html, metrics.json, config.yaml, the
detections in COCO's format and a gallery of best and worst images.

`torchrun --nproc-per-node 4 eval.py ...` shares the images between four GPUs; the metrics are the same.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path

from yolact.cli.arguments import add_model, load_chosen_predictor, validation_set


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an evaluation."""
    add_model(parser)
    parser.add_argument("--output", type=Path, help="folder for the results; default: 'eval' beside the weights")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate as one of the ranks that share the images; the main process writes the results."""
    import logging
    import shlex

    from yolact.api import evaluate
    from yolact.config import dump_config
    from yolact.distributed import joined_world, local_device
    from yolact.evaluation.run import DTYPE_NAMES
    from yolact.output import output_folder
    from yolact.runtimes.exported import kind_of
    from yolact.tools.report.evaluation_page import Analysis, terminal_text, write_report
    from yolact.tools.report.runs import others_results
    from yolact.tools.weights import sha256_of

    with joined_world() as world, ExitStack() as stack:
        logging.basicConfig(level=logging.INFO if world.is_main_process else logging.WARNING, format="%(message)s")
        device = None if kind_of(arguments.weights) else local_device(arguments.device)
        predictor = load_chosen_predictor(arguments, device)
        dataset, settings = validation_set(predictor, arguments.weights), predictor.settings
        world.require_equal({"number of images": len(dataset), "configuration": dump_config(predictor.config)})
        with world.raising_on_all():
            if world.is_main_process:
                output = stack.enter_context(output_folder(arguments.output or arguments.weights.parent / "eval"))
                files = sorted(arguments.weights.glob("model.*")) or [arguments.weights]  # of OpenVINO, or one
                identity = {
                    "weights_sha256": sha256_of(*files),
                    "annotations_sha256": sha256_of(dataset.annotation_file),
                    "runtime": predictor.runtime.name,
                    "dtype": DTYPE_NAMES[predictor.runtime.precision],
                }
                if whose := others_results(output, identity, dump_config(predictor.config)):
                    print(f"note: {output} has another evaluation, of {whose}, and is overwritten; --output keeps both")
                print(
                    f"{predictor.config.name}: {len(dataset)} images of {dataset.annotation_file}, "
                    f"{len(dataset.categories)} classes; score threshold {settings.score_threshold:g}, {settings.nms} "
                    f"NMS at IoU {settings.nms_threshold:g}, at most {settings.max_detections} detections of "
                    f"{'a tile' if settings.tiles else 'an image'}"
                )
        evaluation = evaluate(predictor, dataset, world=world)
        if not world.is_main_process:
            return
        analysis = Analysis.of(dataset, evaluation)
        metrics = {**evaluation.metrics, "weights": arguments.weights.name, **identity, "errors": analysis.errors}
        gallery = write_report(
            output, metrics, evaluation.curves, analysis, dataset, predictor.config, arguments.weights,
            shlex.join(arguments.command_line),
        )  # fmt: skip
        print(f"\n{terminal_text(metrics)}")
        print(
            f"\nWritten to {output}: report.html, metrics.json, config.yaml, odd_labels.json, detections_segm.json, "
            "detections_bbox.json"
        )
        if gallery:
            print(f"Best and worst images, ground truth beside result: {output / 'gallery'}")
