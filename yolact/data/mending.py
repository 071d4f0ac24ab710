"""COCO JSON as tools write it, put into COCO's own form where it is certain what is meant.

What is mended is counted, and told by whoever reads. Everything else stays as it is: the rules of
`yolact.data.annotations` refuse it in a sentence.
"""

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path, PureWindowsPath
from typing import Any

from pycocotools import mask as rle_tools

from yolact.data.annotations import BOX, LARGEST_WHOLE, ImageRecord, is_number, parse_segmentation
from yolact.data.headers import read_layout
from yolact.data.image_folder import ImageFolder, leaves_folder
from yolact.data.images import MAX_WINDOWED_PIXELS
from yolact.data.json_values import as_flag, as_numbers, as_rle, as_whole, is_nested_well, nested_well
from yolact.data.segmentations import encode, extent
from yolact.errors import DatasetError

KINDS = {  # of what is mended: its name in check.json, and what it is
    "mended-id": "ids written as text or with decimals",
    "numbered-id": "ids that are names, numbered in alphabetical order",
    "mended-reference": "annotations that give the name of their image or class for its id",
    "repeated-entry": "images or classes that are listed again in the same words, taken once",
    "mended-annotation-id": "annotation ids that are missing, repeated or no numbers, numbered anew",
    "mended-file-name": "file names that differ from the files' in separators, case, accents or escapes",
    "mended-picture-size": "images without width and height, taken from the files",
    "mended-number": "numbers written as text",
    "mended-crowd": "iscrowd written as text, null, true or false",
    "mended-nesting": "segmentations one list too flat or too deep",
    "mended-box": "boxes that are missing, no box or without area, taken from the masks",
    "mended-area": "areas that are missing or not the masks', taken from the masks",
}
AREA_FACTOR = 2.0  # by which an area may differ from its mask's: outlines count pixels in several ways
BOX_FACTOR = 1.1  # where the area is just that of the box
LEAST_AREA = 100  # pixels; below it outlines and pixels differ by any factor, and all is small
LEAST_FILL = 0.2  # of its box by the area of an object; below it, and above all of it, the mask is looked at

Entry = dict[str, Any]
Mended = defaultdict[str, list[str]]  # the names of the entries that were mended, by kind


def lines(mended: Mended) -> Iterator[str]:
    """Yield what was mended, the most frequent first."""
    for kind, names in sorted(mended.items(), key=lambda item: -len(item[1])):
        yield f"{len(names):,} {KINDS[kind]} (the first: {names[0]})"


class Ids:
    """The ids of images or classes: numbers, or names that are numbered, by what annotations write for them."""

    def __init__(self, entries: list[Any], mended: Mended) -> None:
        self._mended = mended
        given: list[Any] = [entry.get("id") for entry in entries if isinstance(entry, dict)]
        texts = set(given) if all(isinstance(one, str) and one for one in given) else set()
        wholes = {as_whole(one) for one in texts}
        # Texts of numbers are these numbers, unless "1" and "01" are two ids.
        are_names = None in wholes or len(wholes) < len(texts)
        self._numbers = {name: number for number, name in enumerate(sorted(texts), 1)} if are_names else {}
        self.known: set[object] = set()
        self._names: dict[str, int | None] = {}  # what else annotations may write for an id; None for several ids

    def declare(self, entry: Entry, where: str) -> None:
        """Take the id of an image or class, which becomes a number where it is certain which."""
        if "id" in entry:
            entry["id"] = self._number(entry["id"], where)
            if isinstance(entry["id"], int):
                self.known.add(entry["id"])

    def add_names(self, entry: Entry, names: Iterable[str]) -> None:
        """Let annotations write these names for the id of an entry; a name of several entries means none of them."""
        if isinstance(entry.get("id"), int):
            self._names.update({name: None if name in self._names else entry["id"] for name in names})

    def of_annotation(self, value: object, where: str) -> object:
        """Return the id that an annotation means by `value`, as a number where that is certain."""
        if self._numbers and not (isinstance(value, str) and value in self._numbers):
            found: object = str(value)  # which is none: the numbers are ours
        elif type(value) is int and value in self.known:
            return value
        else:
            found = self._number(value, where)
        named = self._names.get(value) if isinstance(value, str) else None
        if named is None or named == found:
            return found
        if found in self.known:
            return value  # an id of one entry, and the name of another
        self._mended["mended-reference"].append(where)
        return named

    def _number(self, value: object, where: str) -> object:
        if isinstance(value, str) and value in self._numbers:
            self._mended["numbered-id"].append(where)
            return self._numbers[value]
        whole = as_whole(value)
        if whole is None or type(value) is int:
            return value
        self._mended["mended-id"].append(where)
        return whole


def mend(content: dict[str, Any], files: ImageFolder | None) -> Mended:
    """Mend the lists of an annotation file in place and return what was done; `files` finds file names and sizes."""
    mended: Mended = defaultdict(list)
    classes = Ids(content["categories"], mended)
    for where, entry in _entries("categories", content):
        classes.declare(entry, where)
        if isinstance(entry.get("name"), str):
            classes.add_names(entry, {entry["name"]})
    images = Ids(content["images"], mended)
    claimed = claimed_files(content, files) if files else set()
    records: dict[int, ImageRecord] = {}  # of images whose size can be one
    for where, entry in _entries("images", content):
        images.declare(entry, where)
        _mend_image(entry, where, files, claimed, mended)
        if isinstance(entry.get("file_name"), str):
            name = PureWindowsPath(entry["file_name"])
            images.add_names(entry, {entry["file_name"], name.name, name.stem})
        sides: Any = entry.get("height"), entry.get("width")
        is_size = all(type(side) is int and side > 0 for side in sides) and math.prod(sides) <= MAX_WINDOWED_PIXELS
        if is_size and isinstance(entry.get("id"), int):
            records[entry["id"]] = ImageRecord(entry["id"], str(entry.get("file_name")), *sides)
    for key in ("categories", "images"):
        _take_once(key, content, mended)
    _mend_annotation_ids(content, mended)
    for where, entry in _entries("annotations", content):
        for key, ids in (("image_id", images), ("category_id", classes)):
            if key in entry:
                entry[key] = ids.of_annotation(entry[key], where)
        image_id = entry.get("image_id")
        _mend_annotation(entry, where, records.get(image_id) if isinstance(image_id, int) else None, mended)
    return mended


def claimed_files(content: dict[str, Any], files: ImageFolder) -> set[str]:
    """Return the files that entries name just so, which others then do not mean."""
    names = (entry.get("file_name") for _, entry in _entries("images", content))
    return {os.path.normpath(name) for name in names if isinstance(name, str) and name and files.holds(name)}


def _entries(key: str, content: dict[str, Any]) -> Iterator[tuple[str, Entry]]:
    for position, entry in enumerate(content[key]):
        if isinstance(entry, dict):
            yield f"{key}[{position}]", entry


def _take_once(key: str, content: dict[str, Any], mended: Mended) -> None:
    """Take out entries that repeat an earlier one in every word."""
    first: dict[object, Entry] = {}
    repeated = set()
    for where, entry in _entries(key, content):
        earlier = first.setdefault(entry["id"], entry) if isinstance(entry.get("id"), int) else entry
        if earlier is not entry and earlier == entry:
            repeated.add(id(entry))
            mended["repeated-entry"].append(where)
    if repeated:
        content[key] = [entry for entry in content[key] if id(entry) not in repeated]


def _mend_annotation_ids(content: dict[str, Any], mended: Mended) -> None:
    """Number those annotations anew that have no id of their own, to which nothing in the file can refer."""
    seen: set[int] = set()
    unnumbered = []
    for where, entry in _entries("annotations", content):
        number = as_whole(entry.get("id"))
        if number is None or number in seen or abs(number) > LARGEST_WHOLE:
            unnumbered.append((where, entry))
            continue
        seen.add(number)
        if number is not entry["id"] and type(entry["id"]) is not int:
            entry["id"] = number
            mended["mended-id"].append(where)
    free = (number for number in count(1) if number not in seen)
    for where, entry in unnumbered:
        entry["id"] = next(free)
        mended["mended-annotation-id"].append(where)


def _mend_image(entry: Entry, where: str, files: ImageFolder | None, claimed: set[str], mended: Mended) -> None:
    name = entry.get("file_name")
    if name is None and isinstance(entry.get("coco_url"), str):  # LVIS
        parts = entry["coco_url"].split("/")
        name = entry["file_name"] = parts[-1] if files and files.holds(parts[-1]) else "/".join(parts[-2:])
        mended["mended-file-name"].append(where)
    if files and isinstance(name, str) and name and not files.holds(name):
        found = files.resolve(name)
        if found is not None and found not in claimed:
            claimed.add(found)
            name = entry["file_name"] = found
            mended["mended-file-name"].append(where)
    path = files.folder / name if files and isinstance(name, str) and not leaves_folder(name) else None
    complete_size(entry, where, path, mended)


def complete_size(entry: Entry, where: str, path: Path | None, mended: Mended) -> None:
    """Complete the size of an image that is missing or text; a missing one is that of the file, if it is known."""
    given = [entry.get("height"), entry.get("width")]
    if all(type(side) is int and side != 0 for side in given):
        return
    sides = [as_whole(side) or None for side in given]
    size = _stored_size(path) if path and None in sides else None
    if None not in sides:
        entry["height"], entry["width"] = sides
        mended["mended-number"].append(where)
    elif size is not None and all(side in (None, 0, own) for side, own in zip(given, size, strict=True)):
        entry["height"], entry["width"] = size
        mended["mended-picture-size"].append(where)


def _stored_size(path: Path) -> tuple[int, int] | None:
    """Return (H, W) of an image file that its EXIF data do not turn by a quarter, as its header says."""
    try:
        if not path.is_file():  # else opening it may wait
            return None
        with path.open("rb") as file:
            layout = read_layout(file)
    except (OSError, ValueError):  # a ValueError is a name that no file can have
        return None
    return layout.image_size if layout and layout.orientation < 5 and min(layout.image_size) > 0 else None


def _mend_annotation(entry: Entry, where: str, image: ImageRecord | None, mended: Mended) -> None:
    crowd = entry.get("iscrowd", 0)
    if type(crowd) is not int and (flag := as_flag(crowd)) is not None:
        entry["iscrowd"] = flag
        mended["mended-crowd"].append(where)
    segmentation = entry.get("segmentation")
    runs = as_rle(segmentation)
    if runs is not None:
        entry["segmentation"] = runs
        mended["mended-nesting" if isinstance(segmentation, list) else "mended-number"].append(where)
    elif isinstance(segmentation, list) and not is_nested_well(segmentation):
        polygons = nested_well(_mend_numbers(entry, "segmentation", where, mended))
        if polygons != entry["segmentation"]:
            entry["segmentation"] = polygons
            mended["mended-nesting"].append(where)
    box: Any = entry.get("bbox")
    area: Any = entry.get("area")
    if not BOX.allows(box):
        box = _mend_numbers(entry, "bbox", where, mended)
    if isinstance(area, str):
        area = _mend_numbers(entry, "area", where, mended)
    box = box if BOX.allows(box) and box[2] > 0 and box[3] > 0 and box[2] * box[3] > 0 else None
    if box and is_number(area) and LEAST_FILL <= area / (box[2] * box[3]) < 1:
        return  # without a look at the mask, which takes longer than all before
    measured = _measure(entry, where, image) if image else None
    if measured is None:
        return
    own, around = measured
    if box is None:
        entry["bbox"] = around
        mended["mended-box"].append(where)
    if not is_number(area) or not is_area_of(own, area, box):
        entry["area"] = own
        mended["mended-area"].append(where)


def _mend_numbers(entry: Entry, key: str, where: str, mended: Mended) -> Any:
    """Put numbers in place of texts of numbers into a field, and return it."""
    given = entry.get(key)
    numbers = as_numbers(given)
    if numbers != given:
        entry[key] = numbers
        mended["mended-number"].append(where)
    return entry.get(key)


def _measure(entry: Entry, where: str, image: ImageRecord) -> tuple[int, list[float]] | None:
    """Return the pixels of the mask of an annotation, and [x, y, w, h] around it; None where there is no right one.

    The box of polygons is that of their points.
    """
    try:
        mask = parse_segmentation(entry, where, image)
    except DatasetError:  # of which whoever reads will tell
        return None
    if mask is None:
        return None
    runs = encode(mask, (image.height, image.width))
    box = extent(mask, runs)
    return None if box is None else (int(rle_tools.area(runs)), [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()])


def is_area_of(own: int, area: float, box: list[float] | None) -> bool:
    """Tell whether an area may be that of a mask of `own` pixels."""
    if area <= 0:
        return False
    if max(own, area) < LEAST_AREA:
        return True
    is_box = box is not None and math.isclose(area, box[2] * box[3], rel_tol=1e-3)
    factor = BOX_FACTOR if is_box else AREA_FACTOR
    return own / factor <= area <= own * factor
