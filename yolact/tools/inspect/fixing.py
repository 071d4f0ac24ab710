"""Writing an annotation file anew: mended, and without what is certainly broken; all of that is counted and listed.

What only a person can decide, such as a class of two names, is refused in the sentence of the loader.
"""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as rle_tools

from yolact.data import annotations as rules
from yolact.data.annotations import ImageRecord
from yolact.data.categories import Categories
from yolact.data.coco_file import read_content
from yolact.data.image_folder import ImageFolder
from yolact.data.images import MAX_WINDOWED_PIXELS
from yolact.data.mending import KINDS, Mended, claimed_files, is_area_of
from yolact.data.segmentations import encode
from yolact.data.windows import open_image
from yolact.errors import DatasetError, UserError
from yolact.text import counted, printable
from yolact.tools.inspect.reading import Source, object_faults

Entry = dict[str, Any]
MOST = 5  # entries that are named in a line


@dataclass
class Fixed:
    """A clean annotation file, and what was done: kind -> names of entries."""

    content: dict[str, Any]
    mended: Mended
    left_out: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def lines(self) -> list[str]:
        """Return what was done in a few lines."""
        kept = f"{counted(len(self.content['images']), 'image')}, {counted(len(self.content['annotations']), 'object')}"
        lines = [f"kept: {kept}"]
        for verb, kinds in (("mended", self.mended), ("left out", self.left_out)):
            for kind, names in kinds.items():
                more = ", ..." * (len(names) > MOST)
                lines.append(f"{verb}: {len(names):,} {kind} ({', '.join(names[:MOST])}{more})")
        return lines


def fix(source: Source, bad_images: Collection[int], crowds_are_objects: bool = False) -> Fixed:
    """Return the content of a clean file.

    Args:
        source: the set, as it was inspected.
        bad_images: ids of images that cannot be used, as their files are broken or of another size.
        crowds_are_objects: take the mark iscrowd off, which CVAT gives to each mask.

    Raises:
        DatasetError: classes or images are declared in a way that only a person can mend, or nothing is left.
    """
    path, files = source.annotation_file, ImageFolder(source.image_folder)
    content, mended = read_content(path, files)
    told = defaultdict(list, {KINDS[kind]: names for kind, names in mended.items()})
    fixed = Fixed({**content, "images": [], "annotations": []}, told)
    categories = rules.parse_categories(content["categories"], path)
    images: dict[int, ImageRecord] = {}
    claimed = claimed_files(content, files)
    for number, entry in enumerate(content["images"]):
        image = _usable_image(entry, f"images[{number}]", files, claimed, bad_images, fixed)
        if image is not None:
            if image.id in images:
                raise DatasetError(f"images[{number}] of {path} repeats the id {image.id}; give each its own.")
            images[image.id] = image
            fixed.content["images"].append(entry)
    for number, entry in enumerate(content["annotations"]):
        where = f"annotations[{number}]"
        if reason := _fix_annotation(entry, where, images, categories, crowds_are_objects, fixed.mended):
            fixed.left_out[reason].append(where)
        else:
            fixed.content["annotations"].append(entry)
    if not fixed.content["annotations"]:
        raise DatasetError(f"Of {path} no object is left that could be used; look at how it was exported.")
    return fixed


def _usable_image(
    entry: Any, where: str, files: ImageFolder, claimed: set[str], bad_images: Collection[int], fixed: Fixed
) -> ImageRecord | None:
    name = entry.get("file_name") if isinstance(entry, dict) else None
    is_found = False
    if isinstance(name, str) and not files.holds(name):
        found = files.only_of_its_name(name)
        if found and found not in claimed:
            claimed.add(found)
            entry["file_name"], is_found = found, True
    try:
        image = rules.parse_image(entry, where, MAX_WINDOWED_PIXELS)
    except DatasetError:
        fixed.left_out["images that are declared wrongly"].append(where)
        return None
    if is_found:
        try:
            open_image(files.folder / image.file_name, (image.height, image.width))
        except UserError:
            fixed.left_out["images that cannot be used"].append(printable(image.file_name))
            return None
        fixed.mended["file names that led nowhere, taken from the only file of that name"].append(where)
    if not files.holds(image.file_name):
        fixed.left_out["images without a file"].append(printable(image.file_name))
    elif image.id in bad_images:
        fixed.left_out["images that cannot be used"].append(printable(image.file_name))
    else:
        return image
    return None


def _fix_annotation(
    entry: Any, where: str, images: dict[int, ImageRecord], categories: Categories, crowds_are_objects: bool,
    mended: Mended,
) -> str | None:  # fmt: skip
    """Mend an annotation in place; return None, or why it cannot be used."""
    if not isinstance(entry, dict):
        return "entries that are not objects"
    image = images.get(entry["image_id"]) if isinstance(entry.get("image_id"), int) else None
    if image is None:
        return "objects of images that are not there"
    if _drop_bad_parts(entry, where, image):
        mended["broken parts of objects, left out of them"].append(where)
    dropped: Counter[str] = Counter()
    try:
        item = rules.parse_object(entry, where, image, categories, dropped)
    except DatasetError:
        return "objects whose fields are broken"
    if item is None:
        [reason] = dropped
        return f"objects with {reason}"
    runs = encode(item.segmentation, (image.height, image.width))
    faults = dict(object_faults(item, runs, image))
    if "empty-mask" in faults:
        return "objects whose mask has no pixel"
    if "box-unlike-mask" in faults:
        entry["bbox"] = [float(one) for one in rle_tools.toBbox(runs)]
        own = int(rle_tools.area(runs))
        if not is_area_of(own, item.area, None):
            entry["area"] = own
        mended["boxes unlike their masks, taken from these"].append(where)
    if item.iscrowd and crowds_are_objects:
        entry["iscrowd"] = 0
        mended["crowd regions taken as single objects"].append(where)
    return None


def _drop_bad_parts(entry: Entry, where: str, image: ImageRecord) -> bool:
    """Take those polygons out of an object that no rule allows, unless that would leave none; tell whether it did."""
    parts = entry.get("segmentation")
    if not isinstance(parts, list):
        return False
    good = [part for part in parts if part and _is_right({"segmentation": [part]}, where, image)]
    if len(good) in (0, len(parts)):
        return False
    entry["segmentation"] = good
    runs = encode([np.reshape(part, (-1, 2)) for part in good], (image.height, image.width))
    entry["area"] = int(rle_tools.area(runs))
    return True


def _is_right(entry: Entry, where: str, image: ImageRecord) -> bool:
    try:
        return rules.parse_segmentation(entry, where, image) is not None
    except DatasetError:
        return False
