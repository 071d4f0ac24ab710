"""Check this implementation with the authors' weights: the metrics on COCO val2017 and the published ones.

python scripts/verify_published.py --coco data/coco --device cuda

Weights that are not in the folder --weights yet are downloaded into it first. The folder --coco holds val2017/ and
annotations/instances_val2017.json.
"""

import argparse
import logging
from pathlib import Path
from typing import NamedTuple

from yolact.cli.arguments import add_device, add_precision
from yolact.compat.published import MODELS
from yolact.data.categories import COCO_CATEGORY_IDS
from yolact.data.dataset import CocoDataset
from yolact.device import pick_device
from yolact.errors import UserError, exit_on_user_error
from yolact.evaluation.run import evaluate
from yolact.output import output_folder, write_json
from yolact.predictor import load_model
from yolact.tools.weights import UNPUBLISHED, fetch_weights

NAMES = [name for name in MODELS if name not in UNPUBLISHED]
# COCO's two sets of images give a model's AP some tenths apart; the authors' own tool counts a little differently.
TOLERANCE = 0.5


class Row(NamedTuple):
    """A model's AP here, in percent, and its speed."""

    name: str
    mask_ap: float
    box_ap: float
    fps: float | None

    def compared(self) -> list[tuple[float, float | None]]:
        """Return AP of masks and boxes, here and as published: on val2017 where that is known, else on test-dev."""
        published = MODELS[self.name]
        mask_ap = published.mask_ap if published.val_mask_ap is None else published.val_mask_ap
        return [(self.mask_ap, mask_ap), (self.box_ap, published.val_box_ap)]

    def agrees(self) -> bool:
        return all(there is None or abs(here - there) <= TOLERANCE for here, there in self.compared())


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns 1 where a metric is further from the published one than `TOLERANCE`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True, help="the folder of COCO 2017")
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="default: all six")
    parser.add_argument("--weights", type=Path, default=Path("weights"), help="their folder (default: weights)")
    add_device(parser)
    add_precision(parser)
    parser.add_argument("--max-images", type=int, help="only the first so many images, to try the command")
    parser.add_argument("--output", type=Path, default=Path("runs/verify_published"), help="folder for the metrics")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = pick_device(arguments.device)
    annotations = arguments.coco / "annotations/instances_val2017.json"
    dataset = CocoDataset(annotations, arguments.coco / "val2017", max_images=arguments.max_images)
    if dataset.categories.ids != list(COCO_CATEGORY_IDS):
        raise UserError(
            f"'{annotations}' declares {len(dataset.categories)} categories that are not COCO's 80, which the "
            "published models know: give the folder of COCO 2017 with --coco."
        )
    rows = []
    with output_folder(arguments.output) as output:
        for number, name in enumerate(arguments.models, start=1):
            weights = fetch_weights(name, arguments.weights)
            loaded = load_model(weights, device)
            print(f"[{number}/{len(arguments.models)}] {name} on {len(dataset)} images", flush=True)
            metrics = evaluate(loaded.model, dataset, loaded.config.eval, arguments.precision).metrics
            mask_ap, box_ap = (100 * (metrics[kind]["AP"] or 0.0) for kind in ("segm", "bbox"))
            rows.append(Row(name, mask_ap, box_ap, metrics["fps"]))
            write_json(metrics, output / f"{name}.json", indent=2)
        print(table(rows, metrics["device"], metrics["dtype"]))
    if len(dataset) < 5000:
        print(f"\nOnly {len(dataset)} images were evaluated, not the 5000 of val2017: the differences mean nothing.")
        return 0
    differing = [row.name for row in rows if not row.agrees()]
    print(f"\nFurther than {TOLERANCE} from the published metrics: {', '.join(differing) or 'none'}.")
    return 1 if differing else 0


def table(rows: list[Row], device: str, dtype: str) -> str:
    """Return the metrics as a table for the terminal."""
    columns = f"{'mask AP':>9}{'published':>11}{'diff':>7}{'box AP':>9}{'published':>11}{'diff':>7}{'FPS':>8}"
    title = f"AP in percent on COCO val2017; speed on {device}, {dtype}"
    lines = ["", title, f"{'':21}{columns}   published metrics from"]
    for row in rows:
        metrics = ""
        for here, there in row.compared():
            metrics += f"{here:9.2f}" + (
                f"{'-':>11}{'-':>7}" if there is None else f"{there:11.2f}{here - there:+7.2f}"
            )
        published = MODELS[row.name]
        source = "test-dev (the papers)" if published.val_mask_ap is None else f"val2017 ({published.val_source})"
        lines.append(f"{row.name:21}{metrics}{'-' if row.fps is None else f'{row.fps:.1f}':>8}   {source}")
    return "\n".join(lines)


if __name__ == "__main__":
    exit_on_user_error(main)
