"""Pascal VOC 2012's segmentation pictures as a data set in COCO's format.

VOC gives two indexed pictures for each photograph: SegmentationObject numbers the objects and SegmentationClass gives
the class of each pixel. Both use 255 for void, a band along the outlines that belongs to nobody.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.data.class_lists import VOC_CATEGORY_IDS, VOC_CLASSES
from yolact.errors import DatasetError
from yolact.tools.convert.mask_files import decode_values
from yolact.tools.convert.objects import coco_content, encode_mask, pixel_object

VOID = 255


class VocObject(NamedTuple):
    """One object of a VOC picture."""

    category_id: int  # 1..20
    mask: NDArray[np.bool_]  # [H, W], without void


def read_split(folder: Path, split: str) -> list[str]:
    """Return the picture names that ImageSets/Segmentation/<split>.txt lists.

    Raises:
        DatasetError: the list is missing, empty or wrong.
    """
    return read_names(folder / "ImageSets" / "Segmentation" / f"{split}.txt", "unpack VOC 2012 again")


def read_names(path: Path, advice: str) -> list[str]:
    """Return the picture names that a text file lists, without folders and endings; `advice` ends error messages.

    Raises:
        DatasetError: the file is missing or empty, repeats a name, or has one that could leave the folder.
    """
    try:
        names = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise DatasetError(f"Cannot read the list of pictures {path} ({error.strerror}); {advice}.") from None
    except ValueError:
        raise DatasetError(f"The list of pictures {path} is not text; {advice}.") from None
    if not names:
        raise DatasetError(f"{path} lists no pictures; {advice}.")
    for name, count in Counter(names).items():
        if count > 1 or not re.fullmatch(r"\w+", name, re.ASCII):
            fault = f"{count} times" if count > 1 else "which is no name such as 2008_000002"
            raise DatasetError(f"{path} lists {name!a}, {fault}; {advice}.")
    return names


def read_objects(folder: Path, name: str) -> tuple[tuple[int, int], list[VocObject]]:
    """Return the size (H, W) of a picture and its objects, in the order of their numbers.

    Raises:
        DatasetError: one of the two indexed pictures is missing, damaged, or of another size than the other.
    """
    numbers = read_indices(folder / "SegmentationObject" / f"{name}.png")
    classes = read_indices(folder / "SegmentationClass" / f"{name}.png")
    if numbers.shape != classes.shape:
        raise DatasetError(
            f"SegmentationObject/{name}.png is {numbers.shape[::-1]} and SegmentationClass/{name}.png "
            f"{classes.shape[::-1]} pixels (width, height), expected the same; unpack VOC 2012 again."
        )
    return (numbers.shape[0], numbers.shape[1]), list(_split_objects(numbers, classes))


def _split_objects(numbers: NDArray[np.uint8], classes: NDArray[np.uint8]) -> Iterator[VocObject]:
    labelled = (classes >= 1) & (classes <= len(VOC_CLASSES))
    for number in np.unique(numbers[labelled]):
        if number not in (0, VOID):
            mask = (numbers == number) & labelled
            # An object has one class; at the border to another one, a few of its pixels may be marked otherwise.
            yield VocObject(int(np.bincount(classes[mask]).argmax()), mask)


def read_indices(path: Path) -> NDArray[np.uint8]:
    """Return the indices of an indexed picture, uint8 [H, W]. OpenCV gives colours, so VOC's palette is undone.

    Raises:
        DatasetError: the file cannot be read, or has a colour that VOC's palette lacks.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"Cannot read {path} ({error.strerror}); unpack VOC 2012 again.") from None
    picture = decode_values(data, str(path), with_palette=True)
    if picture.dtype != np.uint8:
        raise DatasetError(f"{path} holds {picture.dtype} values, expected 8 bits; unpack VOC 2012 again.")
    if picture.ndim == 2:  # indices without a palette
        return picture
    palette = voc_palette()
    keys = palette.astype(np.int32) @ (1 << 16, 1 << 8, 1)
    order = np.argsort(keys)
    found = picture[..., 2::-1].astype(np.int32) @ (1 << 16, 1 << 8, 1)
    indices = order[np.searchsorted(keys, found, sorter=order).clip(max=255)]
    if (keys[indices] != found).any():
        raise DatasetError(f"{path} has colours that are not of VOC's palette; unpack VOC 2012 again.")
    return indices.astype(np.uint8)


def voc_palette() -> NDArray[np.uint8]:
    """Return VOC's colours, uint8 [256, 3] RGB: the bits of the index, dealt to the channels from the top bit down."""
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((index >> channel) & 1).astype(np.uint8) << (7 - bit)
        index = index >> 3
    return palette


def convert_split(folder: Path, names: Iterable[str]) -> tuple[dict[str, Any], Counter[str]]:
    """Return the COCO file of the named pictures, with RLE masks, and the number of objects of each class.

    Raises:
        DatasetError: a file is missing or damaged.
    """
    rows = []
    counts: Counter[str] = Counter()
    for name in names:
        size, objects = read_objects(folder, name)
        if not (folder / "JPEGImages" / f"{name}.jpg").is_file():
            raise DatasetError(f"{folder / 'JPEGImages' / name}.jpg is missing; unpack VOC 2012 again.")
        found = [pixel_object(VOC_CLASSES[item.category_id - 1], encode_mask(item.mask)) for item in objects]
        rows.append((f"{name}.jpg", size, [item for item in found if item is not None]))
        counts.update(item.class_name for item in rows[-1][2])
    return coco_content(rows, dict(zip(VOC_CATEGORY_IDS, VOC_CLASSES, strict=True))), counts
