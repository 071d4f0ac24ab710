"""Reading a whole annotation file in spite of its faults: what `CocoDataset` refuses at the first one is collected."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from yolact.data import annotations as rules  # the loader's own, so that both agree on what is an error
from yolact.data.categories import Categories
from yolact.data.masks import Rle, Segmentation, crop_rle, draw_masks
from yolact.errors import DatasetError
from yolact.ops.boxes import box_iou
from yolact.tools.inspect.findings import EDGE_TOLERANCE, NOWHERE, Example, Findings

Box = NDArray[np.float64]  # [4] xyxy, pixels of the image

LIKE_MASK_IOU = 0.7  # of an annotation's box and its mask's own one; below it the box belongs to something else ...
LIKE_MASK_PIXELS = 2.0  # ... unless no edge is further away than this, as with objects of a few pixels
BEYOND = -1  # in place of the index of an image after `max_images`


class Source(NamedTuple):
    """One set to inspect."""

    name: str  # in reports: "train", "val", or another for a set alone
    annotation_file: Path  # COCO JSON
    image_folder: Path
    max_images: int | None = None  # only the first so many, as `CocoDataset`
    skips_unreadable: bool = False  # as data.unreadable=skip in training


class InspectedSet:
    """What can be used of one annotation file, and what is wrong with the rest.

    Raises:
        DatasetError: the file is missing or is not a COCO annotation file at all, or the folder does not exist.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        content = rules.read_outline(source.annotation_file)
        if not source.image_folder.is_dir():
            raise DatasetError(f"The image folder {source.image_folder} does not exist; check the path.")
        self.findings = Findings(source.name, source.skips_unreadable)
        self.images: list[rules.ImageRecord] = []  # those with a usable entry
        self.objects: list[list[rules.ObjectRecord]] = []  # of each image, as training sees them; with crowd regions
        self.num_annotations = len(content["annotations"])  # good and bad
        # Bad entries are known too: an annotation is not at fault when its image or class is.
        self._indices: dict[int, int | None] = {}  # of the images by id; None for a bad one
        self._broken_categories: list[int] = []
        self._annotation_ids: set[int | None] = set()
        self._known_objects: set[tuple[Any, ...]] = set()
        with np.errstate(over="ignore", invalid="ignore"):
            self.categories = self._read_categories(content["categories"])  # those that are declared well
            self._read_images(content["images"])
            fine = sum(self._read_annotation(*one) for one in self._entries("annotations", content["annotations"]))
        self.left_out = self.num_annotations - fine  # what training does not see of the images that it uses

    def without_crowds(self) -> list[list[rules.ObjectRecord]]:
        """Return the objects of each image without crowd regions."""
        return [[item for item in items if not item.iscrowd] for items in self.objects]

    def _entries(self, key: str, entries: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the entries of one list that are objects, each with its name for messages."""
        # A count of millions takes minutes, a few thousand no time that a bar could show.
        bar = tqdm(entries, f"{self.source.name}: {key}", unit="entry", disable=len(entries) < 5000 or None)
        for position, entry in enumerate(bar):
            if isinstance(entry, dict):
                yield f"{key}[{position}]", entry
            else:
                self.findings.add("invalid-entry", f"{key}[{position}] is a {type(entry).__name__}")

    def _try(self, about: Example, parse: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a parser of the loader returns, or None and a finding where it refuses."""
        try:
            return parse(*arguments)
        except DatasetError as error:
            self.findings.add(error.kind or "invalid-field", str(error), about)
            return None

    def _read_categories(self, entries: list[Any]) -> Categories:
        names: dict[int, str] = {}
        if not entries:
            self.findings.add("no-categories", f"'categories' of {self.source.annotation_file} is empty")
        for where, entry in self._entries("categories", entries):
            category_id = self._try(NOWHERE, rules.parse_whole, entry, "id", where)
            name = self._try(NOWHERE, rules.parse_text, entry, "name", where)
            if category_id in names:
                self.findings.add("repeated-category", f"{where} repeats the id {category_id}")
            elif category_id is not None and name is None:
                self._broken_categories.append(category_id)
            elif category_id is not None and name is not None:
                if name in names.values():
                    self.findings.add("repeated-category", f"{where} repeats the name '{name}'")
                names[category_id] = name
        return Categories(names=[names[category_id] for category_id in sorted(names)], ids=sorted(names))

    def _read_images(self, entries: list[Any]) -> None:
        files: set[PurePosixPath] = set()
        if not entries:
            self.findings.add("no-pictures", f"'images' of {self.source.annotation_file} is empty")
        for where, entry in self._entries("images", entries):
            name, image_id = entry.get("file_name"), entry.get("id")
            about = Example(name if isinstance(name, str) else None)
            image = self._try(about, rules.parse_image, entry, where)
            if image is None:
                if type(image_id) is int:
                    self._indices.setdefault(image_id, None)
            elif self._indices.get(image.id) is not None:
                self.findings.add("repeated-picture-id", f"{where} repeats the id {image.id}", about)
            elif len(self.images) == self.source.max_images:
                self._indices[image.id] = BEYOND
            else:
                self._indices[image.id] = index = len(self.images)
                if PurePosixPath(image.file_name) in files:
                    about = about._replace(image=index)
                    self.findings.add("repeated-file-name", f"{where} has id {image.id}", about)
                files.add(PurePosixPath(image.file_name))
                self.images.append(image)
                self.objects.append([])

    def _read_annotation(self, where: str, entry: dict[str, Any]) -> bool:
        """Check an annotation; return False where training leaves it out though its image is used."""
        annotation_id, image_id = self._try(NOWHERE, rules.parse_whole, entry, "id", where), entry.get("image_id")
        about = Example(annotation=annotation_id)
        if annotation_id is not None and annotation_id in self._annotation_ids:
            self.findings.add("repeated-annotation-id", f"{where} repeats the id {annotation_id}", about)
        self._annotation_ids.add(annotation_id)
        if type(image_id) is not int or image_id not in self._indices:
            kind = "unknown-picture" if type(image_id) is int else "invalid-field"
            self.findings.add(kind, f"image_id of {where} is {image_id!r}", about)
            return False
        index = self._indices[image_id]
        if index == BEYOND or index is None or entry.get("category_id") in self._broken_categories:
            return index == BEYOND
        about, dropped = about._replace(picture=self.images[index].file_name, image=index), Counter[str]()
        known = {**entry, "id": annotation_id or 0}
        item = self._try(about, rules.parse_object, known, where, self.images[index], self.categories, dropped)
        for reason in dropped:
            without_mask = "empty-mask" if isinstance(entry.get("segmentation"), dict) else "missing-mask"
            kinds = {"box without area": "degenerate-box", "no segmentation": without_mask}
            self.findings.add(kinds.get(reason, "box-outside"), f"bbox of {where} is {entry['bbox']}", about)
        if item is None:
            return False
        self.objects[index].append(item)
        mask, about = item.segmentation, about._replace(box=item.bbox)
        if not isinstance(mask, Rle) and [] in entry["segmentation"]:
            self.findings.add("empty-polygon", "its segmentation holds []", about)
        for kind, note in object_faults(item.bbox, mask, self.images[index]):
            self.findings.add(kind, note, about)
        data = mask.runs.tobytes() if isinstance(mask, Rle) else b"".join(polygon.tobytes() for polygon in mask)
        content = (index, item.label, item.bbox, hash(data))
        if content in self._known_objects:
            self.findings.add("duplicate-object", "the same class, box and mask", about)
        self._known_objects.add(content)
        return True


def object_faults(box: ArrayLike, mask: Segmentation, image: rules.ImageRecord) -> Iterator[tuple[str, str]]:
    """Yield (kind, note) for whatever is odd about an object that the loader accepts: its box is partly inside."""
    own, edges = np.asarray(box, float), np.array((image.width, image.height) * 2, float)
    low, size = own[:2], own[2:] - own[:2]
    if size.min() < 1:
        yield "thin-box", f"width {size[0]:.3g}, height {size[1]:.3g}"
    extent = mask_extent(mask, edges)
    for kind, one in (("box-over-edge", own), ("polygon-over-edge", extent)):
        if one is not None and (overhang := max((-one).max(), (one - edges).max())) > EDGE_TOLERANCE:
            yield kind, f"by {overhang:.4g} pixels: {_shown(one)} in {image.width} x {image.height}"
    if extent is None:
        yield "empty-mask", "it covers no pixel of the image"
    elif not _alike(own.clip(0, edges), expected := extent.clip(0, edges)):
        readings = {  # the common ways of writing a box wrongly
            "two corners, [x1, y1, x2, y2]": np.concatenate((low, size)),
            "rows before columns, [y, x, height, width]": np.concatenate((low[::-1], (low + size)[::-1])),
            "centre and size": np.concatenate((low - size / 2, low + size / 2)),
        }
        looks = [f"; bbox looks like {name}" for name, reading in readings.items() if _alike(reading, expected)]
        note = f"bbox is {_shown(own)}, its mask {_shown(expected)} (x1, y1, x2, y2)"
        yield "box-unlike-mask", note + "".join(looks[:1])


def mask_extent(mask: Segmentation, edges: Box) -> Box | None:
    """Return the box around a mask; None if it has no pixel in the image, whose `edges` are W, H, W, H."""
    if isinstance(mask, Rle):
        crop, left, top = crop_rle(mask)
        return np.array((left, top, left + crop.shape[1], top + crop.shape[0]), float) if crop.size else None
    points = np.concatenate(mask).astype(float)
    extent = np.concatenate((points.min(axis=0), points.max(axis=0)))
    low, high = np.floor(extent[:2]).clip(0, edges[:2]), np.ceil(extent[2:]).clip(0, edges[2:])
    width, height = (high - low).astype(int)
    return extent if draw_masks([mask], np.column_stack((np.eye(2), -low)), (height, width)).any() else None


def _alike(box: Box, expected: Box) -> bool:
    if (box[2:] <= box[:2]).any() or np.abs(box - expected).max() <= LIKE_MASK_PIXELS:
        return bool((box[2:] > box[:2]).all())
    return float(box_iou(torch.from_numpy(box)[None], torch.from_numpy(expected)[None])) >= LIKE_MASK_IOU


def _shown(box: Box) -> str:
    return "[" + ", ".join(f"{edge:.6g}" for edge in box) + "]"
