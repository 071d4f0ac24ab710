"""Check this implementation with the authors' weights: the metrics on COCO val2017 and the published ones.

python scripts/verify_published.py --coco data/coco --device cuda

Weights that are not in the folder --weights yet are downloaded into it first. The folder --coco holds val2017/ and
annotations/instances_val2017.json.
"""

import argparse
import logging
from pathlib import Path

from yolact.cli.arguments import add_device, add_precision
from yolact.compat.published import MODELS
from yolact.data.categories import COCO_CATEGORY_IDS
from yolact.data.dataset import CocoDataset
from yolact.device import pick_device
from yolact.errors import UserError, exit_on_user_error
from yolact.evaluation.run import evaluate
from yolact.loaded import load_model
from yolact.output import output_folder, write_json
from yolact.runtimes.pytorch import PyTorchRuntime
from yolact.tools.report.sections import Cell, Section, cells, decimals, text_of
from yolact.tools.weights import UNPUBLISHED, fetch_weights

NAMES = [name for name in MODELS if name not in UNPUBLISHED]
# COCO's two sets of images give a model's AP some tenths apart; the authors' own tool counts a little differently.
TOLERANCE = 0.5
COMPARED = ("published", "difference")
HEADS = ("model", "mask AP", *COMPARED, "box AP", *COMPARED, "FPS", "published metrics from")


def compare(name: str, mask_ap: float, box_ap: float, fps: float | None) -> tuple[list[Cell], bool]:
    """Return a row of the table for a model with these APs in percent, and whether they are the published ones.

    Those are on val2017 where that is known, else on test-dev.
    """
    published = MODELS[name]
    on_val = published.val_mask_ap is not None
    pairs = [(mask_ap, published.val_mask_ap if on_val else published.mask_ap), (box_ap, published.val_box_ap)]
    texts = [name]
    for here, there in pairs:
        texts += [decimals(here, 2), decimals(there, 2), "-" if there is None else f"{here - there:+.2f}"]
    source = f"val2017 ({published.val_source})" if on_val else "test-dev (the papers)"
    agrees = all(there is None or abs(here - there) <= TOLERANCE for here, there in pairs)
    return cells(*texts, decimals(fps, 1), source), agrees


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 1 where a metric is further from the published one than `TOLERANCE`."""
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
    rows, differing = [], []
    with output_folder(arguments.output) as output:
        for number, name in enumerate(arguments.models, start=1):
            weights = fetch_weights(name, arguments.weights)
            loaded = load_model(weights, device)
            print(f"[{number}/{len(arguments.models)}] {name} on {len(dataset)} images", flush=True)
            metrics = evaluate(PyTorchRuntime(loaded.model, arguments.precision), dataset, loaded.config.eval).metrics
            mask_ap, box_ap = (100 * (metrics[kind]["AP"] or 0.0) for kind in ("segm", "bbox"))
            row, agrees = compare(name, mask_ap, box_ap, metrics["fps"])
            rows.append(row)
            differing += [] if agrees else [name]
            write_json(metrics, output / f"{name}.json", indent=2)
        title = f"AP in percent on COCO val2017; speed on {metrics['device']}, {metrics['dtype']}"
        section = Section(title, HEADS, rows, words=(0, len(HEADS) - 1))
        print("\n" + text_of([section], len(rows), ""))
    if len(dataset) < 5000:
        print(f"\nOnly {len(dataset)} images were evaluated, not the 5000 of val2017: the differences mean nothing.")
        return 0
    print(f"\nFurther than {TOLERANCE} from the published metrics: {', '.join(differing) or 'none'}.")
    return 1 if differing else 0


if __name__ == "__main__":
    exit_on_user_error(main)
