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
from typing import Any

from yolact.command_line import add_device, add_model, add_precision, load_chosen_model, validation_set
from yolact.config import Config, dump_config
from yolact.data.dataset import CocoDataset
from yolact.distributed import Processes, joined_processes, own_device
from yolact.errors import exit_on_user_error
from yolact.evaluation.analysis import Analysis, analyse
from yolact.evaluation.run import Evaluation, evaluate
from yolact.evaluation.speed import PAPER_DEFINITION, conditions
from yolact.gallery import write_gallery
from yolact.output import output_folder, write_bytes, write_json
from yolact.results.page import EvaluationReport, render
from yolact.results.wording import ERRORS_EXPLAINED, EXPLAINED, explained, figure
from yolact.text import printable

MOST_CLASSES = 100  # beyond which a table of classes helps nobody on a terminal


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
        write_json(evaluation.segm, output / "detections_segm.json")
        write_json(evaluation.bbox, output / "detections_bbox.json")
        analysis = analyse(dataset, evaluation)
        errors = {kind: found.as_json() for kind, found in analysis.errors.items()}
        digest = hashlib.sha256(dataset.annotation_file.read_bytes()).hexdigest()
        metrics = {**evaluation.metrics, "annotations_sha256": digest, "errors": errors}
        write_json(metrics, output / "metrics.json", indent=2)
        write_bytes(dump_config(loaded.config).encode(), output / "config.yaml")
        pictures = write_gallery(output / "gallery", dataset, evaluation)
        page = EvaluationReport(
            evaluation, analysis, dataset.categories, pictures, loaded.config, str(arguments.weights), command_line
        )
        write_bytes(render(page).encode(), output / "report.html")
    print(report(evaluation, analysis))
    print(f"\nWritten to {output}: report.html, metrics.json, config.yaml, detections_segm.json, detections_bbox.json")
    if pictures:
        print(f"Best and worst pictures, ground truth beside result: {output / 'gallery'}")


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


def report(evaluation: Evaluation, analysis: Analysis) -> str:
    """Return the tables for the terminal."""
    metrics = evaluation.metrics
    most = metrics["max_detections"]
    lines = ["", f"{'':7}{'masks':>7}{'boxes':>8}"]
    for key in EXPLAINED:
        masks, boxes = metrics["segm"][key], metrics["bbox"][key]
        lines.append(f"{key:7}{figure(masks):>7}{figure(boxes):>8}   {explained(key, most)}")
    lines += ["", *_class_table(metrics["per_class"]), "", *_errors(analysis), "", *_speed(metrics)]
    return "\n".join(lines)


def _errors(analysis: Analysis) -> list[str]:
    """Return what each kind of error costs masks and boxes, the worst first."""
    masks, boxes = analysis.errors["segm"].gains, analysis.errors["bbox"].gains
    kinds = sorted(ERRORS_EXPLAINED, key=lambda kind: -(masks[kind] or 0))
    costs = ", ".join(f"{kind} {figure(masks[kind])} {figure(boxes[kind])}" for kind in kinds)
    return [f"AP50 that errors cost (masks, boxes): {costs}"]


def _class_table(per_class: dict[str, dict[str, float | None]]) -> list[str]:
    """Return AP per class, the worst first; classes without ground truth are only counted."""
    masks, boxes = ({printable(name): value for name, value in per_class[kind].items()} for kind in ("segm", "bbox"))
    if len(masks) < 2:
        return []
    if len(masks) > MOST_CLASSES:
        return [f"AP of each of the {len(masks)} classes: see metrics.json."]
    known = sorted((value, name) for name, value in masks.items() if value is not None)
    width = max([5, *(len(name) for _, name in known)])
    cells = [f"{name:{width}}{figure(value):>7}{figure(boxes[name]):>8}" for value, name in known]
    columns = 2 if len(cells) > 20 else 1
    rows = -(-len(cells) // columns)
    header = f"{'class':{width}}{'masks':>7}{'boxes':>8}"
    lines = ["AP per class, worst first", "     ".join([header] * columns)]
    lines += ["     ".join(cells[row::rows]) for row in range(rows)]
    absent = len(masks) - len(known)
    return [*lines, f"({absent} classes have no objects here)"] if absent else lines


def _speed(metrics: dict[str, Any]) -> list[str]:
    stages = ", ".join(f"{name} {value:.1f}" for name, value in metrics["milliseconds"].items())
    lines = [f"Milliseconds per picture (median, batch {metrics['batch_size']}): {stages}"]
    if metrics["fps"] is not None:
        lines.append(f"{metrics['fps']:.1f} FPS on {conditions(metrics)}: {PAPER_DEFINITION}")
        if metrics["batch_size"] != 1:
            lines.append(f"(measured at batch {metrics['batch_size']}; the paper's figures are at batch 1)")
    if metrics["processes"] > 1:
        lines.append(f"(the first of {metrics['processes']} processes, on its share of the pictures)")
    return lines


if __name__ == "__main__":
    exit_on_user_error(main)
