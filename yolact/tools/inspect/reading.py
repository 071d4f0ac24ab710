"""Reading a whole data set in spite of its faults: what `CocoDataset` refuses at the first one is collected."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from yolact.data import annotations as rules  # the loader's own, so that both agree on what is an error
from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.data.categories import Categories
from yolact.data.coco_file import read_content
from yolact.data.headers import MAX_PIXELS, read_layout
from yolact.data.image_folder import ImageFolder
from yolact.data.images import MAX_WINDOWED_PIXELS, decode, leave_unsaid
from yolact.data.samples import PLAIN, Colours
from yolact.data.segmentations import encode, extent
from yolact.data.windows import layout_of_file, open_image
from yolact.errors import DatasetError, UserError
from yolact.ops.boxes import box_iou
from yolact.ops.rle import RunLengths
from yolact.tools.inspect.findings import EDGE_TOLERANCE, KINDS, NOWHERE, SKIPPABLE, Example, Finding

Box = NDArray[np.float64]  # [4] xyxy, pixels of the image

LIKE_MASK_IOU = 0.7  # of an annotation's box and its mask's own one; below it the box belongs to something else ...
LIKE_MASK_PIXELS = 2.0  # ... unless no edge is further away than this, as with objects of a few pixels
EMPTY = {"images": "no-pictures", "categories": "no-categories"}  # the faults of lists without entries
UNUSED = -1  # in place of the index of an image that is bad or comes after `max_images`
DIGEST_SIDE = 2000  # pixels of the reduced image that stands for one of more than 100 megapixels
MAX_THREADS = 8  # decoding and hashing leave Python's lock, so threads do


class Source(NamedTuple):
    """One set to inspect."""

    name: str  # in reports: "train", "val", or another for a set alone
    annotation_file: Path  # COCO JSON
    image_folder: Path
    max_images: int | None = None  # only the first so many, as `CocoDataset`
    skips_unreadable: bool = False  # as data.unreadable=skip in training
    in_tiles: bool = False  # images are read by parts, so that they may have more than 100 megapixels
    colours: Colours = PLAIN  # of images of more than 8 bits, or with transparent pixels


class InspectedSet:
    """What can be used of one annotation file, and what is wrong with the rest.

    Raises:
        DatasetError: the file is missing or is not a COCO annotation file at all, or the folder does not exist.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        if not source.image_folder.is_dir():
            raise DatasetError(f"The image folder {source.image_folder} does not exist; check the path.")
        self.files = ImageFolder(source.image_folder)
        content, mended = read_content(source.annotation_file, self.files)
        self.findings: dict[str, Finding] = {}  # by kind
        self.images: list[ImageRecord] = []  # those with a usable entry
        self.objects: list[list[ObjectRecord]] = []  # of each image, as training sees them, without crowd regions
        self.bands: Counter[int] = Counter()  # images by their number of bands, after `inspect_files`
        self.bad_images: set[int] = set()  # ids of those whose files cannot be used, after `inspect_files`
        self.crowd_regions = 0
        self.num_annotations = len(content["annotations"])  # good and bad
        # Bad images are in it too: an annotation is not at fault when its image is.
        self._indices: dict[int, int] = {}  # of images by id, or UNUSED
        self._known_objects: set[int] = set()  # hashes
        with np.errstate(over="ignore", invalid="ignore"):
            self.categories = self._read_categories(content["categories"])
            self._read_images(content["images"])
            fine = sum(self._read_annotation(*one) for one in self._entries("annotations", content["annotations"]))
        for kind, names in mended.items():
            for name in names:
                self.add(kind, name)
        self.left_out = self.num_annotations - fine  # what training does not see of the images that it uses

    def add(self, kind: str, note: str = "", about: Example = NOWHERE) -> None:
        """Count one fault; `about` says where it is."""
        if kind not in self.findings:
            level, title, advice = KINDS[kind]
            skipped = self.source.skips_unreadable and kind in [name for name, *_ in SKIPPABLE]
            self.findings[kind] = Finding(kind, self.source.name, "warning" if skipped else level, title, advice)
        self.findings[kind].add(note, about)

    def _entries(self, key: str, entries: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the entries of one list that are objects, each with its name for messages."""
        if not entries and key in EMPTY:
            self.add(EMPTY[key], f"'{key}' of {self.source.annotation_file} is empty")
        # A count of millions takes minutes, a few thousand no time that a bar could show.
        bar = tqdm(entries, f"{self.source.name}: {key}", unit="entry", disable=len(entries) < 5000 or None)
        for position, entry in enumerate(bar):
            if isinstance(entry, dict):
                yield f"{key}[{position}]", entry
            else:
                self.add("invalid-entry", f"{key}[{position}] is a {type(entry).__name__}")

    def _try(self, about: Example, parse: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a parser of the loader returns, or None and a finding where it refuses."""
        try:
            return parse(*arguments)
        except DatasetError as error:
            self.add(error.kind or "invalid-field", str(error), about)
            return None

    def _read_categories(self, entries: list[Any]) -> Categories:
        names: dict[int, str] = {}
        known: set[str] = set()
        for where, entry in self._entries("categories", entries):
            category_id = self._try(NOWHERE, rules.parse_whole, entry, "id", where)
            name = self._try(NOWHERE, rules.parse_text, entry, "name", where)
            if category_id in names:
                self.add("repeated-category", f"{where} repeats the id {category_id}")
            elif category_id is not None:
                if name in known:
                    self.add("repeated-category", f"{where} repeats the name '{name}'")
                known.add(name)
                names[category_id] = name or f"class {category_id}"
        return Categories(names=[names[category_id] for category_id in sorted(names)], ids=sorted(names))

    def _read_images(self, entries: list[Any]) -> None:
        files: set[str] = set()
        for where, entry in self._entries("images", entries):
            name, image_id = entry.get("file_name"), entry.get("id")
            about = Example(name if isinstance(name, str) else None)
            image = self._try(about, rules.parse_image, entry, where, MAX_WINDOWED_PIXELS, self.files)
            if image is None:
                if type(image_id) is int:
                    self._indices.setdefault(image_id, UNUSED)
            elif image.id in self._indices:
                self.add("repeated-picture-id", f"{where} repeats the id {image.id}", about)
            elif len(self.images) == self.source.max_images:
                self._indices[image.id] = UNUSED
            else:
                self._indices[image.id] = index = len(self.images)
                if (file := os.path.normpath(image.file_name)) in files:
                    self.add("repeated-file-name", f"{where} has id {image.id}", about._replace(image=index))
                files.add(file)
                if image.height * image.width > MAX_PIXELS and not self.source.in_tiles:
                    note = f"{where} is {image.width} x {image.height} pixels (width x height)"
                    self.add("picture-without-tiles", note, about._replace(image=index))
                self.images.append(image)
                self.objects.append([])

    def _read_annotation(self, where: str, entry: dict[str, Any]) -> bool:
        """Check an annotation; return False where training leaves it out though its image is used."""
        add, annotation_id = self.add, self._try(NOWHERE, rules.parse_whole, entry, "id", where)
        about = Example(annotation=annotation_id)
        image_id = self._try(about, rules.parse_whole, entry, "image_id", where)
        if image_id not in self._indices:
            if image_id is not None:
                add("unknown-picture", f"image_id of {where} is {image_id}", about)
            return False
        index = self._indices[image_id]
        if index == UNUSED:
            return True
        image, dropped = self.images[index], Counter[str]()
        about = about._replace(picture=image.file_name, image=index)
        known = {**entry, "id": annotation_id or 0}
        item = self._try(about, rules.parse_object, known, where, image, self.categories, dropped)
        for reason in dropped:
            without_mask = "empty-mask" if isinstance(entry.get("segmentation"), dict) else "missing-mask"
            kinds = {"box without area": "degenerate-box", "no segmentation": without_mask}
            add(kinds.get(reason, "box-outside"), f"bbox of {where} is {entry['bbox']}", about)
        if item is None:
            return False
        if item.iscrowd:
            self.crowd_regions += 1
        else:
            self.objects[index].append(item)
        about = about._replace(box=item.bbox)
        if isinstance(item.segmentation, list) and [] in entry["segmentation"]:
            add("empty-polygon", "its segmentation holds []", about)
        runs = encode(item.segmentation, (image.height, image.width))
        for kind, note in object_faults(item, runs, image):
            add(kind, note, about)
        content = hash((index, item.label, item.bbox, runs["counts"]))
        if content in self._known_objects:
            add("duplicate-object", "the same class, box and mask", about)
        self._known_objects.add(content)
        return True


def object_faults(item: ObjectRecord, runs: RunLengths, image: ImageRecord) -> Iterator[tuple[str, str]]:
    """Yield (kind, note) for whatever is odd about an object, whose mask is `runs`, that the loader accepts."""
    own, edges = np.array(item.bbox), np.array((image.width, image.height) * 2, float)
    low, size = own[:2], own[2:] - own[:2]
    if size.min() < 1:
        yield "thin-box", f"width {size[0]:.3g}, height {size[1]:.3g}"
    around = extent(item.segmentation, runs)
    for kind, one in (("box-over-edge", own), ("polygon-over-edge", around)):
        if one is not None and (overhang := max((-one).max(), (one - edges).max())) > EDGE_TOLERANCE:
            yield kind, f"by {overhang:.4g} pixels: {_shown(one)} in {image.width} x {image.height}"
    if around is None:
        yield "empty-mask", "it covers no pixel of the image"
    elif not _alike(own.clip(0, edges), expected := around.clip(0, edges)):
        readings = {  # the common ways of writing a box wrongly
            "two corners, [x1, y1, x2, y2]": np.concatenate((low, size)),
            "rows before columns, [y, x, height, width]": np.concatenate((low[::-1], (low + size)[::-1])),
            "centre and size": np.concatenate((low - size / 2, low + size / 2)),
        }
        looks = [f"; bbox looks like {name}" for name, reading in readings.items() if _alike(reading, expected)]
        note = f"bbox is {_shown(own)}, its mask {_shown(expected)} (x1, y1, x2, y2)"
        yield "box-unlike-mask", "".join([note, *looks[:1]])


def _alike(box: Box, expected: Box) -> bool:
    if (box[2:] <= box[:2]).any():
        return False
    near = bool(np.abs(box - expected).max() <= LIKE_MASK_PIXELS)
    return near or float(box_iou(torch.from_numpy(box)[None], torch.from_numpy(expected)[None])) >= LIKE_MASK_IOU


def _shown(box: Box) -> str:
    return "[" + ", ".join(f"{edge:.6g}" for edge in box) + "]"


def inspect_files(inspected: InspectedSet, trained_on: Mapping[bytes, str] | None = None) -> dict[bytes, str]:
    """Open the images of a set, and add what is wrong to its findings.

    Returns the first name of each content, a digest of the pixels, or of the bytes of what is damaged; `trained_on` is
    what was returned of the training set.
    """
    first: dict[bytes, str] = {}
    folder, images = inspected.source.image_folder, inspected.images
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        colours = inspected.source.colours
        jobs = pool.map(lambda image: _look(folder / image.file_name, (image.height, image.width), colours), images)
        seen = tqdm(jobs, f"{inspected.source.name}: images", unit="image", total=len(images))
        for index, (image, (content, faults, bands)) in enumerate(zip(images, seen, strict=True)):
            inspected.bands.update([bands] if bands else [])
            known = first.setdefault(content, image.file_name) if content else image.file_name
            if os.path.normpath(known) != os.path.normpath(image.file_name):  # a repeated name is another fault
                faults["duplicate-picture"] = f"the same image as '{known}'"
            if content and trained_on and content in trained_on:
                faults["shared-picture"] = f"'{trained_on[content]}' of the training set"
            for kind, note in faults.items():
                inspected.add(kind, note, Example(image.file_name, image=index))
                # What is not there at all may be found elsewhere.
                is_there = kind == "missing-picture" and inspected.files.holds(image.file_name)
                if is_there or kind in [name for name, *_ in SKIPPABLE]:
                    inspected.bad_images.add(image.id)
    leave_unsaid(inspected.findings)
    return first


def _look(path: Path, size: tuple[int, int], colours: Colours) -> tuple[bytes, dict[str, str], int]:
    """Return a digest of what a file holds, b"" if there is none, its faults: kind -> note, and how many bands it has.

    `size` is JSON's.
    """
    if size[0] * size[1] > MAX_PIXELS:  # of images that are read by parts; each part is decoded once
        try:
            image = open_image(path, size, colours)
            pixels = image.overview(DIGEST_SIDE)
        except (UserError, ValueError) as error:
            return b"", {getattr(error, "kind", None) or "unreadable-picture": str(error)}, 0
        layout = layout_of_file(path)
        bands = layout.bands if layout else 0
        return hashlib.blake2b(pixels.data, digest_size=16).digest(), dict(image.remarks), bands
    try:
        if path.is_fifo():
            return b"", {"missing-picture": "it is a pipe"}, 0
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a ValueError is a name that no file can have
        return b"", {"missing-picture": getattr(error, "strerror", None) or str(error)}, 0
    faults: dict[str, str] = {}
    layout = read_layout(io.BytesIO(data))
    bands = layout.bands if layout else 0
    if layout is not None and layout.orientation != 1:
        decides = layout.orientation >= 5 and size[0] != size[1]  # a quarter turn
        reading = "as stored" if decides and size == layout.image_size else "turned"
        reason = "asks" if decides else "does not tell what annotations mean"
        faults["exif-rotation"] = f"orientation {layout.orientation}, read {reading}, as the JSON's size {reason}"
    content, salt = memoryview(data), b""
    try:
        pixels, remarks = decode(data, path, size, colours)
        faults |= remarks
        content, salt = pixels.data, str(pixels.shape[1]).encode()
    except DatasetError as error:
        faults[error.kind or "unreadable-picture"] = str(error)
    return hashlib.blake2b(content, digest_size=16, salt=salt).digest(), faults, bands
