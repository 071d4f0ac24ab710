"""Convert weights of the authors' code (dbolya/yolact) into a checkpoint of this project, or the other way round.

python scripts/convert_weights.py weights/yolact_base_54_800000.pth weights/yolact_base.pth
python scripts/convert_weights.py runs/custom/first/best.pth path/of/their/weights/

Nothing needs to be converted to be used here: every command takes the authors' files as they are.
"""

import argparse
from pathlib import Path

from yolact.config import load_config
from yolact.conversion import convert_checkpoint
from yolact.errors import UserError, exit_on_user_error


def main(argv: list[str] | None = None) -> None:
    """Convert from command line arguments and say what was done."""
    arguments = parse_arguments(argv)
    if arguments.target.endswith("/") and not Path(arguments.target).is_dir():
        raise UserError(f"There is no folder '{arguments.target}'; make it first, or name a file.")
    config = load_config(arguments.config) if arguments.config else None
    converted = convert_checkpoint(arguments.source, arguments.target, arguments.to, config, arguments.set)
    print("\n".join(converted.report))


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="IN", type=Path, help="weights of the authors' code, or a checkpoint of ours")
    parser.add_argument("target", metavar="OUT", help="a file, or a folder in which the file gets its usual name")
    parser.add_argument("--to", choices=("ours", "authors"), help="default: the form that IN does not have")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a YAML file; default: the checkpoint's, or the one recognised"
    )
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="e.g. model.num_classes=4"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    exit_on_user_error(main)
