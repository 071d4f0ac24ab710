"""The best and the worst images of an evaluation, ground truth and result."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from yolact.data.dataset import CocoDataset
from yolact.data.masks import IDENTITY, draw_masks
from yolact.draw import display_scale, draw_instances, encode_jpeg, encode_png, side_by_side
from yolact.evaluation.analysis import SHOWN_SCORE, ImageQuality
from yolact.formats import Record
from yolact.instances import Instances
from yolact.ops.regions import MaskRegion
from yolact.ops.rle import decode_mask
from yolact.output import output_folder, write_bytes

LARGEST_SIDE = 1000  # pixels of a drawn image
PAGE_SIDE = 1400  # pixels of two side by side on a page
Records = Mapping[str, Sequence[Record]]  # by "segm" and "bbox", as in the files detections_*.json
Drawn = tuple[MaskRegion, Sequence[float], float, int]  # mask, box (xyxy), score, label


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

    Images of those names from an earlier evaluation are removed.

    Args:
        records: mask and box records of the same detections, in the same order.
        qualities: the images to choose from.
        count: of the best and of the worst, which are returned in this order.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    qualities = sorted(qualities, key=lambda item: (-item.quality, item.missed + item.wrong, item.index))
    count = min(count, (len(qualities) + 1) // 2)
    chosen: dict[Literal["best", "worst"], list[ImageQuality]] = {
        "best": qualities[:count],
        "worst": qualities[::-1][: min(count, len(qualities) - count)],
    }
    shown = []
    with output_folder(folder):
        for old in (*folder.glob("best_*.png"), *folder.glob("worst_*.png")):
            old.unlink(missing_ok=True)
        for kind, ones in chosen.items():
            for number, quality in enumerate(ones, start=1):
                path, name = folder / f"{kind}_{number}.png", dataset.images[quality.index].file_name
                sheet = draw_comparison(dataset, records, quality)
                write_bytes(encode_png(sheet), path)
                shown.append(GalleryImage(kind, path, name, quality, encode_jpeg(sheet, PAGE_SIDE)))
    return shown


def draw_comparison(dataset: CocoDataset, records: Records, quality: ImageQuality) -> np.ndarray:
    """Draw one image twice, with its ground truth and with its result: uint8 BGR."""
    entry, image = dataset.images[quality.index], dataset.load_image(quality.index)
    size = image.shape[:2]
    truth = [
        (MaskRegion.of(draw_masks([item.segmentation], IDENTITY, size)[0].view(bool)), item.bbox, 1.0, item.label)
        # The first is drawn on top, so that no object hides a smaller one.
        for item in sorted(dataset.objects(quality.index), key=lambda item: item.area)
        if not item.iscrowd
    ]
    found = []
    for mask, box in zip(records["segm"], records["bbox"], strict=True):
        if mask["image_id"] == entry.id and mask["score"] >= SHOWN_SCORE:
            x, y, width, height = box["bbox"]
            label = dataset.categories.label(mask["category_id"])
            region = MaskRegion.of(decode_mask(mask["segmentation"]))
            found.append((region, (x, y, x + width, y + height), mask["score"], label))
    scale = min(display_scale(*size), LARGEST_SIDE / max(size))
    left, right = (
        draw_instances(image, _instances(dataset, objects, size), scores=scores, scale=scale)
        for objects, scores in ((truth, False), (found, True))
    )
    result = f"Result: {quality.found} found, {quality.missed} missed, {quality.wrong} wrong"
    heading = f"{entry.file_name}    quality {quality.quality:.2f} (F1 at mask IoU 0.5, times mean IoU)"
    return side_by_side(left, right, (f"Ground truth: {len(truth)} objects", result), heading)


def _instances(dataset: CocoDataset, objects: Sequence[Drawn], size: tuple[int, int]) -> Instances:
    """Return objects of an image of `size` (H, W)."""
    scores = torch.tensor([score for _, _, score, _ in objects])
    return Instances(
        boxes=torch.tensor([box for _, box, _, _ in objects], dtype=torch.float32).reshape(-1, 4),
        scores=scores,
        labels=torch.tensor([label for _, _, _, label in objects], dtype=torch.int64),
        regions=[region for region, _, _, _ in objects],
        mask_scores=scores,
        image_size=size,
        class_names=dataset.categories.names,
        category_ids=dataset.categories.ids,
    )
