"""A whole inspection, of both sets of a configuration or of one alone, and what a run says of its data at the start."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from yolact.config import Config, ModelConfig
from yolact.data.dataset import MOST_CROWDS, CocoDataset
from yolact.data.samples import Colours
from yolact.data.segmentations import draw_masks
from yolact.data.tiling import shown_parts
from yolact.data.transforms import view_matrix
from yolact.ops.masks import shrink
from yolact.structures import Resize, Tiles
from yolact.text import counted, percent, printable, size_text
from yolact.tools.inspect.anchor_fit import fit_anchors, histogram, input_boxes, level_sizes, measure
from yolact.tools.inspect.findings import KINDS, RARE, Finding
from yolact.tools.inspect.input_fit import InputFit, add_findings, fit_input, input_line, shown_set
from yolact.tools.inspect.reading import InspectedSet, Source, inspect_files

FORMAT = 1  # of check.json
COUNT_EDGES = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200)  # objects of an image; the last bin is open
DRAWN_OBJECTS = 20_000  # masks that are drawn to see whether they vanish, of a random sample
SAMPLED_OBJECTS = 5_000  # for the share that meets an anchor at the start of a run: half a point
FEW = 0.8  # of the objects; a run of which fewer meet an anchor is told where to find better sizes
NO_OBJECTS = "anchors: there are no objects that could meet one"
CHUNK = 8  # masks drawn at once: each is a whole network input


class Report(NamedTuple):
    """What was found."""

    sets: list[InspectedSet]
    findings: list[Finding]  # errors first
    content: dict[str, Any]  # of check.json; anchors and masks are those of the first set


def sources_of(config: Config) -> list[Source]:
    """Return the training and the validation set of a configuration."""
    data, colours = config.data, Colours.of(config)
    train, val = Path(data.train_annotations), Path(data.val_annotations)
    skips, in_tiles = data.unreadable == "skip", (config.eval.tiles or data.tiles) is not None
    return [
        Source("train", train, Path(data.train_images), data.max_train_images, skips, data.tiles is not None, colours),
        Source("val", val, Path(data.val_images), config.eval.max_images, in_tiles=in_tiles, colours=colours),
    ]


def training_tiles(config: Config) -> Tiles | None:
    """Return the tiles that a training sees."""
    return Tiles.of(replace(config.eval, tiles=config.data.tiles))


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
        _check_counts(inspected, summary, config, is_trained_on=inspected is sets[0])
    tiles = training_tiles(config)
    shown = shown_set(sets[0], tiles)
    fit = fit_input(shown, config.model, tiles)
    add_findings(sets[0], fit)
    if len(sets) == 2:
        train, val = (set(zip(one.categories.ids, one.categories.names, strict=True)) for one in sets)
        for category_id, name in sorted(train ^ val):
            where = "training" if (category_id, name) in train else "validation"
            sets[1].add("categories-differ", f"'{printable(name)}' (id {category_id}) only in {where}")
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
        "input": fit and fit._asdict(),
        "anchors": fit_anchors(shown, config),
        "masks": count_vanishing(shown, config.model),
    }
    return Report(sets, findings, content)


def summarise(inspected: InspectedSet) -> dict[str, Any]:
    """Return the counts of one set, as in check.json; objects are without crowd regions."""
    labels = [[item.label for item in items] for items in inspected.objects]
    counts, categories, images = [len(one) for one in labels], inspected.categories, inspected.images
    num_objects = Counter(label for one in labels for label in one)
    num_images = Counter(label for one in labels for label in set(one))
    return {
        "annotation_file": printable(str(inspected.source.annotation_file)),
        "image_folder": printable(str(inspected.source.image_folder)),
        "pictures": len(images),
        "pictures_without_objects": counts.count(0),
        "annotations": inspected.num_annotations,
        "objects": sum(counts),
        "crowd_regions": inspected.crowd_regions,
        "left_out": inspected.left_out,
        "classes": len(categories),
        "width": np.quantile([image.width for image in images] or [0], (0, 0.5, 1)).astype(int).tolist(),
        "height": np.quantile([image.height for image in images] or [0], (0, 0.5, 1)).astype(int).tolist(),
        "bands": {str(bands): number for bands, number in sorted(inspected.bands.items())},  # images by theirs
        "most_objects": max(counts, default=0),
        "objects_per_picture": histogram(counts, COUNT_EDGES, whole=True),
        "objects_per_class": [
            {"id": one, "name": printable(name), "objects": num_objects[label], "pictures": num_images[label]}
            for label, (one, name) in enumerate(zip(categories.ids, categories.names, strict=True))
        ],
    }


def count_vanishing(inspected: InspectedSet, model: ModelConfig) -> dict[str, Any]:
    """Draw masks at the size of the input and shrink them to the prototypes, as the paper's mask loss does.

    Returns how many "objects" were looked at, how many "vanished", and the "size" (H, W) of the prototypes in pixels.
    """
    resize, (height, width) = Resize.of(model), level_sizes(model.input_size, model.levels)[0]
    size = 2 * height, 2 * width  # the protonet enlarges the finest level once
    seen, vanished = 0, 0
    order = np.random.default_rng(0).permutation(len(inspected.images))
    for index in tqdm(order, f"{inspected.source.name}: masks", unit="image"):
        image, masks = inspected.images[index], [item.segmentation for item in inspected.objects[index]]
        matrix = view_matrix((0, 0, image.width, image.height), resize)
        for start in range(0, len(masks) if seen < DRAWN_OBJECTS else 0, CHUNK):
            drawn = torch.from_numpy(draw_masks(masks[start : start + CHUNK], matrix, resize.size))
            vanished += int((~shrink(drawn, size).flatten(1).any(1)).sum())
            seen += len(drawn)
    return {"objects": seen, "vanished": vanished, "size": size}


def _check_counts(inspected: InspectedSet, summary: dict[str, Any], config: Config, is_trained_on: bool) -> None:
    """Find classes with few objects, and fewer or more classes than configured."""
    add, declared = inspected.add, summary["classes"]
    for one in summary["objects_per_class"]:
        name = f"'{one['name']}' (id {one['id']})"
        if one["objects"] == 0:
            add("unused-category", name)
        elif one["objects"] < RARE and is_trained_on:
            add("rare-category", f"{name}: {counted(one['objects'], 'object')}")
    if inspected.source.name == "train" and declared and config.model.num_classes not in (None, declared):
        add("class-count-differs", f"model.num_classes is {config.model.num_classes}, the file declares {declared}")
    if inspected.images and summary["objects"] == 0:
        kind = "no-objects" if is_trained_on and not config.data.allow_empty else "nothing-to-score"
        crowds = f", {counted(inspected.crowd_regions, 'crowd region')}" * (inspected.crowd_regions > 0)
        add(kind, f"{counted(summary['pictures'], 'image')}, {counted(summary['annotations'], 'annotation')}{crowds}")
    marked = inspected.crowd_regions
    if marked > MOST_CROWDS * (marked + summary["objects"]):
        add("many-crowds", f"{marked:,} of {marked + summary['objects']:,} objects")


def fit_lines(content: dict[str, Any]) -> list[str]:
    """Return how anchors and prototypes fit the objects, and the options of train.py with which they fit better."""
    fit, masks = content["anchors"], content["masks"]
    if not masks["objects"]:
        return [NO_OBJECTS]
    lines = [input_line(InputFit(**content["input"]))]
    if fit is not None:
        met = f"{percent(fit['now']['recall'])} of {counted(fit['objects'], 'object')} meet one at IoU {fit['iou']:g}"
        lines.append(f"anchors: {met}, {percent(fit['only_forced'])} get one by force only")
        if best := fit["suggestion"]:
            lines.append(f"  {percent(best['recall'])} with --set '{best['override']}'")
        if fit["not_square_is_better"]:
            best, unless = fit["not_square"], "unless you start from published weights, with --set"
            lines.append(f"  {percent(best['recall'])}, {unless} model.anchors.square=false '{best['override']}'")
    if masks["vanished"]:
        lost = f"{masks['vanished']:,} of {masks['objects']:,} have no pixel left"
        lines.append(f"masks: {lost} at the {size_text(masks['size'])} of the prototypes")
    return lines


def verdict(content: dict[str, Any]) -> str:
    """Return one line, such as "2 kinds of errors, 0 kinds of warnings: training refuses this data or stops on it"."""
    errors, warnings = (
        counted(content[f"{one}s"], f"kind of {one}", f"kinds of {one}s") for one in ("error", "warning")
    )
    return f"{errors}, {warnings}: training {'refuses this data or stops on it' if content['errors'] else 'runs'}"


def data_line(train: CocoDataset, val: CocoDataset) -> str:
    """Say what is trained on, what is left out, and what no accuracy can be expected of."""
    trained, validated = (int(one.class_counts.sum()) for one in (train, val))
    known = f"{trained:,} objects of {counted(len(train.categories), 'class', 'classes')}"
    parts = [f"data: {len(train):,} images to train, with {known}; {len(val):,} to validate, with {validated:,}"]
    if train.dropped:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in train.dropped.most_common())
        parts.append(f"{train.dropped.total():,} annotations left out ({reasons})")
    unused = [train.categories.names[label] for label in np.flatnonzero(train.class_counts == 0)]
    if unused:
        names = ", ".join(unused[:3] + ["..."] * (len(unused) > 3))
        parts.append(f"{counted(len(unused), 'class', 'classes')} without objects ({names})")
    if shared := len(_files(train) & _files(val)):
        parts.append(f"{shared:,} of the images are both trained on and validated on")
    return "; ".join(parts)


def anchor_line(config: Config, train: CocoDataset) -> str:
    """Say how many objects meet an anchor and how many only get one by force, without augmentation."""
    model, iou = config.model, config.loss.positive_iou
    boxes, number = [np.zeros((0, 4))], 0
    for index in np.random.default_rng(0).permutation(len(train)).tolist():
        if number < SAMPLED_OBJECTS:
            for image, objects in shown_parts(train.images[index], train.objects(index), training_tiles(config)):
                boxes.append(input_boxes(objects, image, Resize.of(model)))
                number += len(boxes[-1])
    if number == 0:
        return NO_OBJECTS
    met = measure(np.concatenate(boxes), model, iou).recall
    line = f"anchors: {percent(met)} of the objects meet one at IoU {iou:g}, {percent(1 - met)} get one by force only"
    return line + ("; yolact check suggests sizes that more of them meet" if met < FEW else "")


def _files(dataset: CocoDataset) -> set[str]:
    folder = os.path.realpath(dataset.image_folder)  # links to files are not resolved: one under two names is two
    return {os.path.normpath(os.path.join(folder, image.file_name)) for image in dataset.images}
