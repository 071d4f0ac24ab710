"""Compare evaluations or training runs, kinds of NMS, or accuracy against speed.

yolact compare runs runs/nuclei/first runs/nuclei/second --output comparison.html
yolact compare nms --weights runs/shapes/quickstart/best.pth
yolact compare speed runs/*/*/eval/metrics.json "half precision=results/bf16/metrics.json" --output speed.png
"""

import argparse
import logging
from pathlib import Path

from yolact.cli.arguments import add_model, load_chosen_predictor, require_suffix, validation_set

# YOLACT-550 with ResNet-101 on COCO val2017 and one Titan Xp: the paper (arXiv 1904.02689), table 2a.
PAPER = (
    "The paper (table 2a; YOLACT-550, ResNet-101, COCO val2017, one Titan Xp): "
    "fast NMS mask AP 0.299 at 33.5 frames per second, exact NMS 0.300 at 24.0."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the three comparisons."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="runs|nms|speed")
    runs = kinds.add_parser("runs", help="evaluations or training runs side by side; the first is the reference")
    what = "folder of an evaluation or of a training run, or a metrics.json; two or more"
    runs.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=what)
    runs.add_argument("--output", type=Path, help="also write a page, with learning curves; e.g. comparison.html")
    nms = kinds.add_parser("nms", help="Fast, exact and cross-class NMS on the same predictions: accuracy and time")
    add_model(nms, "eval.max_images=500")
    nms.add_argument("--output", type=Path, help="folder for compare_nms.json; default: 'eval' beside the weights")
    speed = kinds.add_parser("speed", help="plot mask AP against frames per second, with the published models")
    what = "files of yolact eval; LABEL=FILE gives a name, else the run's folder does"
    speed.add_argument("metrics", nargs="+", metavar="METRICS.json", help=what)
    speed.add_argument("--output", type=Path, default=Path("speed.png"), help="default: speed.png")


def run(arguments: argparse.Namespace) -> None:
    """Compare what the command line names."""
    {"runs": _runs, "nms": _nms, "speed": _speed}[arguments.kind](arguments)


def _runs(arguments: argparse.Namespace) -> None:
    from yolact.output import output_folder, write_bytes
    from yolact.tools.report.comparison import comparison_page, comparison_text
    from yolact.tools.report.runs import read_runs

    output = arguments.output
    if output is not None:
        require_suffix(output, "page", ".html", ".htm")
    runs = read_runs(arguments.runs)
    print(comparison_text(runs))
    if output is not None:
        with output_folder(output.parent):
            write_bytes(comparison_page(runs).encode(), output)
        print(f"\nWritten to {output}")


def _nms(arguments: argparse.Namespace) -> None:
    import torch

    from yolact.evaluation.run import compare_nms
    from yolact.output import output_folder, write_json
    from yolact.tools.report.comparison import nms_text

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    predictor = load_chosen_predictor(arguments)
    dataset, settings = validation_set(predictor, arguments.weights), predictor.settings
    with output_folder(arguments.output or arguments.weights.parent / "eval") as output:
        found = compare_nms(predictor.runtime, dataset, settings)
        metrics = {kind: evaluation.metrics for kind, evaluation in found.items()}
        own = ("segm", "bbox", "per_class", "milliseconds", "fps")
        content = {
            "config": predictor.config.name,
            "weights": arguments.weights.name,
            **{key: value for key, value in metrics["fast"].items() if key not in (*own, "nms")},
            **{key: getattr(settings, key) for key in ("score_threshold", "nms_threshold", "nms_top_k")},
            "threads": torch.get_num_threads(),
            "nms": {kind: {key: one[key] for key in own} for kind, one in metrics.items()},
        }
        write_json(content, output / "compare_nms.json", indent=2)
    print(f"\n{nms_text(content)}\n\n{PAPER}\n\nWritten to {output / 'compare_nms.json'}")


def _speed(arguments: argparse.Namespace) -> None:
    from io import BytesIO

    from yolact.output import output_folder, write_bytes
    from yolact.tools.report.speed_plot import draw_speed, read_points

    require_suffix(arguments.output, "plot", ".png")
    points, stream = read_points(arguments.metrics), BytesIO()
    draw_speed(points).savefig(stream, format="png")
    with output_folder(arguments.output.parent):
        write_bytes(stream.getvalue(), arguments.output)
    for point in points:
        ap, fps = (f"{value:.1f}" if value is not None else "missing" for value in (point.mask_ap, point.fps))
        left_out = ", not drawn" if "missing" in (ap, fps) else ""
        print(f"{point.label}: mask AP {ap} %, {fps} FPS ({point.group}){left_out}")
    print(f"Written to {arguments.output}")
