"""Generate the shapes data set of the quickstart.

python scripts/make_shapes.py --output data/shapes --train 2000 --val 150
"""

import argparse
from collections.abc import Iterable

from tqdm import tqdm

from yolact.data.shapes_files import write_shapes
from yolact.errors import exit_on_user_error


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Generate pictures of five kinds of shapes, with COCO annotations.")
    parser.add_argument("--output", default="data/shapes", help="folder to make (default: %(default)s)")
    parser.add_argument("--train", type=int, default=2000, help="pictures to train on (default: %(default)s)")
    parser.add_argument("--val", type=int, default=150, help="pictures to validate on (default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="longest side in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same pictures (default: %(default)s)")
    arguments = parser.parse_args(argv)

    def track(numbers: range, split: str) -> Iterable[int]:
        return tqdm(numbers, desc=f"shapes, {split}", unit="picture")

    made = write_shapes(arguments.output, arguments.train, arguments.val, arguments.size, arguments.seed, track=track)
    state = "written to" if made else "already in"
    print(f"{arguments.train} pictures to train on and {arguments.val} to validate on are {state} {arguments.output}.")


if __name__ == "__main__":
    exit_on_user_error(main)
