"""A conversion into COCO's format: the split, the annotation files, and the pictures beside them."""

import hashlib
import posixpath
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from yolact.data.annotations import parse_categories, parse_images
from yolact.data.convert.common import SPLITS, Conversion, FoundPicture, Track, name_below
from yolact.data.convert.objects import coco_content
from yolact.errors import DatasetError
from yolact.output import output_folder, write_json


class WrittenSplit(NamedTuple):
    """Where a split is, as the configuration wants to know it."""

    split: str  # "train", "val", "test", or "" for all
    images: Path
    annotations: Path
    pictures: list[FoundPicture]


def share_out(pictures: list[FoundPicture], share: float, seed: int) -> dict[str, list[FoundPicture]]:
    """Split pictures into "train" and "val", each with at least one.

    Each picture is placed by its name and the seed alone, in whatever order they are read.

    Args:
        pictures: two or more.
        share: of them to validate on, between 0 and 1.
        seed: another one gives another split.

    Raises:
        DatasetError: there are fewer than two pictures.
    """
    if len(pictures) < 2:
        raise DatasetError(f"{len(pictures)} picture cannot be split; leave --val-share out or add pictures.")
    ranked = sorted(pictures, key=lambda picture: hashlib.sha256(f"{seed} {picture.name}".encode()).digest())
    count = min(max(round(len(pictures) * share), 1), len(pictures) - 1)
    chosen = {picture.name for picture in ranked[:count]}
    return {
        "train": [picture for picture in pictures if picture.name not in chosen],
        "val": [picture for picture in pictures if picture.name in chosen],
    }


def check_output(folder: Path, output: Path, copy: bool) -> None:
    """Refuse an output folder before anything is read.

    Args:
        folder: that is read.
        output: that is to be written.
        copy: whether pictures will be written too.

    Raises:
        DatasetError: the output lies within what is read, or what might be written is there already.
    """
    if name_below(folder.resolve(), output.resolve()) is not None:
        raise DatasetError(f"The output folder '{output}' lies within the source '{folder}'; give another one.")
    for split in ("", *SPLITS):
        for path in (_annotations(output, split), *([_pictures(output, split)] if copy else [])):
            if path.exists():
                raise DatasetError(f"'{path}' exists already and is left as it is; remove it or give another --output.")


def _annotations(output: Path, split: str) -> Path:
    return output / (f"instances_{split}.json" if split else "instances.json")


def _pictures(output: Path, split: str) -> Path:
    return output / (split or "pictures")


def write_conversion(conversion: Conversion, output: Path, copy: bool, track: Track) -> list[WrittenSplit]:
    """Write the annotation files and, unless `copy` is False, the pictures; all of it or nothing.

    Args:
        conversion: what to write.
        output: takes instances_train.json and the folder train for the split "train", and so on, instances.json and
            the folder pictures for "".
        copy: False leaves the pictures where they are; the annotation files then name them relative to the folder that
            holds them all.
        track: goes through the pictures that are copied.

    Raises:
        DatasetError: there are no objects, a picture cannot be copied, or as `check_output`.
        UserError: the output cannot be written.
    """
    check_output(conversion.folder, output, copy)
    _check_objects(conversion)
    if not copy:
        _check_files(conversion)
    written = [_place(conversion, split, output, copy) for split in conversion.splits]
    with output_folder(output), tempfile.TemporaryDirectory(prefix=".unfinished-", dir=output) as temporary:
        for item in written:
            _write_split(item, conversion, Path(temporary), copy, track)
        # The annotation files come last: where they stand, all pictures are there.
        for path in sorted(Path(temporary).iterdir(), key=lambda path: path.is_file()):
            path.rename(output / path.name)
    return written


def _check_objects(conversion: Conversion) -> None:
    pictures = [picture for split in conversion.splits.values() for picture in split]
    if not any(picture.objects for picture in pictures):
        notes = conversion.notes
        found = [f"; it has {n} {kind}, the first: {notes.examples[kind]}" for kind, n in notes.counts.most_common(1)]
        raise DatasetError(
            f"'{conversion.folder}' has {len(pictures)} pictures but no object with a mask{''.join(found)}; label "
            "some, or give another folder."
        )


def _check_files(conversion: Conversion) -> None:
    for picture in (picture for split in conversion.splits.values() for picture in split):
        if picture.embedded:
            raise DatasetError(
                f"The picture '{picture.name}' stands only within its label file, so that the pictures must be copied; "
                "leave --no-copy out."
            )


def _place(conversion: Conversion, split: str, output: Path, copy: bool) -> WrittenSplit:
    pictures = conversion.splits[split]
    images = _pictures(output, split) if copy else conversion.folder / _common_folder(pictures)
    return WrittenSplit(split, images, _annotations(output, split), pictures)


def _common_folder(pictures: list[FoundPicture]) -> str:
    return posixpath.commonpath([posixpath.dirname(picture.name) for picture in pictures])


def _write_split(item: WrittenSplit, conversion: Conversion, folder: Path, copy: bool, track: Track) -> None:
    common = _common_folder(item.pictures)
    names = {picture.name: posixpath.relpath(picture.name, common or ".") for picture in item.pictures}
    rows = ((names[picture.name], picture.image_size, picture.objects) for picture in item.pictures)
    content = coco_content(rows, conversion.class_names)
    parse_images(content["images"], item.annotations)  # what the loader would refuse is refused now
    parse_categories(content["categories"], item.annotations)
    for picture in track(item.pictures) if copy else ():
        _copy(picture, conversion.folder, folder / item.images.name / names[picture.name])
    write_json(content, folder / item.annotations.name)


def _copy(picture: FoundPicture, folder: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if picture.embedded:
            target.write_bytes(picture.embedded())
        else:
            shutil.copyfile(folder / picture.name, target)
    except OSError as error:
        raise DatasetError(
            f"Cannot copy the picture '{picture.name}' to '{target}': {error.strerror}; make room, see to its "
            "permissions, or leave the pictures where they are (--no-copy)."
        ) from None
