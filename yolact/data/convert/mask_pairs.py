"""Pictures with their masks: one picture of object numbers for each, or a folder with one mask for each object."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolact.data.convert.common import (
    Conversion,
    FoundPicture,
    Notes,
    Track,
    collect,
    list_files,
    name_below,
    own_splits,
    swap_folder,
)
from yolact.data.convert.numbered import foreground, read_numbers, read_values
from yolact.data.convert.objects import FoundObject, encode_mask, encode_numbers, pixel_object
from yolact.data.images import SUFFIXES, read_image
from yolact.errors import DatasetError

MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp"})  # JPEG changes the numbers
CLASS_STEP = 1000  # with a class map, a pixel holds class * 1000 + number, as in Cityscapes


class MaskClasses(NamedTuple):
    """How the objects of mask pictures get their classes."""

    name: str = "object"  # of the one class
    by_number: dict[int, str] | None = None  # or names by the class number in the pixels; others are passed over

    def names(self) -> dict[int, str]:
        """Return the class names by category id."""
        return dict(enumerate(self.by_number.values() if self.by_number else [self.name], start=1))


class _Pair(NamedTuple):
    name: str  # of the picture, below the pictures' folder
    picture: Path
    masks: list[Path]  # one of numbers, or one for each object
    numbered: bool

    def __str__(self) -> str:
        return str(self.masks[0])


def read_masks(
    source: Path, classes: MaskClasses, track: Track, pictures: Path | None = None, masks: Path | None = None
) -> Conversion:
    """Read pictures and their masks.

    The masks of `images/a.jpg` are `masks/a.png`, whose pixels number the objects, or all files in `masks/a/`, one for
    each object; both folders may have subfolders and lie in one. Where `images` holds a single picture, as in
    `<id>/images/<id>.png`, they may also be all files in `<id>/masks/`.

    Args:
        source: the folder that holds all of it.
        classes: what the objects are.
        track: shows how far it is.
        pictures: the folder of the pictures, if not "images"; then `masks` is needed, and `source` is not looked at.
        masks: the folder of the masks.

    Raises:
        DatasetError: there are no pictures or no masks for them, or none can be used.
    """
    notes = Notes()
    if pictures is not None and masks is not None:
        folder, mask_folder = pictures, masks
        names = [n for n in list_files(folder, SUFFIXES, notes) if name_below(masks, folder / n) is None]
        mask_names = list_files(masks, MASK_SUFFIXES, notes)
        stems = {name: os.path.splitext(name)[0] for name in names}
    else:
        folder = mask_folder = source
        names = _below(source, "images", SUFFIXES, notes)
        stems = {name: swap_folder(os.path.splitext(name)[0], "images", "masks") for name in names}
        mask_names = _below(source, "masks", MASK_SUFFIXES, notes)
    pairs = list(_pair(stems, mask_names, folder, mask_folder, notes))
    if not pairs:
        raise DatasetError(_nothing(stems, folder, mask_folder))
    found = collect(pairs, lambda pair: _read_pair(pair, classes, notes), notes, track)
    return Conversion(folder, own_splits(found), classes.names(), notes)


def _below(source: Path, kind: str, suffixes: frozenset[str], notes: Notes) -> list[str]:
    return [name for name in list_files(source, suffixes, notes) if kind in name.split("/")[:-1]]


def _nothing(stems: dict[str, str], folder: Path, mask_folder: Path) -> str:
    if not stems:
        return f"There are no pictures below '{folder}' (in folders named 'images', unless --pictures says where)."
    name, stem = next(iter(stems.items()))
    return (
        f"None of the {len(stems)} pictures below '{folder}' has a mask (PNG, TIFF or BMP), such as "
        f"'{mask_folder / stem}.png' for '{name}'; check the names."
    )


def _pair(
    stems: dict[str, str], mask_names: list[str], folder: Path, mask_folder: Path, notes: Notes
) -> Iterator[_Pair]:
    by_stem, by_folder, in_folder = defaultdict(list), defaultdict(list), defaultdict(list)
    for mask in mask_names:
        by_stem[os.path.splitext(mask)[0]].append(mask)
        by_folder[mask.rpartition("/")[0]].append(mask)
    for name in stems:
        in_folder[name.rpartition("/")[0]].append(name)
    unused = set(mask_names)
    for name, stem in stems.items():
        place, alone = stem.rpartition("/")[0], len(in_folder[name.rpartition("/")[0]]) == 1
        chosen = by_stem[stem] or by_folder[stem]
        if not chosen and alone and place.endswith("/masks"):
            chosen = by_folder[place]
        unused -= set(chosen)
        if len(by_stem[stem]) > 1:
            notes.left_out.append(f"The picture '{name}' has {len(chosen)} masks, {' and '.join(chosen)}; remove one.")
        elif chosen:
            yield _Pair(name, folder / name, [mask_folder / mask for mask in chosen], bool(by_stem[stem]))
        else:
            notes.add("pictures without a mask, left out", name)
    for mask in sorted(unused):
        notes.add("masks without a picture, passed over", mask)


def _read_pair(pair: _Pair, classes: MaskClasses, notes: Notes) -> FoundPicture:
    """Return a picture with its objects.

    Raises:
        DatasetError: a file is broken, or a mask is not of the picture's size.
    """
    if not pair.numbered and classes.by_number is not None:
        raise DatasetError(
            f"The masks of '{pair.name}' are a folder, but --class-map is for masks of numbers; drop it."
        )
    objects: list[FoundObject] = []
    size = None
    for path in pair.masks:
        values = read_numbers(path) if pair.numbered else read_values(path)
        size = size or _picture_size(pair.picture, values, path)
        if values.shape[:2] != size:
            raise _size_error(pair.picture, size, values, path)
        objects += _numbered(values, path, classes, notes) if pair.numbered else _single(values, path, classes, notes)
    assert size is not None
    return FoundPicture(pair.name, size, objects)


def _picture_size(picture: Path, values: NDArray[Any], mask: Path) -> tuple[int, int]:
    """Return the picture's size, turned as its EXIF orientation says unless the mask is of the stored picture."""
    height, width, _ = read_image(picture).shape
    if values.shape[:2] == (width, height) != (height, width):
        try:
            height, width, _ = read_image(picture, (width, height)).shape
        except DatasetError:
            raise _size_error(picture, (height, width), values, mask) from None
    return height, width


def _size_error(picture: Path, size: tuple[int, int], values: NDArray[Any], mask: Path) -> DatasetError:
    return DatasetError(
        f"The mask {mask} is {values.shape[1]} x {values.shape[0]} pixels (width x height), but its picture {picture} "
        f"{size[1]} x {size[0]}; make them equal."
    )


def _numbered(numbers: NDArray[Any], path: Path, classes: MaskClasses, notes: Notes) -> Iterator[FoundObject]:
    runs_of = list(encode_numbers(numbers))
    if (
        len(runs_of) == 1
        and classes.by_number is None
        and cv2.connectedComponents((numbers > 0).astype(np.uint8))[0] > 2
    ):
        notes.add("masks with a single number on several separate areas, taken as one object", str(path))
    for number, runs in runs_of:
        name: str | None = classes.name
        if classes.by_number is not None:
            name = classes.by_number.get(number // CLASS_STEP)
        item = None if name is None else pixel_object(name, runs)
        if item is None:
            notes.add("numbers whose class --class-map does not name, passed over", f"{number} in {path}")
        else:
            yield item


def _single(values: NDArray[Any], path: Path, classes: MaskClasses, notes: Notes) -> Iterator[FoundObject]:
    item = pixel_object(classes.name, encode_mask(foreground(values)))
    if item is None:
        notes.add("objects that cover no pixel, passed over", str(path))
    else:
        yield item
