"""Generate the shapes data set of the quickstart.

python scripts/make_shapes.py --output data/shapes --train 2000 --val 150
"""

import argparse

from yolact.errors import exit_on_user_error
from yolact.tools.shapes import write_shapes


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Generate images of five kinds of shapes, with COCO annotations.")
    parser.add_argument("--output", default="data/shapes", help="folder to make (default: %(default)s)")
    parser.add_argument("--train", type=int, default=2000, help="images to train on (default: %(default)s)")
    parser.add_argument("--val", type=int, default=150, help="images to validate on (default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="longest side in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same images (default: %(default)s)")
    arguments = parser.parse_args(argv)
    made = write_shapes(arguments.output, arguments.train, arguments.val, arguments.size, arguments.seed)
    state = "written to" if made else "already in"
    print(f"{arguments.train} images to train on and {arguments.val} to validate on are {state} {arguments.output}.")


if __name__ == "__main__":
    exit_on_user_error(main)
