"""Show what masks are made of: prototypes, coefficients, signed contributions, and the sum that becomes a mask.

python scripts/explain.py street.jpg --weights weights/yolact_base_54_800000.pth --output explained
python scripts/explain.py street.jpg --weights runs/custom/first/best.pth --output explained --instance 4 7
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from yolact.command_line import add_device, add_model, load_chosen_model, share
from yolact.device import pick_device
from yolact.draw import display_scale, encode_png
from yolact.errors import UserError, exit_on_user_error
from yolact.explain import Explanation, explain
from yolact.explain_figures import (
    draw_coefficients,
    draw_contributions,
    draw_numbers,
    draw_prototypes,
    draw_sum,
)
from yolact.output import output_folder, write_bytes
from yolact.predictor import Predictor
from yolact.text import counted

BEST = 3  # objects that are explained where none are named


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    arguments = parse_arguments(argv)
    device = pick_device(arguments.device)
    predictor = Predictor(load_chosen_model(arguments, device))
    parts = explain(predictor, arguments.picture, arguments.score_threshold)
    chosen = choose(arguments.instance, len(parts), arguments.score_threshold)
    with output_folder(arguments.output) as output:
        for name, drawn in figures(parts, chosen):
            write_bytes(encode_png(drawn), output / f"{arguments.picture.stem}_{name}.png")
    print("\n".join(summary(parts, chosen, arguments.score_threshold)))
    print(f"Written to {output}: {arguments.picture.stem}_*.png")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Show what the masks of a picture are made of.")
    parser.add_argument("picture", type=Path)
    add_model(parser)
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--instance", type=int, nargs="+", metavar="N",
        help=f"objects to explain, by their numbers in PICTURE_objects.png; default: the best {BEST}",
    )  # fmt: skip
    parser.add_argument("--score-threshold", type=share, default=0.3, metavar="X", help="in [0, 1], default 0.3")
    add_device(parser)
    return parser.parse_args(argv)


def choose(wanted: list[int] | None, count: int, score_threshold: float) -> list[int]:
    """Return the numbers of the objects to explain, each once.

    Raises:
        UserError: there is no such object.
    """
    if wanted is None:
        return list(range(min(count, BEST)))
    absent = [number for number in wanted if not 0 <= number < count]
    if absent:
        known = f"numbered 0 to {count - 1}" if count else "so there is none to choose"
        raise UserError(
            f"--instance {absent[0]} does not exist: {counted(count, 'object')} above a score of {score_threshold:g}, "
            f"{known}; give another number or a lower --score-threshold."
        )
    return list(dict.fromkeys(wanted))


def figures(parts: Explanation, chosen: list[int]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each figure with its name."""
    yield "prototypes", draw_prototypes(parts)
    yield "objects", draw_numbers(parts)
    for number in chosen:
        yield f"{number}_coefficients", draw_coefficients(parts, number)
        yield f"{number}_contributions", draw_contributions(parts, number)
        yield f"{number}_sum", draw_sum(parts, number)
        scale = display_scale(*parts.instances.image_size)
        yield f"{number}_mask", parts.instances[number].plot(scale=scale)


def summary(parts: Explanation, chosen: list[int], score_threshold: float) -> list[str]:
    """Say how many objects there are, and what the chosen ones are made of."""
    found = parts.instances
    lines = [f"{counted(len(parts), 'object')} above a score of {score_threshold:g}"]
    for number in chosen:
        name, order, shares = found.class_names[int(found.labels[number])], parts.order(number), parts.shares(number)
        most = ", ".join(f"{n} ({float(shares[n]):.0%})" for n in order[:3])
        lines.append(
            f"  {number}: {name} {float(found.mask_scores[number]):.2f}, settled by {parts.num_needed(number)} of "
            f"{len(order)} contributions; most from prototypes {most}"
        )
    return lines


if __name__ == "__main__":
    exit_on_user_error(main)
