"""Evaluate a model: COCO's figures for masks and boxes, speed, result files and a gallery.

python eval.py --weights runs/shapes/quickstart/best.pth
python eval.py --weights weights/yolact_base_54_800000.pth --set data.val_images=... --device cuda
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from yolact.config import Config, load_config
from yolact.data.coco import CocoDataset
from yolact.device import DTYPES, pick_device
from yolact.errors import CheckpointError, exit_on_user_error
from yolact.evaluation.run import Evaluation, evaluate
from yolact.evaluation.speed import PAPER_DEFINITION
from yolact.gallery import write_gallery
from yolact.output import output_folder, write_json
from yolact.predictor import LoadedModel, load_model

EXPLAINED = {
    "AP": "mean over IoU 0.50, 0.55, ... 0.95",
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75",
    "APs": "small objects, below 32 x 32 pixels",
    "APm": "medium objects",
    "APl": "large objects, from 96 x 96 pixels",
    "AR1": "recall with 1 detection of a picture",
    "AR10": "recall with 10 detections",
    "AR100": "recall with {most} detections",
    "ARs": "recall of small objects",
    "ARm": "recall of medium objects",
    "ARl": "recall of large objects",
}
MOST_CLASSES = 100  # beyond which a table of classes helps nobody on a terminal


def main(argv: list[str] | None = None) -> None:
    """Run an evaluation from command line arguments."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = parse_arguments(argv)
    device = pick_device(arguments.device)
    config = load_config(arguments.config) if arguments.config else None
    loaded = load_model(arguments.weights, device, config, arguments.set)
    settings, data = loaded.config.eval, loaded.config.data
    dataset = CocoDataset(data.val_annotations, data.val_images, max_images=settings.max_images)
    check_classes(loaded, dataset, arguments.weights)
    with output_folder(arguments.output or arguments.weights.parent / "eval") as output:
        print(describe(loaded.config, dataset))
        channels_last = loaded.config.train.channels_last
        evaluation = evaluate(loaded.model, dataset, settings, device, arguments.precision, channels_last)
        write_json(evaluation.segm, output / "detections_segm.json")
        write_json(evaluation.bbox, output / "detections_bbox.json")
        write_json(evaluation.metrics, output / "metrics.json", indent=2)
        pictures = write_gallery(output / "gallery", dataset, evaluation)
    print(report(evaluation))
    print(f"\nWritten to {output}: metrics.json, detections_segm.json, detections_bbox.json")
    if pictures:
        print(f"Best and worst pictures, ground truth beside result: {output / 'gallery'}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Evaluate a model on the validation pictures of its configuration.")
    parser.add_argument("--weights", type=Path, required=True, help="a checkpoint, ours or published by the authors")
    parser.add_argument("--config", type=Path, help="default: the configuration in the checkpoint")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="e.g. eval.nms=cross_class"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: cuda where there is some")
    parser.add_argument("--precision", choices=tuple(DTYPES), default="fp32", help="of the network (default: fp32)")
    parser.add_argument("--output", type=Path, help="folder for the results; default: 'eval' beside the weights")
    return parser.parse_args(argv)


def check_classes(loaded: LoadedModel, dataset: CocoDataset, weights: Path) -> None:
    """Require that the checkpoint's classes are the annotation file's, name by name and id by id.

    Raises:
        CheckpointError: they are not; the message says in what they differ.
    """
    names, ids = dataset.categories.names, dataset.categories.ids
    if (loaded.class_names, loaded.category_ids) == (names, ids):
        return
    if not loaded.names_known and loaded.category_ids == ids:
        return
    mine, theirs = dict(zip(loaded.class_names, loaded.category_ids, strict=True)), dict(zip(names, ids, strict=True))
    if mine.keys() == theirs.keys():
        name = next(name for name in mine if mine[name] != theirs[name])
        difference = (
            f"the names are the same but the category ids differ: '{name}' is {mine[name]} in the checkpoint "
            f"and {theirs[name]} in the file"
        )
    else:
        difference = (
            f"the checkpoint has {len(mine)} classes{_only(mine, theirs)}, the file has {len(theirs)}"
            f"{_only(theirs, mine)}"
        )
    raise CheckpointError(
        f"The classes of '{weights}' are not those of '{dataset.annotation_file}': {difference}; evaluate on the data "
        "it was trained for (--set data.val_annotations=... data.val_images=...), or fine-tune it on these classes."
    )


def _only(here: dict[str, int], there: dict[str, int]) -> str:
    """Return in brackets the names that only one side has."""
    extra = [name for name in here if name not in there]
    shown = ", ".join(f"'{name}'" for name in extra[:3]) + (", ..." if len(extra) > 3 else "")
    return f" (only there: {shown})" if extra else ""


def describe(config: Config, dataset: CocoDataset) -> str:
    """Say in one line what is evaluated, and how detections are chosen."""
    settings = config.eval
    return (
        f"{config.name}: {len(dataset)} pictures of {dataset.annotation_file}, {len(dataset.categories)} classes; "
        f"score threshold {settings.score_threshold:g}, {settings.nms} NMS at IoU {settings.nms_threshold:g}, "
        f"at most {settings.max_detections} detections of a picture"
    )


def report(evaluation: Evaluation) -> str:
    """Return the tables for the terminal."""
    metrics = evaluation.metrics
    most = max(100, metrics["max_detections"])
    lines = ["", f"{'':7}{'masks':>7}{'boxes':>8}"]
    for key, explanation in EXPLAINED.items():
        masks, boxes = metrics["segm"][key], metrics["bbox"][key]
        lines.append(f"{key:7}{_figure(masks):>7}{_figure(boxes):>8}   {explanation.format(most=most)}")
    lines += ["", *_class_table(metrics["per_class"]), "", *_speed(metrics)]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _class_table(per_class: dict[str, dict[str, float | None]]) -> list[str]:
    """Return AP per class, the worst first; classes without ground truth are only counted."""
    masks, boxes = per_class["segm"], per_class["bbox"]
    if len(masks) < 2:
        return []
    if len(masks) > MOST_CLASSES:
        return [f"AP of each of the {len(masks)} classes: see metrics.json."]
    known = sorted((value, name) for name, value in masks.items() if value is not None)
    width = max([5, *(len(name) for _, name in known)])
    cells = [f"{name:{width}}{_figure(value):>7}{_figure(boxes[name]):>8}" for value, name in known]
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
        lines.append(f"{metrics['fps']:.1f} FPS on {metrics['device']}, {metrics['dtype']}: {PAPER_DEFINITION}")
        if metrics["batch_size"] != 1:
            lines.append(f"(measured at batch {metrics['batch_size']}; the paper's figures are at batch 1)")
    return lines


if __name__ == "__main__":
    exit_on_user_error(main)
