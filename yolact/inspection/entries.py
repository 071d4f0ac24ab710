"""Reading a whole annotation file in spite of its faults: what `CocoDataset` refuses at the first one is collected.

The rules are the loader's own, entry by entry (yolact/data/annotations.py), so that both agree on what is an error.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from yolact.data.annotations import (
    ImageRecord,
    ObjectRecord,
    box_drop_reason,
    parse_area,
    parse_box,
    parse_image,
    parse_iscrowd,
    parse_label,
    parse_segmentation,
    parse_text,
    parse_whole,
    read_outline,
)
from yolact.data.categories import Categories
from yolact.data.masks import Rle, Segmentation
from yolact.errors import DatasetError
from yolact.inspection.findings import Example, Findings
from yolact.inspection.geometry import object_faults

T = TypeVar("T")

DROPPED = {"box without area": "degenerate-box", "box outside the picture": "box-outside"}


@dataclass
class InspectedSet:
    """What can be used of one annotation file, and what is wrong with the rest.

    Attributes:
        categories: the classes that are declared well.
        pictures: those with a usable entry.
        objects: for each picture, the objects that training sees, crowd regions included.
        num_annotations: in the file, good and bad.
        num_considered: of these, all but those of pictures beyond `max_images`.
    """

    name: str
    annotation_file: Path
    image_folder: Path
    findings: Findings
    categories: Categories = field(default_factory=lambda: Categories([], []))
    pictures: list[ImageRecord] = field(default_factory=list)
    objects: list[list[ObjectRecord]] = field(default_factory=list)
    num_annotations: int = 0
    num_considered: int = 0

    def objects_per_class(self) -> list[int]:
        """Return how many objects each label has, crowd regions left out."""
        labels = [item.label for items in self.objects for item in items if not item.iscrowd]
        return np.bincount(np.array(labels, np.int64), minlength=len(self.categories)).tolist()


def read_set(
    name: str,
    annotation_file: Path,
    image_folder: Path,
    max_images: int | None = None,
    skips_unreadable: bool = False,
) -> InspectedSet:
    """Read one annotation file, all of it.

    Args:
        name: of the set in reports, such as "train".
        annotation_file: COCO JSON.
        image_folder: the folder that the file names are relative to.
        max_images: only the first so many pictures, as `CocoDataset`.
        skips_unreadable: see `Findings`.

    Raises:
        DatasetError: the file is missing or is not a COCO annotation file at all, or the folder does not exist.
    """
    content = read_outline(annotation_file)
    if not image_folder.is_dir():
        raise DatasetError(f"The picture folder {image_folder} (of {annotation_file}) does not exist; check the path.")
    result = InspectedSet(name, annotation_file, image_folder, Findings(name, skips_unreadable))
    _Reader(result, max_images).read(content)
    return result


class _Reader:
    """One pass over the entries of a file, in the order categories, images, annotations."""

    def __init__(self, result: InspectedSet, max_images: int | None) -> None:
        self.result, self.max_images = result, max_images
        # Ids of good and bad entries: an annotation is not at fault when its picture or class is.
        self.places: dict[int, int | None] = {}
        self.broken_categories: set[int] = set()
        self.beyond: set[int] = set()  # ids of the pictures after `max_images`
        self.annotation_ids: set[int] = set()
        self.known_objects: set[tuple[Any, ...]] = set()

    def read(self, content: dict[str, list[Any]]) -> None:
        self._read_categories(content["categories"])
        self._read_pictures(content["images"])
        entries = content["annotations"]
        self.result.num_annotations = self.result.num_considered = len(entries)
        # A count of millions takes minutes, a few thousand no time that a bar could show.
        quiet = True if len(entries) < 5000 else None
        bar = tqdm(entries, desc=f"{self.result.name}: annotations", unit="annotation", disable=quiet)
        for position, entry in enumerate(bar):
            self._read_annotation(position, entry)

    def _add(self, kind: str, example: Example) -> None:
        self.result.findings.add(kind, example)

    def _try(self, parse: Callable[..., T], *arguments: Any, example: Example | None = None) -> T | None:
        """Return what a parser of the loader returns, or None and a finding where it refuses."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                return parse(*arguments)
        except DatasetError as error:
            self._refuse(error, example or Example())
            return None

    def _refuse(self, error: DatasetError, example: Example) -> None:
        """Count what the loader refuses."""
        self._add(error.kind or "invalid-field", example._replace(note=str(error)))

    def _is_object(self, entry: Any, where: str) -> bool:
        if not isinstance(entry, dict):
            self._add("invalid-entry", Example(f"{where} is a {type(entry).__name__}"))
        return isinstance(entry, dict)

    def _read_categories(self, entries: list[Any]) -> None:
        names: dict[int, str] = {}
        if not entries:
            self._add("no-categories", Example(f"'categories' of {self.result.annotation_file} is empty"))
        for position, entry in enumerate(entries):
            where = f"categories[{position}]"
            if not self._is_object(entry, where):
                continue
            category_id = self._try(parse_whole, entry, "id", where)
            name = self._try(parse_text, entry, "name", where)
            if category_id is None:
                continue
            if category_id in names:
                self._add("repeated-category", Example(f"{where} repeats the id {category_id}"))
            elif name is None:
                self.broken_categories.add(category_id)
            else:
                if name in names.values():
                    self._add("repeated-category", Example(f"{where} repeats the name '{name}'"))
                names[category_id] = name
        ids = sorted(names)
        self.result.categories = Categories(names=[names[category_id] for category_id in ids], ids=ids)

    def _read_pictures(self, entries: list[Any]) -> None:
        if not entries:
            self._add("no-pictures", Example(f"'images' of {self.result.annotation_file} is empty"))
        files: set[PurePosixPath] = set()
        seen: set[int] = set()
        for position, entry in enumerate(entries):
            where = f"images[{position}]"
            if not self._is_object(entry, where):
                continue
            name, picture_id = entry.get("file_name"), entry.get("id")
            about = Example(picture=name if isinstance(name, str) else None)
            picture = self._try(parse_image, entry, where, example=about)
            if type(picture_id) is int:
                self.places.setdefault(picture_id, None)
            if picture is None:
                continue
            if picture.id in seen:
                self._add("repeated-picture-id", about._replace(note=f"{where} repeats the id {picture.id}"))
                continue
            seen.add(picture.id)
            if self.max_images is not None and len(self.result.pictures) >= self.max_images:
                self.beyond.add(picture.id)
                continue
            place = len(self.result.pictures)
            if PurePosixPath(picture.file_name) in files:
                self._add("repeated-file-name", about._replace(place=place, note=f"{where} has id {picture.id}"))
            files.add(PurePosixPath(picture.file_name))
            self.places[picture.id] = place
            self.result.pictures.append(picture)
            self.result.objects.append([])

    def _read_annotation(self, position: int, entry: Any) -> None:
        where = f"annotations[{position}]"
        if not self._is_object(entry, where):
            return
        annotation_id = self._try(parse_whole, entry, "id", where)
        about = Example(annotation=annotation_id)
        if annotation_id in self.annotation_ids:
            self._add("repeated-annotation-id", about._replace(note=f"{where} repeats the id {annotation_id}"))
        if annotation_id is not None:
            self.annotation_ids.add(annotation_id)
        image_id = entry.get("image_id")
        if type(image_id) is not int or image_id not in self.places:
            kind = "unknown-picture" if type(image_id) is int else "invalid-field"
            self._add(kind, about._replace(note=f"image_id of {where} is {image_id!r}"))
            return
        place = self.places[image_id]
        self.result.num_considered -= image_id in self.beyond
        if place is not None:
            about = about._replace(picture=self.result.pictures[place].file_name, place=place)
            self._read_object(entry, where, about, place)

    def _read_object(self, entry: dict[str, Any], where: str, about: Example, place: int) -> None:
        """Check an annotation of a usable picture field by field, and keep it where training would."""
        picture = self.result.pictures[place]
        label = None
        if entry.get("category_id") not in tuple(self.broken_categories):
            label = self._try(parse_label, entry, where, self.result.categories, example=about)
        iscrowd = self._try(parse_iscrowd, entry, where, example=about)
        area = self._try(parse_area, entry, where, example=about)
        box = self._try(parse_box, entry, where, example=about)
        reason = None
        if box is not None:
            about = about._replace(box=box)
            reason = box_drop_reason(box, picture)
        segmentation = self._read_segmentation(entry, where, picture, about)
        if reason is not None:
            self._add(DROPPED[reason], about._replace(note=f"bbox is {entry['bbox']}"))
            return
        if segmentation is None or label is None or iscrowd is None or box is None:
            return
        for kind, note in object_faults(box, segmentation, picture):
            self._add(kind, about._replace(note=note))
        if area is None:
            area = (box[2] - box[0]) * (box[3] - box[1])
        item = ObjectRecord(
            label, box, iscrowd, segmentation, area, -1 if about.annotation is None else about.annotation
        )
        self._note_repetition(item, about)
        self.result.objects[place].append(item)

    def _read_segmentation(
        self, entry: dict[str, Any], where: str, picture: ImageRecord, about: Example
    ) -> Segmentation | None:
        """Return the mask, or None and a finding where there is none or a bad one."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                segmentation = parse_segmentation(entry, where, picture)
        except DatasetError as error:
            self._refuse(error, about)
            return None
        if segmentation is None:
            kind = "empty-mask" if isinstance(entry.get("segmentation"), dict) else "missing-mask"
            self._add(kind, about._replace(note=f"segmentation of {where} holds nothing"))
        elif not isinstance(segmentation, Rle) and [] in entry["segmentation"]:
            self._add("empty-polygon", about._replace(note=f"segmentation of {where} holds []"))
        return segmentation

    def _note_repetition(self, item: ObjectRecord, about: Example) -> None:
        """Count an annotation of the class, box and mask of an earlier one of its picture."""
        mask = item.segmentation
        data = mask.runs.tobytes() if isinstance(mask, Rle) else b"".join(polygon.tobytes() for polygon in mask)
        key = (about.place, item.label, item.bbox, hash(data))
        if key in self.known_objects:
            self._add("duplicate-object", about._replace(note="the same class, box and mask"))
        self.known_objects.add(key)
