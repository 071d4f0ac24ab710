"""Bring annotations of other tools into COCO's format.

yolact convert my_images --output data/custom --val-share 0.2
yolact convert export.json --images my_images --output data/custom
yolact convert masks my_images --output data/custom --class-name cell --split
yolact convert datumaro mots my_export --output data/custom

The format is recognised; FORMAT names it where several fit.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from yolact.cli.arguments import number
from yolact.errors import UserError

FORMATS = {
    "labelme": "labelme's JSON files",
    "labelstudio": "Label Studio's JSON or JSON-MIN",
    "cvat": 'CVAT\'s XML, "CVAT for images 1.1"',
    "coco": "COCO's JSON, also as Roboflow and LVIS have it",
    "panoptic": "COCO panoptic's JSON and PNGs",
    "via": "VGG Image Annotator's JSON",
    "yolo": "YOLO segmentation: a folder in Ultralytics' layout, or its data.yaml",
    "masks": "files of object numbers, or one mask for each object; PATH holds folders named images and masks",
    "cityscapes": "leftImg8bit and gtFine, as they are downloaded",
    "voc": "Pascal VOC 2012, or SBD",
    "datumaro": "others, by the package datumaro: NAME, such as mots, stands before PATH; an unknown one lists all",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the source, in words, and the options."""
    parser.usage = "%(prog)s [FORMAT] PATH --output OUTPUT [options]"
    parser.epilog = "formats:\n" + "\n".join(f"  {name:12} {text}" for name, text in FORMATS.items())
    # So that options may stand between FORMAT and PATH.
    parser.parse_args = parser.parse_intermixed_args  # type: ignore[method-assign]
    parser.add_argument("words", nargs="+", metavar="[FORMAT] PATH", help="folder or file of annotations")
    parser.add_argument("--output", type=Path, required=True, help="folder for annotations and images, outside PATH")
    share = number("number between 0 and 1", lambda value: 0 < value < 1)
    parser.add_argument("--val-share", type=share, metavar="X", help="share of the images to validate on, such as 0.2")
    parser.add_argument("--seed", type=int, default=0, help="of that split; same seed, same split (default: 0)")
    parser.add_argument(
        "--no-copy", action="store_true", help="leave the images where they are; the annotations then need them there"
    )
    parser.add_argument("--images", "--pictures", type=Path, metavar="DIR", help="folder of the images, if not PATH")
    masks = parser.add_argument_group("of masks")
    masks.add_argument("--masks", type=Path, metavar="DIR", help="folder of the masks, with --images in place of PATH")
    masks.add_argument("--class-name", metavar="NAME", help="what the objects are (default: object)")
    class_map = "pixels hold K * 1000 + number, or K for crowd regions, as in Cityscapes: 24=person 26=car"
    masks.add_argument("--class-map", nargs="+", metavar="K=NAME", help=class_map)
    split = "each area of pixels that touch, at sides or corners, is an object, where a mask has a single number, or a "
    masks.add_argument("--split", action="store_true", help=split + "class of --class-map stands without numbers")


def run(arguments: argparse.Namespace) -> None:
    """Convert, then print counts, warnings and how to train on the result."""
    from yolact.tools.convert import recognise, writing

    name, bridge, source = _source(arguments)
    copy, images = not arguments.no_copy, arguments.images
    # A file that is named with a folder of images may lie anywhere, such as among downloads.
    read_from = [images, arguments.masks] if images and source.is_file() else [source, images, arguments.masks]
    for path in filter(None, read_from):
        writing.check_output(path.parent if path.is_file() else path, arguments.output, copy)
    if name is None:
        name = recognise.recognise(source)
        print(f"read as: {name}")
    options = _mask_options(arguments)
    if options and name != "masks":
        raise UserError(f"--{next(iter(options)).replace('_', '-')} is for masks, not {name}; leave it out.")
    if images and name not in ("masks", *recognise.TAKE_IMAGES):
        raise UserError(f"--images is not for {name}, whose images lie below PATH; leave it out.")
    if name == "datumaro":
        from yolact.tools.convert.bridge import read_datumaro

        conversion = read_datumaro(bridge, source)
    elif name == "masks":
        conversion = recognise.FORMATS[name](source, **options)
    else:
        conversion = recognise.FORMATS[name](source, *filter(None, [images]))
    if arguments.val_share is not None:
        writing.share_out(conversion, arguments.val_share, arguments.seed)
    written = writing.write_conversion(conversion, arguments.output, copy)
    print(*writing.count_lines(written), sep="\n")
    for line in writing.warning_lines(conversion):
        print(line if line.startswith(" ") else f"warning: {line}", file=sys.stderr)
    print(*writing.training_lines(written), sep="\n")


def _source(arguments: argparse.Namespace) -> tuple[str | None, str, Path]:
    """Return the format, or None for the one that is recognised, datumaro's name of it, and the source."""
    words, name, bridge = arguments.words, None, ""
    is_folder = len(words) == 1 and not arguments.masks and Path(words[0]).exists()  # of a format's name
    if words[0] in FORMATS and not is_folder:
        name, words = words[0], words[1:]
    if name == "datumaro" and words:
        bridge, words = words[0], words[1:]
    given = [len(words), bool(arguments.images), bool(arguments.masks)]
    if name == "masks" and given not in ([1, 0, 0], [0, 1, 1]):
        raise UserError("Give either PATH, or both --images and --masks.")
    if name != "masks" and (len(words) != 1 or arguments.masks):
        raise UserError(
            f"Give FORMAT and PATH, PATH alone, or datumaro, NAME and PATH, not '{' '.join(arguments.words)}'; --masks "
            "goes with `masks --images DIR`."
        )
    return name, bridge, Path(words[0]) if words else arguments.images


def _mask_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what was given of the options of masks."""
    given = {key: getattr(arguments, key) for key in ("masks", "class_name", "class_map", "split")}
    given = {key: value for key, value in given.items() if value}
    if "class_map" in given:
        given["class_map"] = _class_map(given["class_map"])
    return given


def _class_map(entries: list[str]) -> dict[int, str]:
    """Return the names of --class-map by number."""
    pairs = [entry.partition("=") for entry in entries]
    names = {int(key): name for key, _, name in pairs if key.isascii() and key.isdigit() and name}
    if len(set(names.values())) < len(entries):
        raise UserError(f"--class-map takes numbers and names, each once, as in 24=person, not '{' '.join(entries)}'.")
    return names
