"""Bring annotations of other tools into COCO's format.

yolact convert labelme my_images --output data/custom --val-share 0.2
yolact convert yolo my_yolo_set --output data/custom
yolact convert masks my_images --output data/custom --val-share 0.2 --class-name cell
yolact convert datumaro cvat my_export --output data/custom
"""

import argparse
import sys
from pathlib import Path

from yolact.cli.arguments import number
from yolact.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a command for each format."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output", type=Path, required=True, help="folder for annotations and images, outside SOURCE")
    share = number("number between 0 and 1", lambda value: 0 < value < 1)
    common.add_argument("--val-share", type=share, metavar="X", help="share of the images to validate on, such as 0.2")
    common.add_argument("--seed", type=int, default=0, help="of that split; same seed, same split (default: 0)")
    common.add_argument(
        "--no-copy", action="store_true", help="leave the images where they are; the annotations then need them there"
    )
    common.set_defaults(images=None, masks=None)
    formats = parser.add_subparsers(dest="format", required=True)
    labelme = formats.add_parser("labelme", parents=[common], help="labelme's JSON files")
    labelme.add_argument("source", type=Path, help="folder that holds JSON files and images")
    yolo = formats.add_parser("yolo", parents=[common], help="YOLO segmentation text")
    yolo.add_argument("source", type=Path, help="folder in Ultralytics' layout, or its data.yaml")
    masks = formats.add_parser("masks", parents=[common], help="files of object numbers, or one mask for each object")
    masks.add_argument("source", type=Path, nargs="?", help="folder that holds folders named images and masks")
    masks.add_argument("--images", "--pictures", type=Path, metavar="DIR", help="folder of the images, not SOURCE")
    masks.add_argument("--masks", type=Path, metavar="DIR", help="folder of the masks, not SOURCE")
    masks.add_argument("--class-name", default="object", help="what the objects are (default: object)")
    class_map = "pixels hold K * 1000 + number, as in Cityscapes: 24=person 26=car"
    masks.add_argument("--class-map", nargs="+", default=[], metavar="K=NAME", help=class_map)
    others = formats.add_parser("datumaro", parents=[common], help="other formats, by the package datumaro")
    others.add_argument("name", metavar="FORMAT", help="such as cvat or coco_panoptic; an unknown one lists all")
    others.add_argument("source", type=Path, help="folder that datumaro reads as FORMAT")


def run(arguments: argparse.Namespace) -> None:
    """Convert, then print counts, warnings and how to train on the result."""
    from yolact.tools.convert import bridge, labelme, mask_files, writing, yolo

    source, copy = arguments.source, not arguments.no_copy
    for path in filter(None, (source, arguments.images, arguments.masks)):
        writing.check_output(path.parent if path.is_file() else path, arguments.output, copy)
    if arguments.format == "labelme":
        conversion = labelme.read_labelme(source)
    elif arguments.format == "yolo":
        conversion = yolo.read_yolo(source)
    elif arguments.format == "datumaro":
        conversion = bridge.read_datumaro(arguments.name, source)
    else:
        if [bool(path) for path in (source, arguments.images, arguments.masks)] not in ([1, 0, 0], [0, 1, 1]):
            raise UserError("Give either SOURCE, or both --images and --masks.")
        class_map = _class_map(arguments.class_map)
        conversion = mask_files.read_masks(source or arguments.images, arguments.masks, arguments.class_name, class_map)
    if arguments.val_share is not None:
        writing.share_out(conversion, arguments.val_share, arguments.seed)
    written = writing.write_conversion(conversion, arguments.output, copy)
    print(*writing.count_lines(written), sep="\n")
    for line in writing.warning_lines(conversion):
        print(line if line.startswith(" ") else f"warning: {line}", file=sys.stderr)
    if not any(item.split == "val" for item in written):
        print("There are no images to validate on; --val-share 0.2 makes a fifth of them so.")
    print("To train on it:", writing.train_command(written), sep="\n")


def _class_map(entries: list[str]) -> dict[int, str]:
    """Return the names of --class-map by number."""
    pairs = [entry.partition("=") for entry in entries]
    names = {int(key): name for key, _, name in pairs if key.isascii() and key.isdigit() and name}
    if len(set(names.values())) < len(entries):
        raise UserError(f"--class-map takes numbers and names, each once, as in 24=person, not '{' '.join(entries)}'.")
    return names
