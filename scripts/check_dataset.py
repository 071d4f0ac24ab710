"""Check a data set before training on it: faults, statistics, and whether the anchors fit the objects.

python scripts/check_dataset.py --config configs/custom.yaml
python scripts/check_dataset.py --annotations instances.json --images pictures --output checked

Writes index.html, to look at, and check.json, for programs. Exit code 1: training would refuse the data or stop on
them; 0: it would not, there may be warnings; 2: there was nothing to check.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from yolact.config import Config, load_config, override_config
from yolact.errors import exit_on_user_error
from yolact.inspection.check import Source, inspect, sources_of
from yolact.inspection.page import render
from yolact.inspection.summary import closing_line, summary_lines
from yolact.output import output_folder, write_bytes, write_json


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns 1 where an error was found, else 0."""
    arguments = parse_arguments(argv)
    if arguments.config:
        config = load_config(arguments.config, arguments.overrides)
    else:
        config = override_config(Config(), arguments.overrides)
    sources, name = sources_of(config), config.name
    if arguments.annotations:
        sources, name = [Source("data", arguments.annotations, arguments.images)], arguments.annotations.stem
    with output_folder(arguments.output or Path("runs/check") / name) as output:
        report = inspect(sources, config)
        page = render(report)
        write_bytes(page.encode(), output / "index.html")
        write_json(report.to_json(), output / "check.json", indent=1)
    print("\n".join(summary_lines(report)))
    print(f"{closing_line(report)}: see {output / 'index.html'}")
    return 1 if report.num_errors else 0


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", metavar="FILE", help="checks its training and validation set, and its anchors")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", dest="overrides",
        help="such as model.image_size=700",
    )  # fmt: skip
    parser.add_argument(
        "--annotations", type=Path, metavar="FILE",
        help="checks this COCO file alone; the anchors are those of --config, else the paper's",
    )  # fmt: skip
    parser.add_argument("--images", type=Path, metavar="DIR", help="the pictures of --annotations")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: runs/check/ and the configuration's name")
    arguments = parser.parse_args(argv)
    if not arguments.config and not arguments.annotations:
        parser.error("--config FILE is needed, or --annotations FILE --images DIR")
    if (arguments.annotations is None) != (arguments.images is None):
        parser.error("--annotations FILE and --images DIR belong together")
    return arguments


if __name__ == "__main__":
    exit_on_user_error(main)
