"""Compare evaluations or training runs: figures, errors, classes, speed and configuration side by side.

python scripts/compare_runs.py runs/nuclei/first runs/nuclei/second
python scripts/compare_runs.py runs/*/*/eval --output comparison.html
"""

import argparse
from pathlib import Path

from yolact.errors import UserError, exit_on_user_error
from yolact.output import output_folder, write_bytes
from yolact.results.comparison_page import comparison_page
from yolact.results.comparison_text import comparison_text
from yolact.results.reading import read_runs


def main(argv: list[str] | None = None) -> None:
    """Compare what the command line names."""
    arguments = parse_arguments(argv)
    output = arguments.output
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"The page is written as HTML: expected a name that ends with .html, got '{output}'.")
    runs = read_runs(arguments.runs)
    print(comparison_text(runs))
    if output is not None:
        with output_folder(output.parent):
            write_bytes(comparison_page(runs).encode(), output)
        print(f"\nWritten to {output}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Compare evaluations or training runs; the first is the reference.")
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of an evaluation or of a training run, or a metrics.json; two or more",
    )
    parser.add_argument("--output", type=Path, help="also write a page, with learning curves; e.g. comparison.html")
    return parser.parse_args(argv)


if __name__ == "__main__":
    exit_on_user_error(main)
