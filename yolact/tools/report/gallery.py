"""The best and the worst images of an evaluation, ground truth and result."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from yolact.data.annotations import ObjectRecord
from yolact.data.dataset import CocoDataset
from yolact.data.segmentations import Rle, decode_counts
from yolact.draw import display_scale, encode_jpeg, encode_png, side_by_side
from yolact.evaluation.analysis import SHOWN_SCORE, ImageQuality
from yolact.evaluation.coco import IouType
from yolact.formats import Record
from yolact.output import output_folder, write_bytes
from yolact.tools.pages import draw_objects

LARGEST_SIDE = 1000  # pixels of a drawn image
PAGE_SIDE = 1400  # pixels of two side by side on a page
Records = Mapping[IouType, Sequence[Record]]  # by "segm" and "bbox", as in the files detections_*.json


class GalleryImage(NamedTuple):
    """One image of the gallery: its file, what it shows, and the same smaller, for a page."""

    kind: Literal["best", "worst"]
    path: Path
    file_name: str
    quality: ImageQuality
    jpeg: bytes


def write_gallery(
    folder: Path, dataset: CocoDataset, records: Records, qualities: Sequence[ImageQuality], count: int = 6
) -> list[GalleryImage]:
    """Write best_1.png, best_2.png, ... and worst_1.png, ... into `folder`; no image is among both.

    Images of those names from an earlier evaluation, up to `count`, are removed.

    Args:
        records: mask and box records of the same detections, in the same order.
        qualities: the images to choose from.
        count: of the best and of the worst, which are returned in this order.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    qualities = sorted(qualities, key=lambda item: (-item.quality, item.missed + item.wrong, item.index))
    half = min(count, (len(qualities) + 1) // 2)
    chosen: dict[Literal["best", "worst"], list[ImageQuality]] = {
        "best": qualities[:half],
        "worst": qualities[half:][::-1][:half],
    }
    shown = []
    with output_folder(folder):
        for kind, ones in chosen.items():
            for number in range(len(ones) + 1, count + 1):
                (folder / f"{kind}_{number}.png").unlink(missing_ok=True)
            for number, quality in enumerate(ones, start=1):
                path, name = folder / f"{kind}_{number}.png", dataset.images[quality.index].file_name
                sheet = _draw_comparison(dataset, records, quality)
                write_bytes(encode_png(sheet), path)
                shown.append(GalleryImage(kind, path, name, quality, encode_jpeg(sheet, PAGE_SIDE)))
    return shown


def _draw_comparison(dataset: CocoDataset, records: Records, quality: ImageQuality) -> np.ndarray:
    """Draw one image twice, with its ground truth and with its result: uint8 BGR."""
    entry = dataset.images[quality.index]
    height, width = entry.height, entry.width
    image = dataset.open_image(quality.index).overview(LARGEST_SIDE)
    truth = [item for item in dataset.objects(quality.index) if not item.iscrowd]
    truth.sort(key=lambda item: item.area)  # so that no object hides a smaller one
    pairs = zip(records["segm"], records["bbox"], strict=True)
    shown = [pair for pair in pairs if pair[0]["image_id"] == entry.id and pair[0]["score"] >= SHOWN_SCORE]
    found, scores = found_objects(shown, dataset)
    view, scale = (0, 0, width, height), min(display_scale(height, width), LARGEST_SIDE / max(image.shape))
    left = draw_objects(image, truth, dataset.categories, scale, view)
    right = draw_objects(image, found, dataset.categories, scale, view, scores)
    result = f"Result: {quality.found} found, {quality.missed} missed, {quality.wrong} wrong"
    heading = f"{entry.file_name}    quality {quality.quality:.2f} (F1 at mask IoU 0.5, times mean IoU)"
    return side_by_side(left, right, (f"Ground truth: {len(truth)} objects", result), heading)


def found_objects(
    pairs: Iterable[tuple[Record, Record]], dataset: CocoDataset
) -> tuple[list[ObjectRecord], list[float]]:
    """Return objects to draw, and their scores, of mask and box records of the same detections."""
    found, scores = [], []
    for mask, box in pairs:
        (x, y, w, h), (height, width) = box["bbox"], mask["segmentation"]["size"]
        runs = decode_counts(mask["segmentation"]["counts"]).astype(np.uint32)
        label = dataset.categories.label(mask["category_id"])
        found.append(ObjectRecord(label, (x, y, x + w, y + h), False, Rle(height, width, runs), w * h, id=0))
        scores.append(mask["score"])
    return found, scores
