"""What all readers share: objects as COCO stores them, what was left aside, and names that stay below a folder."""

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as brief
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from tqdm import tqdm

from yolact.data.annotations import ImageRecord, is_number, parse_segmentation
from yolact.errors import DatasetError
from yolact.ops.rle import RunLengths, encode_ends

S = TypeVar("S")
T = TypeVar("T")
Polygon = NDArray[np.float64]  # [M, 2] (x, y) in pixels of the image, continuous coordinates
DECIMALS = 3  # of a polygon's coordinates: what the loader draws with
SPLITS = ("train", "val", "test")
SPLIT_NAME = re.compile(r"(train|val|test)(?:id|idation)?\d*")  # train, val, valid, validation, test, train2017


class Part(NamedTuple):
    """What a reader finds; the parts of one class and group are one object."""

    class_name: str
    area: Polygon | RunLengths
    where: str  # names it in errors
    group: object = None  # None: it is an object of its own
    iscrowd: bool = False


class FoundObject(NamedTuple):
    """One object."""

    class_name: str
    annotation: dict[str, Any]  # "iscrowd", "bbox", "area" and "segmentation", as in COCO's JSON


class FoundImage(NamedTuple):
    """One image and its objects."""

    name: str  # its path below the source folder, with forward slashes
    image_size: tuple[int, int]  # (H, W)
    objects: list[FoundObject]
    subset: str = ""  # what its source calls its split; else its folders may
    embedded: Callable[[], bytes] | None = None  # gives the file's content where that stands in a label file


@dataclass
class Conversion:
    """A data set that a reader fills, and what it leaves aside."""

    folder: Path  # the names of the images are relative to it
    splits: dict[str, list[FoundImage]] = field(default_factory=dict)  # "train", "val" and "test", or all under ""
    class_names: dict[int, str] = field(default_factory=dict)  # by category id, in ascending order
    left_out: list[str] = field(default_factory=list)  # for each image that cannot be used, a sentence that says why
    faults: list[str] = field(default_factory=list)  # for each object that cannot be used, of images that can
    counts: Counter[str] = field(default_factory=Counter)  # of what else was passed over, by kind
    examples: dict[str, str] = field(default_factory=dict)  # the first of each kind

    @classmethod
    def of(cls, source: Path, images: Path | None = None) -> "Conversion":
        """Return an empty one, for the images below `images`, or else those beside or below the source."""
        return cls(images or (source.parent if source.is_file() else source))

    def note(self, kind: str, *examples: object) -> None:
        """Count what was passed over."""
        if examples:
            self.counts[kind] += len(examples)
            self.examples.setdefault(kind, str(examples[0]))

    def notes(self) -> Iterator[str]:
        """Yield what was passed over, the most frequent first."""
        yield from (f"{count} {kind}; the first: {self.examples[kind]}" for kind, count in self.counts.most_common())

    def list_files(self, folder: Path, suffixes: Collection[str]) -> list[str]:
        """Return the files below `folder` with these suffixes, as sorted names relative to it, with forward slashes.

        Hidden files are passed over, such as the `._x.jpg` that macOS leaves in archives. Linked folders are followed.
        DatasetError where the folder does not exist or cannot be listed.
        """

        def refuse(error: OSError) -> NoReturn:
            raise DatasetError(f"Cannot list the folder '{error.filename}': {error.strerror}; check the path.")

        found, seen = [], set()
        for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if os.path.realpath(parent) in seen:  # a link back to where we were
                folders.clear()
                continue
            seen.add(os.path.realpath(parent))
            files = [file for file in files if not file.startswith(".") and Path(file).suffix.lower() in suffixes]
            found += [Path(parent, file).relative_to(folder).as_posix() for file in files]
        odd = sorted(name for name in found if not is_text(name))
        self.note("files whose name is not text, passed over", *map(repr, odd))
        return sorted({*found}.difference(odd))

    def label_files(self, source: Path, suffix: str) -> list[Path]:
        """Return the source where it is a file, else the files below it with this suffix."""
        return [source] if source.is_file() else [source / name for name in self.list_files(source, {suffix})]

    def require_labels(self, labels: Mapping[str, object], found: Collection[str]) -> None:
        """Raise a DatasetError where no image has labels: `labels` says where they are looked for, `found` who has."""
        if not labels:
            raise DatasetError(
                f"There are no images below '{self.folder}', or in folders of the right names; check them."
            )
        if not found:
            [(name, label), *_] = labels.items()
            raise DatasetError(
                f"None of the {len(labels)} images below '{self.folder}' has labels, such as '{label}' for '{name}'; "
                "check the names, and give the folder that holds both."
            )

    def collect(self, jobs: Mapping[S, T], read: Callable[[S, T], FoundImage | None]) -> list[FoundImage]:
        """Read one image for each name and its job; those that fail are left out, those that give None passed over.

        Where every image's subset, or one of its folders, is named after a split, and some after "train", those are the
        splits. The labels become the classes, in alphabetical order, until the reader says otherwise. DatasetError
        where every job fails.
        """
        found: dict[str, FoundImage] = {}
        for where, job in tqdm(jobs.items(), desc="read", unit="image", disable=None):
            try:
                image = read(where, job)
                if image is not None and found.setdefault(image.name, image) is not image:
                    raise DatasetError(
                        f"The image {image.name} is labelled twice, again by {where}; remove one of them."
                    )
            except DatasetError as error:
                self.left_out.append(str(error))
        if not found and self.left_out:
            raise DatasetError(f"None of {len(self.left_out)} images can be used; the first: {self.left_out[0]}")
        images = list(found.values())
        splits: dict[str, list[FoundImage]] = {split: [] for split in SPLITS}
        for image in images:
            names = [image.subset] if image.subset else image.name.split("/")[:-1]
            matches = filter(None, (SPLIT_NAME.fullmatch(name.lower()) for name in names))
            splits.setdefault(next((match[1] for match in matches), ""), []).append(image)
        is_split = "" not in splits and splits["train"]
        self.splits = {split: part for split, part in splits.items() if part} if is_split else {"": images}
        self.class_names = dict(enumerate(sorted({item.class_name for image in images for item in image.objects}), 1))
        return images

    def objects(self, parts: Iterable[Part | DatasetError], image_size: tuple[int, int]) -> list[FoundObject]:
        """Return the objects that the parts of an image make, where parts that are wrong stand as their errors.

        What is wrong is left out alone. DatasetError where no object remains because of that, as the image is none
        without objects.
        """
        groups: dict[object, list[Part]] = {}
        faults = []
        for index, part in enumerate(parts):
            if isinstance(part, DatasetError):
                faults.append(part)
                continue
            if (name := part.class_name.strip()) != part.class_name:
                self.note("labels with blanks around them, taken without these", part.where)
                part = part._replace(class_name=name)
            groups.setdefault(index if part.group is None else (part.class_name, part.group), []).append(part)

        def make(group: list[Part]) -> Iterator[FoundObject]:
            if item := make_object(group, image_size):
                yield item
            else:
                self.note("objects that cover no pixel, passed over", group[0].where)

        return self.sound([*faults, *each(groups.values(), make)])

    def declare(self, names: Mapping[int, str]) -> None:
        """Take the classes that a source declares, by category id; blanks around names go, as around labels."""
        self.note("classes with blanks around their names", *(name for name in names.values() if name != name.strip()))
        self.class_names = {number: name.strip() for number, name in names.items()}

    def sound(self, items: Iterable[T | DatasetError]) -> list[T]:
        """Return the objects of an image, and keep the errors as faults; the first is raised where nothing else is."""
        found = list(items)
        faults = [item for item in found if isinstance(item, DatasetError)]
        if faults and len(faults) == len(found):
            raise faults[0]
        self.faults += map(str, faults)
        return [item for item in found if not isinstance(item, DatasetError)]

    def json_files(self, source: Path, is_own: Callable[[Any], bool], tool: str) -> Iterator[tuple[Path, Any]]:
        """Yield the JSON files at or below `source` that are the tool's, with what they hold.

        The others are counted, and those that are no JSON left out. DatasetError where there are none.
        """
        found = False
        for path in self.label_files(source, ".json"):
            try:
                content = read_json(path)
            except DatasetError as error:
                self.left_out.append(str(error))
                continue
            if is_own(content):
                found = True
                yield path, content
            else:
                self.note(f"JSON files that are not {tool}'s, passed over", path)
        if not found:
            reason = "".join(f" ({sentence})" for sentence in self.left_out[:1])
            raise DatasetError(f"There are no JSON files of {tool} at '{source}'{reason}; check the path.")


def each(entries: Iterable[S], read: Callable[[S], Iterable[T]]) -> Iterator[T | DatasetError]:
    """Yield what `read` makes of each entry of a label; the error of one does not end the others."""
    for entry in entries:
        try:
            yield from read(entry)
        except DatasetError as error:
            yield error


def encode_mask(mask: NDArray[np.bool_]) -> RunLengths:
    """Return the run lengths of a mask, [H, W]."""
    runs: RunLengths = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return runs


def encode_numbers(numbers: NDArray[Any]) -> Iterator[tuple[int, RunLengths]]:
    """Yield each number above 0 that stands in `numbers`, [H, W], in ascending order, with its run lengths.

    The work is that of one sorting, however many objects there are: microscopy has thousands in an image.
    """
    height, width = numbers.shape
    flat = numbers.ravel(order="F")
    pixels = np.flatnonzero(flat)
    pixels = pixels[np.argsort(flat[pixels], kind="stable")]
    values, starts = np.unique(flat[pixels], return_index=True)
    for value, own in zip(values.tolist(), np.split(pixels, starts)[1:], strict=True):
        breaks = np.flatnonzero(np.diff(own) != 1)
        first, last = own[np.append(0, breaks + 1)], own[np.append(breaks, -1)] + 1
        yield value, encode_ends(np.stack((first, last), axis=1).ravel(), (height, width))


def make_object(parts: list[Part], image_size: tuple[int, int]) -> FoundObject | None:
    """Return the object that parts make: polygons if all are, else all their pixels; None where it has no pixel.

    DatasetError where the loader would refuse a polygon, such as one far outside the image, (H, W).
    """
    class_name, _, where, _, iscrowd = parts[0]
    runs = [part.area for part in parts if isinstance(part.area, dict)]
    rows = [np.round(part.area, DECIMALS).ravel().tolist() for part in parts if not isinstance(part.area, dict)]
    if rows:
        # Before anything is drawn: pycocotools takes gigabytes for a coordinate of 1e9, and NaN hangs it.
        parse_segmentation({"segmentation": rows}, where, ImageRecord(0, where, *image_size))
        runs.append(coco_mask.merge(coco_mask.frPyObjects(rows, *image_size)))
    whole = coco_mask.merge(runs) if len(runs) > 1 else runs[0]
    area = int(coco_mask.area(whole))
    if not area:
        return None
    if len(rows) < len(parts):
        box = coco_mask.toBbox(whole)
        segmentation: Any = {"size": list(whole["size"]), "counts": whole["counts"].decode()}
    else:
        corners = np.clip(np.concatenate(rows).reshape(-1, 2), 0, image_size[::-1])
        low, high = corners.min(axis=0), corners.max(axis=0)
        box, segmentation = np.round([*low, *(high - low)], DECIMALS), rows
    annotation = {"iscrowd": int(iscrowd), "bbox": box.tolist(), "area": area, "segmentation": segmentation}
    return FoundObject(class_name, annotation)


def name_below(folder: Path, path: Path) -> str | None:
    """Return `path` relative to `folder`, with forward slashes; None where it leads elsewhere."""
    try:
        return Path(os.path.abspath(path)).relative_to(os.path.abspath(folder)).as_posix()
    except ValueError:
        return None


def label_stem(image: str, folder: str) -> str:
    """Return the name of an image's label without its suffix: of its folders, the last "images" is called `folder`."""
    before, found, after = f"/{os.path.splitext(image)[0]}".rpartition("/images/")
    return f"{before}/{folder}/{after}"[1:] if found else after[1:]


def is_text(value: object) -> bool:
    """Tell whether this is text that can be written and printed: no control characters, no bytes that are not text."""
    return isinstance(value, str) and value != "" and not any(unicodedata.category(x) in ("Cc", "Cs") for x in value)


def check(is_right: bool, where: object, name: str, expected: str, found: object) -> None:
    """Raise a DatasetError on a field of a label file unless it is right."""
    if not is_right:
        raise DatasetError(f"'{name}' of {where} must be {expected}, not {brief(found)}; correct it.")


def numbers_of(entry: Mapping[str, Any], keys: Iterable[str], where: object) -> list[float]:
    """Return these fields of an entry of a label file; DatasetError where one is no finite number."""
    found = [entry.get(key) for key in keys]
    check(all(map(is_number, found)), where, ", ".join(keys), "finite numbers", found)
    return [float(number) for number in found]  # type: ignore[arg-type]


def points_of(entry: Mapping[str, Any], where: object) -> Polygon:
    """Return the "points" of an entry of a label file, [M, 2]; DatasetError where they are not pairs of numbers."""
    pairs = entry["points"] if isinstance(entry.get("points"), list) else [entry.get("points")]
    is_right = all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in pairs)
    check(is_right, where, "points", "a list of [x, y] in finite numbers", pairs)
    return np.array(pairs, np.float64).reshape(-1, 2)


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; DatasetError where it cannot be read or is none."""
    return read_labels(path, json.loads, "valid JSON")


def read_labels(path: Path, parse: Callable[[bytes], T], kind: str) -> T:
    """Return what `parse` makes of a label file; DatasetError where it cannot be read or is not of its `kind`."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"Cannot read {path}: {error.strerror}; restore it, or see to its permissions.") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not {kind} ({error}); save it again.") from None
