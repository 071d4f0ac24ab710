"""The best and the worst pictures of an evaluation, ground truth beside result."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from yolact.data.dataset import CocoDataset
from yolact.data.masks import draw_masks
from yolact.draw import (
    display_scale,
    draw_instances,
    encode_jpeg,
    encode_png,
    resize_image,
    resize_mask,
    side_by_side,
)
from yolact.errors import UserError
from yolact.evaluation.coco import Record, decode_mask
from yolact.evaluation.quality import SHOWN_SCORE, PictureQuality, picture_qualities
from yolact.evaluation.run import Evaluation
from yolact.ops.regions import MaskRegion, regions_of
from yolact.output import write_bytes
from yolact.structures import Instances

LARGEST_SIDE = 1000  # pixels of a drawn picture
PAGE_SIDE = 1400  # pixels of two side by side on a page


class GalleryPicture(NamedTuple):
    """One picture of the gallery: its file, what it shows, and the same smaller, for a page."""

    kind: Literal["best", "worst"]
    path: Path
    file_name: str
    quality: PictureQuality
    jpeg: bytes


def write_gallery(folder: Path, dataset: CocoDataset, evaluation: Evaluation, count: int = 6) -> list[GalleryPicture]:
    """Write best_1.png, best_2.png, ... and worst_1.png, ... into `folder`; no picture is among both.

    Args:
        folder: made if absent; pictures of those names from an earlier evaluation are removed.
        count: of the best and of the worst.

    Returns:
        The best, the first one leading, and the worst, likewise.

    Raises:
        UserError: the folder cannot be made.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror
        raise UserError(
            f"The pictures belong into the folder '{folder}', which cannot be made ({reason}); move it away."
        ) from error
    for old in (*folder.glob("best_*.png"), *folder.glob("worst_*.png")):
        with suppress(OSError):
            old.unlink()
    qualities = sorted(
        picture_qualities(dataset, evaluation.segm),
        key=lambda item: (-item.quality, item.missed + item.wrong),
    )
    count = min(count, (len(qualities) + 1) // 2)
    worst = qualities[::-1][: min(count, len(qualities) - count)]
    shown = []
    chosen_by_kind: dict[Literal["best", "worst"], list[PictureQuality]] = {"best": qualities[:count], "worst": worst}
    for kind, chosen in chosen_by_kind.items():
        for place, quality in enumerate(chosen, start=1):
            path = folder / f"{kind}_{place}.png"
            sheet = draw_comparison(dataset, evaluation, quality)
            write_bytes(encode_png(sheet), path)
            name = dataset.images[quality.index].file_name
            shown.append(GalleryPicture(kind, path, name, quality, encode_jpeg(sheet, PAGE_SIDE)))
    return shown


def draw_comparison(dataset: CocoDataset, evaluation: Evaluation, quality: PictureQuality) -> np.ndarray:
    """Draw one picture twice, with its ground truth and with its result: uint8 BGR."""
    picture = dataset.images[quality.index]
    image = dataset.load_image(quality.index)
    scale = min(display_scale(picture.height, picture.width), LARGEST_SIDE / max(image.shape[:2]))
    image = resize_image(image, scale)
    truth = _truth(dataset, quality.index, image.shape[:2], scale)
    pairs = [
        pair
        for pair in zip(evaluation.segm, evaluation.bbox, strict=True)
        if pair[0]["image_id"] == picture.id and pair[0]["score"] >= SHOWN_SCORE
    ]
    found = _found(dataset, pairs, image.shape[:2], scale)
    titles = (
        f"Ground truth: {len(truth)} objects",
        f"Result: {quality.found} found, {quality.missed} missed, {quality.wrong} wrong",
    )
    heading = f"{picture.file_name}    quality {quality.quality:.2f} (F1 at mask IoU 0.5, times mean IoU)"
    return side_by_side(draw_instances(image, truth, scores=False), draw_instances(image, found), titles, heading)


def _truth(dataset: CocoDataset, index: int, size: tuple[int, int], scale: float) -> Instances:
    """Return the objects of a picture that are not crowds, drawn at `size`."""
    objects = [item for item in dataset.objects(index) if not item.iscrowd]
    # Large objects first, so that they are drawn below small ones.
    objects.sort(key=lambda item: item.area)
    masks = draw_masks([item.segmentation for item in objects], np.array([[scale, 0, 0], [0, scale, 0.0]]), size)
    return _instances(
        dataset,
        [item.bbox for item in objects],
        [1.0] * len(objects),
        [item.label for item in objects],
        regions_of(masks),
        size,
        scale,
    )


def _found(
    dataset: CocoDataset, pairs: Sequence[tuple[Record, Record]], size: tuple[int, int], scale: float
) -> Instances:
    """Return the detections of mask and box records, one full-size mask in memory at a time."""
    masks = (resize_mask(decode_mask(record["segmentation"]), size) for record, _ in pairs)
    regions = [MaskRegion.of(mask) for mask in masks]
    boxes = []
    for _, record in pairs:
        x, y, width, height = record["bbox"]
        boxes.append((x, y, x + width, y + height))
    labels = [dataset.categories.label(record["category_id"]) for record, _ in pairs]
    return _instances(dataset, boxes, [record["score"] for record, _ in pairs], labels, regions, size, scale)


def _instances(
    dataset: CocoDataset,
    boxes: Sequence[tuple[float, float, float, float]],
    scores: Sequence[float],
    labels: Sequence[int],
    regions: list[MaskRegion],
    size: tuple[int, int],
    scale: float,
) -> Instances:
    """Return instances of an enlarged or reduced picture from boxes in the pixels of the original one."""
    return Instances(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * scale,
        scores=torch.tensor(scores),
        labels=torch.tensor(labels, dtype=torch.int64),
        regions=regions,
        mask_scores=torch.tensor(scores),
        image_size=size,
        class_names=dataset.categories.names,
        category_ids=dataset.categories.ids,
    )
