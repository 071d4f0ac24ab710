"""What a data set holds: sizes, counts, and masks that are too small for the prototypes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from yolact.data.masks import draw_masks
from yolact.data.transforms import view_matrix
from yolact.inspection.entries import InspectedSet
from yolact.models.anchors import level_sizes
from yolact.ops.masks import shrink
from yolact.text import printable

SIZE_EDGES = (0, 8, 16, 32, 64, 128, 256)  # pixels of the network input; the last bin is open
COUNT_EDGES = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200)  # objects of a picture; the last bin is open
DRAWN_OBJECTS = 20_000  # masks that are drawn to see whether they vanish, of a random sample
CHUNK = 8  # masks drawn at once: each is a whole network input


class Vanishing(NamedTuple):
    """Masks that have no pixel left in the mask loss."""

    objects: int  # that were looked at
    vanished: int
    side: int  # of the prototypes in pixels


def bin_places(values: NDArray[Any], edges: Sequence[int]) -> NDArray[np.int64]:
    """Return the bin [N] of each value; bin k begins at edge k, and the last one has no end."""
    return np.searchsorted(np.array(edges), values, side="right") - 1


def bin_names(edges: Sequence[int], whole: bool = False) -> list[str]:
    """Name the bins; `whole` numbers have a last one each."""
    names = []
    for low, high in pairwise(edges):
        last = high - 1 if whole else high
        names.append(f"{low}" if last == low else f"{low}-{last}")
    return [*names, f"{edges[-1]}+"]


def box_sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the side of the square as large as each xyxy box: [N]."""
    return np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))


def summarise(inspected: InspectedSet) -> dict[str, Any]:
    """Return the counts of one set as plain data."""
    objects = [sum(not item.iscrowd for item in items) for items in inspected.objects]
    heights, widths = (
        [getattr(picture, side) for picture in inspected.pictures] or [0] for side in ("height", "width")
    )
    crowds = sum(item.iscrowd for items in inspected.objects for item in items)
    return {
        "annotation_file": printable(str(inspected.annotation_file)),
        "image_folder": printable(str(inspected.image_folder)),
        "pictures": len(inspected.pictures),
        "pictures_without_objects": sum(count == 0 for count in objects),
        "annotations": inspected.num_annotations,
        "objects": sum(objects),
        "crowd_regions": crowds,
        "left_out": inspected.num_considered - sum(objects) - crowds,
        "classes": len(inspected.categories),
        "width": [min(widths), int(np.median(widths)), max(widths)],
        "height": [min(heights), int(np.median(heights)), max(heights)],
        "most_objects": max(objects, default=0),
        "objects_per_picture": count_bins(objects, COUNT_EDGES, whole=True),
        "objects_per_class": class_counts(inspected),
    }


def class_counts(inspected: InspectedSet) -> list[dict[str, Any]]:
    """Return for each class its id, name, objects and pictures with one, in the order of the labels."""
    pictures = np.zeros(len(inspected.categories), np.int64)
    for items in inspected.objects:
        pictures[list({item.label for item in items if not item.iscrowd})] += 1
    categories, counts = inspected.categories, inspected.objects_per_class()
    return [
        {"id": category_id, "name": printable(name), "objects": count, "pictures": int(with_it)}
        for category_id, name, count, with_it in zip(categories.ids, categories.names, counts, pictures, strict=True)
    ]


def count_bins(values: Sequence[float], edges: Sequence[int], whole: bool = False) -> dict[str, int]:
    """Return the number of values in each bin by its name."""
    counts = np.bincount(bin_places(np.array(values, float), edges), minlength=len(edges))
    return dict(zip(bin_names(edges, whole), counts.tolist(), strict=True))


def count_vanishing(inspected: InspectedSet, size: int) -> Vanishing:
    """Draw masks at the input side `size` and shrink them to the prototypes, as training does.

    A mask that vanishes teaches its object to have no mask at all.
    """
    side = 2 * level_sizes(size)[0]  # the protonet enlarges P3 once
    total = sum(not item.iscrowd for items in inspected.objects for item in items)
    seen = vanished = 0
    order = np.random.default_rng(0).permutation(len(inspected.pictures))
    with tqdm(total=min(total, DRAWN_OBJECTS), desc=f"{inspected.name}: masks", unit="mask") as bar:
        for place in order:
            if seen >= DRAWN_OBJECTS:
                break
            picture = inspected.pictures[place]
            matrix = view_matrix((0, 0, picture.width, picture.height), size)
            masks = [item.segmentation for item in inspected.objects[place] if not item.iscrowd]
            for start in range(0, len(masks), CHUNK):
                drawn = torch.from_numpy(draw_masks(masks[start : start + CHUNK], matrix, (size, size)))
                vanished += int((~shrink(drawn, (side, side)).flatten(1).any(1)).sum())
            seen += len(masks)
            bar.update(len(masks))
    return Vanishing(seen, vanished, side)
