"""From the masks of every picture of a data set to COCO's mask and box figures.

A file given by --compare builds its own of it by a function of this name:

    evaluation(categories: int) -> an object with
        convert(picture: MadePicture): return it in another form, which is not timed
        add(converted): take the detections of one picture
        figures() -> {"segm": AP, "bbox": AP}
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from yolact.benchmark.synthetic import make_targets
from yolact.evaluation.coco import Engine, compute_figures
from yolact.evaluation.encoding import RecordMaker
from yolact.ops.regions import regions_of
from yolact.structures import Instances, Target

SIDE, DETECTIONS, CLASSES = 480, 100, 80
DISTINCT = 50  # pictures that are made; larger numbers repeat them
OBJECTS = (2, 3, 5, 7, 7, 8, 12, 15)  # of the pictures in turn: 7 on average, as in COCO


class MadePicture(NamedTuple):
    """Ground truth and detections of one picture of 480 x 480 pixels."""

    truth: Target
    found: Instances


def make_pictures(seed: int = 0) -> list[MadePicture]:
    """Make pictures whose detections are the objects, shifted and repeated, and others."""
    pictures = []
    for number in range(DISTINCT):
        truth = make_targets([OBJECTS[number % len(OBJECTS)]], SIDE, CLASSES, seed + 2 * number)[0]
        other = make_targets([DETECTIONS], SIDE, CLASSES, seed + 2 * number + 1)[0]
        generator = torch.Generator().manual_seed(seed + number)
        near = torch.randint(0, 2 * len(truth["labels"]), (DETECTIONS,), generator=generator)
        masks, labels, boxes = other["masks"].bool(), other["labels"], other["boxes"].clone()
        for place, index in enumerate(near.tolist()):
            if index < len(truth["labels"]):
                shift = torch.randint(-9, 10, (2,), generator=generator)
                masks[place] = truth["masks"][index].bool().roll(shift.tolist(), (0, 1))
                boxes[place] = truth["boxes"][index] + shift.flip(0).repeat(2)
                labels[place] = truth["labels"][index]
        scores = torch.rand(DETECTIONS, generator=generator).sort(descending=True).values
        names, ids = [str(i) for i in range(CLASSES)], list(range(1, 1 + CLASSES))
        found = Instances(boxes, scores, labels, regions_of(masks), scores, (SIDE, SIDE), names, ids)
        pictures.append(MadePicture(truth, found))
    return pictures


def measure_evaluation(
    num_pictures: int, engines: list[Engine], builder: Callable[..., Any] | None
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return the seconds that each way takes for `num_pictures` pictures of 100 detections, and its AP."""
    pictures = make_pictures()
    seconds, figures = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        annotations = Path(folder) / "annotations.json"
        annotations.write_text(json.dumps(_annotations(pictures, num_pictures)))
        for engine in engines:
            name = f"evaluation, {engine}"
            start = time.perf_counter()
            figures[name] = _evaluate(pictures, num_pictures, annotations, engine)
            seconds[name] = time.perf_counter() - start
        if builder is not None:
            figures["evaluation, compared"], seconds["evaluation, compared"] = _other(builder, pictures, num_pictures)
    return seconds, figures


def _other(
    builder: Callable[..., Any], pictures: list[MadePicture], num_pictures: int
) -> tuple[dict[str, float], float]:
    """Return the figures of a compared implementation and the seconds that it takes."""
    other, seconds = builder(CLASSES), 0.0
    for number in tqdm(range(num_pictures), desc="compared", leave=False):
        converted = other.convert(pictures[number % DISTINCT])
        start = time.perf_counter()
        other.add(converted)
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    figures = other.figures()
    return figures, seconds + time.perf_counter() - start


def _evaluate(pictures: list[MadePicture], num_pictures: int, annotations: Path, engine: Engine) -> dict[str, float]:
    segm: list[dict[str, Any]] = []
    bbox: list[dict[str, Any]] = []
    with RecordMaker(os.cpu_count() or 1) as maker:
        for number in tqdm(range(num_pictures), desc=engine, leave=False):
            maker.put(pictures[number % DISTINCT].found, 1 + number, segm, bbox)
    found = {}
    for kind, records in (("segm", segm), ("bbox", bbox)):
        found[kind] = compute_figures(annotations, records, kind, engine=engine).summary["AP"] or 0.0  # type: ignore[arg-type]
    return found


def _annotations(pictures: list[MadePicture], num_pictures: int) -> dict[str, Any]:
    """Return the ground truth of all pictures in COCO's format."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    encoded = []
    for truth, found in pictures:
        count = len(truth["labels"])
        own = Instances(
            truth["boxes"], torch.ones(count), truth["labels"], regions_of(truth["masks"]), torch.ones(count),
            (SIDE, SIDE), found.class_names, found.category_ids,
        )  # fmt: skip
        encoded.append(own.to_coco(0))
    for number in range(num_pictures):
        images.append({"id": 1 + number, "file_name": f"{number}.png", "height": SIDE, "width": SIDE})
        for record, mask in zip(encoded[number % DISTINCT], pictures[number % DISTINCT].truth["masks"], strict=True):
            area = int(mask.sum())
            annotations.append(
                {**record, "id": 1 + len(annotations), "image_id": 1 + number, "iscrowd": 0, "area": area}
            )
    categories = [{"id": 1 + i, "name": str(i)} for i in range(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}
