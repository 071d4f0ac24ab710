"""Show what masks are made of: prototypes, coefficients, signed contributions, and the sum that becomes a mask.

yolact explain street.jpg --weights weights/yolact_base_54_800000.pth --output explained
yolact explain street.jpg --weights runs/custom/first/best.pth --output explained --instance 4 7

What an earlier run drew of an image of this name is replaced.
"""

import argparse
import re
from pathlib import Path

from yolact.cli.arguments import add_model, add_score_threshold, chosen_score_threshold, load_chosen_predictor
from yolact.errors import UserError
from yolact.text import counted

BEST = 3  # objects that are explained where none are named


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `yolact explain`."""
    parser.add_argument("image", type=Path)
    add_model(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--instance", type=int, nargs="+", metavar="N",
        help=f"objects to explain, by their numbers in IMAGE_objects.png; default: the best {BEST}",
    )  # fmt: skip
    add_score_threshold(parser)


def run(arguments: argparse.Namespace) -> None:
    """Explain one image."""
    from yolact.draw import encode_png
    from yolact.output import output_folder, write_bytes
    from yolact.tools.explain import draw_all, explain

    predictor = load_chosen_predictor(arguments)
    threshold = chosen_score_threshold(arguments, predictor)
    parts = explain(predictor, arguments.image, threshold)
    count = f"{counted(len(parts), 'object')} above a score of {threshold:g}"
    chosen = list(dict.fromkeys(arguments.instance or range(min(len(parts), BEST))))
    for number in chosen:
        if not 0 <= number < len(parts):
            raise UserError(
                f"--instance {number} does not exist: {count}, numbered from 0; give another number or a lower "
                "--score-threshold."
            )
    drawing = re.compile(re.escape(arguments.image.stem) + r"_\d+_(coefficients|contributions|sum|mask)\.png")
    with output_folder(arguments.output) as output:
        for old in [file for file in output.iterdir() if drawing.fullmatch(file.name)]:  # objects of an earlier run
            old.unlink()
        for name, drawn in draw_all(parts, chosen):
            write_bytes(encode_png(drawn), output / f"{arguments.image.stem}_{name}.png")
    print(count)
    for number in chosen:
        print(f"  {parts.summary(number)}")
    print(f"Written to {output}: {arguments.image.stem}_*.png")
