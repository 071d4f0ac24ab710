"""A whole inspection: both sets of a configuration, or one set alone, to plain data that page and terminal show."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from yolact.config import Config
from yolact.data.masks import draw_masks
from yolact.data.transforms import view_matrix
from yolact.ops.masks import shrink
from yolact.text import counted, percent, printable
from yolact.tools.inspect.anchor_fit import fit_anchors, histogram, level_sides
from yolact.tools.inspect.findings import KINDS, RARE, Example, Finding
from yolact.tools.inspect.image_files import inspect_files
from yolact.tools.inspect.reading import InspectedSet, Source

FORMAT = 1  # of check.json
COUNT_EDGES = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200)  # objects of an image; the last bin is open
DRAWN_OBJECTS = 20_000  # masks that are drawn to see whether they vanish, of a random sample
CHUNK = 8  # masks drawn at once: each is a whole network input


class Report(NamedTuple):
    """What was found."""

    sets: list[InspectedSet]
    findings: list[Finding]  # errors first
    content: dict[str, Any]  # of check.json; anchors and masks are those of the first set


def sources_of(config: Config) -> list[Source]:
    """Return the training and the validation set of a configuration."""
    data, skips = config.data, config.data.unreadable == "skip"
    return [
        Source("train", Path(data.train_annotations), Path(data.train_images), data.max_train_images, skips),
        Source("val", Path(data.val_annotations), Path(data.val_images), config.eval.max_images),
    ]


def inspect(sources: Sequence[Source], config: Config) -> Report:
    """Inspect one set, or the training set and with it the validation set.

    Raises:
        DatasetError: an annotation file is missing or is not COCO's at all, or an image folder does not exist.
    """
    sets = [InspectedSet(source) for source in sources]
    contents: dict[bytes, str] = {}
    for inspected in sets:
        contents = inspect_files(inspected, trained_on=contents)
    summaries = {inspected.source.name: summarise(inspected) for inspected in sets}
    for inspected, summary in zip(sets, summaries.values(), strict=True):
        _check_counts(inspected, summary, config, first=inspected is sets[0])
    if len(sets) == 2:
        train, val = (set(zip(one.categories.ids, one.categories.names, strict=True)) for one in sets)
        for category_id, name in sorted(train ^ val):
            where = "training" if (category_id, name) in train else "validation"
            sets[1].findings.add("categories-differ", f"'{printable(name)}' (id {category_id}) only in {where}")
    found = [finding for inspected in sets for finding in inspected.findings.values()]
    findings = sorted(found, key=lambda finding: (finding.level != "error", list(KINDS).index(finding.kind)))
    errors = sum(finding.level == "error" for finding in findings)
    content = {
        "format": FORMAT,
        "config": config.name,
        "errors": errors,  # kinds, counted for each set
        "warnings": len(findings) - errors,
        "findings": [finding.to_json() for finding in findings],
        "sets": summaries,
        "anchors": fit_anchors(sets[0], config),
        "masks": count_vanishing(sets[0], config.model.image_size),
    }
    return Report(sets, findings, content)


def summarise(inspected: InspectedSet) -> dict[str, Any]:
    """Return the counts of one set, as in check.json; objects are without crowd regions."""
    labels = [[item.label for item in items] for items in inspected.without_crowds()]
    counts, (ids, names) = [len(one) for one in labels], (inspected.categories.ids, inspected.categories.names)
    objects, images = (
        np.bincount(np.array([label for one in each for label in one], int), minlength=len(ids)).tolist()
        for each in (labels, map(set, labels))
    )
    sizes = np.array([(image.width, image.height) for image in inspected.images] or [(0, 0)])
    width, height = np.stack((sizes.min(0), np.median(sizes, 0), sizes.max(0)), 1).astype(int).tolist()
    return {
        "annotation_file": printable(str(inspected.source.annotation_file)),
        "image_folder": printable(str(inspected.source.image_folder)),
        "pictures": len(inspected.images),
        "pictures_without_objects": counts.count(0),
        "annotations": inspected.num_annotations,
        "objects": sum(counts),
        "crowd_regions": sum(map(len, inspected.objects)) - sum(counts),
        "left_out": inspected.left_out,
        "classes": len(ids),
        "width": width,  # least, median and most
        "height": height,
        "most_objects": max(counts, default=0),
        "objects_per_picture": histogram(counts, COUNT_EDGES, whole=True),
        "objects_per_class": [
            {"id": category_id, "name": printable(name), "objects": number, "pictures": with_it}
            for category_id, name, number, with_it in zip(ids, names, objects, images, strict=True)
        ],
    }


def count_vanishing(inspected: InspectedSet, size: int) -> dict[str, int]:
    """Draw masks at the input side `size` and shrink them to the prototypes, as in training.

    Returns how many "objects" were looked at, how many "vanished", and the "side" of the prototypes in pixels.
    """
    side = 2 * level_sides(size)[0]  # the protonet enlarges P3 once
    objects, seen, vanished = inspected.without_crowds(), 0, 0
    order = np.random.default_rng(0).permutation(len(objects))
    for index in tqdm(order, f"{inspected.source.name}: masks", unit="image"):
        image, masks = inspected.images[index], [item.segmentation for item in objects[index]]
        matrix = view_matrix((0, 0, image.width, image.height), size)
        for start in range(0, len(masks) if seen < DRAWN_OBJECTS else 0, CHUNK):
            drawn = torch.from_numpy(draw_masks(masks[start : start + CHUNK], matrix, (size, size)))
            vanished += int((~shrink(drawn, (side, side)).flatten(1).any(1)).sum())
            seen += len(drawn)
    return {"objects": seen, "vanished": vanished, "side": side}


def _check_counts(inspected: InspectedSet, summary: dict[str, Any], config: Config, first: bool) -> None:
    """Find classes with few objects, fewer or more classes than configured, and images with too many objects."""
    add, declared, most = inspected.findings.add, summary["classes"], config.eval.max_detections
    for one in summary["objects_per_class"]:
        name = f"'{one['name']}' (id {one['id']})"
        if one["objects"] == 0:
            add("unused-category", name)
        elif one["objects"] < RARE and first:
            add("rare-category", f"{name}: {counted(one['objects'], 'object')}")
    if inspected.source.name == "train" and declared and config.model.num_classes not in (None, declared):
        add("class-count-differs", f"model.num_classes is {config.model.num_classes}, the file declares {declared}")
    if inspected.images and summary["objects"] == 0:
        add("no-objects", f"{summary['pictures']} images, {summary['annotations']} annotations")
    for index, (image, items) in enumerate(zip(inspected.images, inspected.without_crowds(), strict=True)):
        if len(items) > most:
            about = Example(image.file_name, image=index)
            add("too-many-objects", f"{len(items)} objects, eval.max_detections is {most}", about)


def fit_lines(content: dict[str, Any]) -> list[str]:
    """Return how anchors and prototypes fit the objects, and the options of train.py with which they fit better."""
    fit, masks = content["anchors"], content["masks"]
    if fit is None:
        return ["anchors: there are no objects that could meet one"]
    met = f"{percent(fit['now']['recall'])} of {counted(fit['objects'], 'object')} meet one at IoU {fit['iou']:g}"
    lines = [f"anchors: {met}, {percent(fit['only_forced'])} get one by force only"]
    if best := fit["suggestion"]:
        lines.append(f"  {percent(best['recall'])} with --set '{best['override']}'")
    if fit["not_square_is_better"]:
        best, unless = fit["not_square"], "unless you start from published weights, with --set"
        lines.append(f"  {percent(best['recall'])}, {unless} model.anchors.square=false '{best['override']}'")
    if masks["vanished"]:
        lost = f"{masks['vanished']:,} of {masks['objects']:,} have no pixel left"
        lines.append(f"masks: {lost} at the {masks['side']} x {masks['side']} of the prototypes")
    return lines


def verdict(content: dict[str, Any]) -> str:
    """Return one line, such as "2 kinds of errors, 0 kinds of warnings: training refuses this data or stops on it"."""
    errors, warnings = (
        counted(content[f"{one}s"], f"kind of {one}", f"kinds of {one}s") for one in ("error", "warning")
    )
    return f"{errors}, {warnings}: training {'refuses this data or stops on it' if content['errors'] else 'runs'}"
