"""Compare Fast NMS with exact NMS (and with Fast NMS over all classes): accuracy and time, side by side.

python scripts/compare_nms.py --weights runs/shapes/quickstart/best.pth
python scripts/compare_nms.py --weights weights/yolact_base_54_800000.pth --device cuda

The network runs once per picture, and each kind of NMS works on the same predictions, taking turns at being first.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from yolact.command_line import add_device, add_model, add_precision, load_chosen_model, validation_set
from yolact.config import Config
from yolact.device import pick_device
from yolact.errors import exit_on_user_error
from yolact.evaluation.run import Evaluation, NmsKind, compare_nms
from yolact.output import output_folder, write_json

# YOLACT-550 with ResNet-101 on COCO val2017 and one Titan Xp: the paper (arXiv 1904.02689), table 2a.
PAPER: dict[NmsKind, dict[str, float]] = {
    "fast": {"mask AP": 0.299, "FPS": 33.5},
    "exact": {"mask AP": 0.300, "FPS": 24.0},
}
COLUMNS = {"mask AP": ".3f", "box AP": ".3f", "detect ms": ".2f", "FPS": ".1f"}
Row = Mapping[str, float | None]


def main(argv: list[str] | None = None) -> None:
    """Run a comparison from command line arguments."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = parse_arguments(argv)
    device = pick_device(arguments.device)
    loaded = load_chosen_model(arguments, device)
    settings = loaded.config.eval
    dataset = validation_set(loaded, arguments.weights)
    with output_folder(arguments.output or arguments.weights.parent / "eval") as output:
        found = compare_nms(loaded.model, dataset, settings, device, arguments.precision)
        content = summary(found, loaded.config, arguments.weights)
        write_json(content, output / "compare_nms.json", indent=2)
    print(report(content))
    print(f"\nWritten to {output / 'compare_nms.json'}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Compare Fast NMS with exact NMS on the validation pictures.")
    add_model(parser, "eval.max_images=500")
    add_device(parser)
    add_precision(parser)
    parser.add_argument("--output", type=Path, help="folder for compare_nms.json; default: 'eval' beside the weights")
    return parser.parse_args(argv)


def summary(found: Mapping[NmsKind, Evaluation], config: Config, weights: Path) -> dict[str, Any]:
    """Return what compare_nms.json holds: the circumstances once, and figures and times under "nms" by kind."""
    metrics = {kind: evaluation.metrics for kind, evaluation in found.items()}
    own = ("segm", "bbox", "per_class", "milliseconds", "fps")
    circumstances = {key: value for key, value in metrics["fast"].items() if key not in (*own, "nms")}
    return {
        "config": config.name,
        "weights": weights.name,
        **circumstances,
        "score_threshold": config.eval.score_threshold,
        "nms_threshold": config.eval.nms_threshold,
        "nms_top_k": config.eval.nms_top_k,
        "threads": torch.get_num_threads(),
        "nms": {kind: {key: values[key] for key in own} for kind, values in metrics.items()},
    }


def report(content: Mapping[str, Any]) -> str:
    """Return the tables for the terminal: what was found here, and what the paper says."""
    found = {
        kind: {
            "mask AP": result["segm"]["AP"],
            "box AP": result["bbox"]["AP"],
            "detect ms": result["milliseconds"]["detect"],
            "FPS": result["fps"],
        }
        for kind, result in content["nms"].items()
    }
    lines = [
        "",
        f"{content['config']}: {content['images']} pictures of {content['annotations']}; score threshold "
        f"{content['score_threshold']:g}, NMS at IoU {content['nms_threshold']:g}, at most "
        f"{content['max_detections']} detections of a picture",
        f"{content['device']}, {content['dtype']}, batch {content['batch_size']}",
        "",
        *_table(found),
        "",
        "In brackets: difference to 'fast'. detect: class probabilities, boxes and NMS; median milliseconds.",
        "FPS: of network, detect and masks. fast and exact look at one class at a time, cross_class at all at once.",
        "",
        "The paper (table 2a): YOLACT-550, ResNet-101, COCO val2017, one Titan Xp",
        *_table(PAPER),
    ]
    return "\n".join(lines)


def _table(rows: Mapping[NmsKind, Row]) -> list[str]:
    """Return a header and one line for each kind, with the difference to "fast" behind each figure."""
    columns = [name for name in COLUMNS if name in rows["fast"]]
    lines = ["".join([f"{'NMS':12}", *(f"{name:>9}{'':9}" for name in columns)]).rstrip()]
    for kind, row in rows.items():
        cells = [_cell(row[name], rows["fast"][name] if kind != "fast" else None, COLUMNS[name]) for name in columns]
        lines.append("".join([f"{kind:12}", *cells]).rstrip())
    return lines


def _cell(value: float | None, reference: float | None, form: str) -> str:
    shown = "-" if value is None else format(value, form)
    difference = "" if value is None or reference is None else f"({value - reference:+{form}})"
    return f"{shown:>9} {difference:8}"


if __name__ == "__main__":
    exit_on_user_error(main)
