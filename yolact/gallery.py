"""The best and the worst pictures of an evaluation, ground truth beside result."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from yolact.data.coco import CocoDataset
from yolact.data.masks import draw_masks
from yolact.evaluation.coco import Record, decode_mask
from yolact.evaluation.quality import SHOWN_SCORE, PictureQuality, picture_qualities
from yolact.evaluation.run import Evaluation
from yolact.output import write_bytes
from yolact.structures import Instances
from yolact.visualize import (
    display_scale,
    draw_instances,
    encode_png,
    resize_mask,
    resize_picture,
    side_by_side,
)

LARGEST_SIDE = 1000  # pixels of a drawn picture


def write_gallery(folder: Path, dataset: CocoDataset, evaluation: Evaluation, count: int = 6) -> list[Path]:
    """Write best_1.png, best_2.png, ... and worst_1.png, ... into `folder`; no picture is among both.

    Args:
        folder: made if absent; pictures of those names from an earlier evaluation are removed.
        count: of the best and of the worst.

    Returns:
        The files, best first.
    """
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("best_*.png"), *folder.glob("worst_*.png")):
        with suppress(OSError):
            old.unlink()
    qualities = sorted(
        picture_qualities(dataset, evaluation.segm),
        key=lambda item: (-item.quality, item.missed + item.wrong),
    )
    count = min(count, (len(qualities) + 1) // 2)
    worst = qualities[::-1][: min(count, len(qualities) - count)]
    paths = []
    for kind, chosen in (("best", qualities[:count]), ("worst", worst)):
        for place, quality in enumerate(chosen, start=1):
            path = folder / f"{kind}_{place}.png"
            sheet = draw_comparison(dataset, evaluation, quality)
            write_bytes(encode_png(sheet), path)
            paths.append(path)
    return paths


def draw_comparison(dataset: CocoDataset, evaluation: Evaluation, quality: PictureQuality) -> np.ndarray:
    """Draw one picture twice, with its ground truth and with its result: uint8 BGR."""
    picture = dataset.images[quality.index]
    image = dataset.load_picture(quality.index)
    scale = min(display_scale(picture.height, picture.width), LARGEST_SIDE / max(image.shape[:2]))
    image = resize_picture(image, scale)
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
        masks.astype(bool),
        scale,
    )


def _found(
    dataset: CocoDataset, pairs: Sequence[tuple[Record, Record]], size: tuple[int, int], scale: float
) -> Instances:
    """Return the detections of mask and box records, one full-size mask in memory at a time."""
    masks = np.zeros((len(pairs), *size), bool)
    for target, (record, _) in zip(masks, pairs, strict=True):
        target[:] = resize_mask(decode_mask(record["segmentation"]), size)
    boxes = []
    for _, record in pairs:
        x, y, width, height = record["bbox"]
        boxes.append((x, y, x + width, y + height))
    labels = [dataset.categories.label(record["category_id"]) for record, _ in pairs]
    return _instances(dataset, boxes, [record["score"] for record, _ in pairs], labels, masks, scale)


def _instances(
    dataset: CocoDataset,
    boxes: Sequence[tuple[float, float, float, float]],
    scores: Sequence[float],
    labels: Sequence[int],
    masks: np.ndarray,
    scale: float,
) -> Instances:
    """Return instances of an enlarged or reduced picture from boxes in the pixels of the original one."""
    return Instances(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * scale,
        scores=torch.tensor(scores),
        labels=torch.tensor(labels, dtype=torch.int64),
        masks=torch.from_numpy(masks),
        mask_scores=torch.tensor(scores),
        image_size=(masks.shape[1], masks.shape[2]),
        class_names=dataset.categories.names,
        category_ids=dataset.categories.ids,
    )
