"""Turn labelme files, YOLO segmentation text or mask pictures into annotations in COCO's format.

python scripts/convert_dataset.py labelme my_pictures --output data/custom --val-share 0.2
python scripts/convert_dataset.py yolo my_yolo_set --output data/custom
python scripts/convert_dataset.py masks my_pictures --output data/custom --val-share 0.2 --class-name cell
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from yolact.command_line import number
from yolact.data.convert.common import Conversion
from yolact.data.convert.labelme import read_labelme
from yolact.data.convert.mask_pairs import MaskClasses, read_masks
from yolact.data.convert.summary import count_lines, setting_lines, warning_lines
from yolact.data.convert.writing import check_output, share_out, write_conversion
from yolact.data.convert.yolo import read_yolo
from yolact.errors import DatasetError, UserError, exit_on_user_error


def main(argv: list[str] | None = None) -> None:
    """Convert as the command line says, then print counts, warnings and how to train on the result."""
    arguments = parse_arguments(argv)
    for folder in folders(arguments):
        check_output(folder, arguments.output, not arguments.no_copy)
    conversion = read(arguments)
    if arguments.val_share is not None:
        conversion = split(conversion, arguments.val_share, arguments.seed)
    written = write_conversion(conversion, arguments.output, not arguments.no_copy, progress("copy"))
    print(*count_lines(written), sep="\n")
    for line in warning_lines(conversion):
        print(line if line.startswith(" ") else f"warning: {line}", file=sys.stderr)
    if not any(item.split == "val" for item in written):
        print("There are no pictures to validate on; --val-share 0.2 makes a fifth of them so.")
    print("To train on it:", *setting_lines(written), sep="\n")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Turn other annotations into COCO's format.")
    formats = parser.add_subparsers(dest="format", required=True)
    between_0_and_1 = number("number between 0 and 1", lambda value: 0 < value < 1)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--output", type=Path, required=True, help="folder for annotations and pictures, outside SOURCE"
    )
    common.add_argument(
        "--val-share", type=between_0_and_1, metavar="X", help="share of the pictures to validate on, such as 0.2"
    )
    common.add_argument("--seed", type=int, default=0, help="of that split; same seed, same split (default: 0)")
    common.add_argument(
        "--no-copy", action="store_true", help="leave the pictures where they are; the annotations then need them there"
    )
    labelme = formats.add_parser("labelme", parents=[common], help="labelme's JSON files")
    labelme.add_argument("source", type=Path, help="folder that holds JSON files and pictures")
    yolo = formats.add_parser("yolo", parents=[common], help="YOLO segmentation text")
    yolo.add_argument("source", type=Path, help="folder in Ultralytics' layout, or its data.yaml")
    masks = formats.add_parser(
        "masks", parents=[common], help="pictures of object numbers, or one mask for each object"
    )
    masks.add_argument("source", type=Path, nargs="?", help="folder that holds folders named images and masks")
    masks.add_argument("--pictures", type=Path, metavar="DIR", help="folder of the pictures, instead of SOURCE")
    masks.add_argument("--masks", type=Path, metavar="DIR", help="folder of the masks, instead of SOURCE")
    masks.add_argument("--class-name", default="object", help="what the objects are (default: object)")
    masks.add_argument(
        "--class-map",
        nargs="+",
        metavar="K=NAME",
        help="pixels hold K * 1000 + number, as in Cityscapes: 24=person 26=car",
    )
    return parser.parse_args(argv)


def folders(arguments: argparse.Namespace) -> list[Path]:
    """Return the folders that will be read."""
    named = [arguments.source]
    if arguments.format == "masks":
        named += [arguments.pictures, arguments.masks]
    return [path.parent if path.is_file() else path for path in named if path is not None]


def read(arguments: argparse.Namespace) -> Conversion:
    """Read the source in the format that was named.

    Raises:
        UserError: the arguments do not fit together, or the source is wrong.
    """
    track = progress("read")
    if arguments.format == "labelme":
        return read_labelme(arguments.source, track)
    if arguments.format == "yolo":
        return read_yolo(arguments.source, track)
    given = [path is not None for path in (arguments.source, arguments.pictures, arguments.masks)]
    if given not in ([True, False, False], [False, True, True]):
        raise UserError("Give either SOURCE, or both --pictures and --masks.")
    classes = MaskClasses(arguments.class_name, _class_map(arguments.class_map))
    return read_masks(arguments.source, classes, track, arguments.pictures, arguments.masks)


def split(conversion: Conversion, share: float, seed: int) -> Conversion:
    """Set pictures aside to validate on.

    Raises:
        DatasetError: the source has such pictures already.
    """
    splits = dict(conversion.splits)
    if "val" in splits:
        raise DatasetError(f"'{conversion.folder}' has its own split into train and val; leave --val-share out.")
    rest = splits.pop("train", None) or splits.pop("", [])
    return replace(conversion, splits={**share_out(rest, share, seed), **splits})


def progress(name: str) -> Any:
    """Return a function that goes through a list and shows how far it is."""

    def track(items: list[Any]) -> Iterable[Any]:
        return tqdm(items, desc=name, unit="picture")

    return track


def _class_map(entries: list[str] | None) -> dict[int, str] | None:
    if entries is None:
        return None
    pairs = [entry.partition("=") for entry in entries]
    names = {int(number): name for number, _, name in pairs if number.isascii() and number.isdigit() and name}
    if len(set(names.values())) < len(entries):
        raise UserError(
            f"--class-map takes numbers and names, each once, such as 24=person, not '{' '.join(entries)}'."
        )
    return names


if __name__ == "__main__":
    exit_on_user_error(main)
