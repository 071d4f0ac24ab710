"""Check this implementation with the authors' weights: the figures on COCO val2017 beside the published ones.

python scripts/verify_published.py --coco data/coco --device cuda

Weights that are not in the folder --weights yet are downloaded into it first. The folder --coco holds val2017/ and
annotations/instances_val2017.json.
"""

import argparse
import logging
from pathlib import Path
from typing import Any, NamedTuple

from yolact.command_line import add_device, add_precision
from yolact.compat.hub import fetch_published
from yolact.compat.published import MODELS, PublishedModel
from yolact.config import load_config
from yolact.data.categories import COCO_CATEGORY_IDS
from yolact.data.dataset import CocoDataset
from yolact.device import pick_device
from yolact.errors import UserError, exit_on_user_error
from yolact.evaluation.run import evaluate
from yolact.output import output_folder, write_json
from yolact.predictor import load_model

NAMES = [name for name, model in MODELS.items() if model.repository]
CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# COCO's two sets of pictures give a model's AP some tenths apart; the authors' own tool counts a little differently.
TOLERANCE = 0.5


class Row(NamedTuple):
    """A model's AP here and as published, in percent."""

    name: str
    mask_ap: float
    box_ap: float
    fps: float | None

    @property
    def published(self) -> PublishedModel:
        return MODELS[self.name]

    @property
    def published_mask_ap(self) -> float:
        """On val2017 where that is known, else on test-dev."""
        value = self.published.val_mask_ap
        return self.published.mask_ap if value is None else value

    @property
    def agrees(self) -> bool:
        pairs = [(self.mask_ap, self.published_mask_ap), (self.box_ap, self.published.val_box_ap)]
        return all(abs(here - there) <= TOLERANCE for here, there in pairs if there is not None)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns 1 where a figure is further from the published one than `TOLERANCE`."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = parse_arguments(argv)
    device = pick_device(arguments.device)
    dataset = CocoDataset(
        arguments.coco / "annotations/instances_val2017.json",
        arguments.coco / "val2017",
        max_images=arguments.max_images,
    )
    if dataset.categories.ids != list(COCO_CATEGORY_IDS):
        raise UserError(
            f"'{dataset.annotation_file}' declares {len(dataset.categories)} categories that are not COCO's 80, which "
            "the published models know: give the folder of COCO 2017 with --coco."
        )
    rows = []
    with output_folder(arguments.output) as output:
        for number, name in enumerate(arguments.models, start=1):
            weights = fetch_published(name, arguments.weights)
            loaded = load_model(weights, device, load_config(CONFIGS / f"{name}.yaml"))
            print(f"[{number}/{len(arguments.models)}] {name} on {len(dataset)} pictures", flush=True)
            metrics = evaluate(loaded.model, dataset, loaded.config.eval, device, arguments.precision).metrics
            rows.append(Row(name, _percent(metrics, "segm"), _percent(metrics, "bbox"), metrics["fps"]))
            write_json(metrics, output / f"{name}.json", indent=2)
        print(table(rows, metrics["device"], metrics["dtype"]))
    if len(dataset) < 5000:
        print(f"\nOnly {len(dataset)} pictures were evaluated, not the 5000 of val2017: the differences mean nothing.")
        return 0
    differing = [row.name for row in rows if not row.agrees]
    print(f"\nFurther than {TOLERANCE} from the published figures: {', '.join(differing) or 'none'}.")
    return 1 if differing else 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True, help="the folder of COCO 2017")
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="default: all six")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="their folder (default: weights)")
    add_device(parser)
    add_precision(parser)
    parser.add_argument("--max-images", type=int, help="only the first so many pictures, to try the command")
    parser.add_argument("--output", type=Path, default=Path("runs/verify_published"), help="folder for the figures")
    return parser.parse_args(argv)


def _percent(metrics: dict[str, Any], kind: str) -> float:
    return 100 * (metrics[kind]["AP"] or 0.0)


def table(rows: list[Row], device: str, dtype: str) -> str:
    """Return the figures as a table for the terminal."""
    lines = [
        "",
        f"AP in percent on COCO val2017; speed on {device}, {dtype}",
        f"{'':22}{'mask AP':>8}{'published':>11}{'diff':>7}{'box AP':>9}{'published':>11}{'diff':>7}{'FPS':>8}"
        "   published figures from",
    ]
    for row in rows:
        published = row.published
        source = f"val2017 ({published.val_source})" if published.val_mask_ap is not None else "test-dev (the papers)"
        fps = "-" if row.fps is None else f"{row.fps:.1f}"
        lines.append(
            f"{row.name:22}{row.mask_ap:8.2f}{row.published_mask_ap:11.2f}{row.mask_ap - row.published_mask_ap:+7.2f}"
            f"{row.box_ap:9.2f}{_beside(row.box_ap, published.val_box_ap)}{fps:>8}   {source}"
        )
    return "\n".join(lines)


def _beside(here: float, there: float | None) -> str:
    return f"{'-':>11}{'-':>7}" if there is None else f"{there:11.2f}{here - there:+7.2f}"


if __name__ == "__main__":
    exit_on_user_error(main)
