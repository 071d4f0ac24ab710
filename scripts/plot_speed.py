"""Plot mask AP against frames per second: evaluations of this project beside the published figures.

python scripts/plot_speed.py runs/*/*/eval/metrics.json
python scripts/plot_speed.py "half precision=results/bf16/metrics.json" --output speed.png
"""

import argparse
from pathlib import Path

from yolact.errors import UserError, exit_on_user_error
from yolact.output import output_folder
from yolact.report_speed import Measured, labels_of, read_measured, write_speed


def main(argv: list[str] | None = None) -> None:
    """Draw the plot that the command line asks for."""
    arguments = parse_arguments(argv)
    if arguments.output.suffix.lower() != ".png":
        raise UserError(f"The plot is written as PNG: expected a name that ends with .png, got '{arguments.output}'.")
    measured = read_all(arguments.metrics)
    with output_folder(arguments.output.parent):
        write_speed(measured, arguments.output)
    for point in measured:
        print(f"{point.label}: mask AP {point.mask_ap:.1f} %, {point.fps:.1f} FPS ({point.group})")
    print(f"Written to {arguments.output}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Plot mask AP against FPS, with the published figures beside.")
    parser.add_argument(
        "metrics",
        nargs="+",
        metavar="METRICS.json",
        help="files that eval.py wrote; LABEL=FILE gives a name, else the run's folder does",
    )
    parser.add_argument("--output", type=Path, default=Path("speed.png"), help="default: speed.png")
    return parser.parse_args(argv)


def read_all(given: list[str]) -> list[Measured]:
    """Read the files, in the order given, each under its own or the given label."""
    split = [(None, text) if Path(text).exists() else _split(text) for text in given]
    automatic = iter(labels_of([Path(path) for label, path in split if label is None]))
    return [read_measured(Path(path), next(automatic) if label is None else label) for label, path in split]


def _split(text: str) -> tuple[str | None, str]:
    """Split LABEL=FILE; text without a label is a file."""
    label, equals, path = text.partition("=")
    return (label, path) if equals and label and path else (None, text)


if __name__ == "__main__":
    exit_on_user_error(main)
