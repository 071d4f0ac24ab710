"""Images with their masks: one file of object numbers for each image, or a folder with one mask for each object."""

import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolact.data.images import MAX_PIXELS, SUFFIXES, header_size, read_size
from yolact.errors import DatasetError
from yolact.tools.convert import common
from yolact.tools.convert.common import Conversion, FoundImage, Part, RunLengths

MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp"})  # JPEG changes the numbers
MOST_GRAYS = 10  # numbers of a mask of which 255, the white of binary masks, is the most frequent
CLASS_STEP = 1000  # of a class map, as in Cityscapes


def read_masks(
    folder: Path,
    masks: Path | None = None,
    class_name: str = "object",
    class_map: dict[int, str] | None = None,
    split: bool = False,
) -> Conversion:
    """Read images and their masks from one folder, or from the folder of the images and that of the masks.

    The masks of `images/a.jpg` are `masks/a.png`, whose pixels number the objects, or all files in `masks/a/`, one for
    each object; both folders may have subfolders. Where `images` holds a single image, as in `<id>/images/<id>.png`,
    they may also be all files in `<id>/masks/`. With a class map, {number: name}, pixels hold class * 1000 + number, or
    the class alone for a crowd region, and objects of other classes are passed over. With `split`, what is one number
    only for want of others, that of a mask with a single number or such a class, is an object for each of its areas, of
    pixels that touch at sides or corners. DatasetError where no image has masks that can be used.
    """
    conversion, mask_folder = Conversion(folder), masks or folder
    names, mask_names = conversion.list_files(folder, SUFFIXES), conversion.list_files(mask_folder, MASK_SUFFIXES)
    if masks is None:
        stems = {name: common.label_stem(name, "masks") for name in names if "images" in name.split("/")[:-1]}
        mask_names = [name for name in mask_names if "masks" in name.split("/")[:-1]]
    else:
        outside = (name for name in names if common.name_below(masks, folder / name) is None)
        stems = {name: os.path.splitext(name)[0] for name in outside}
    found = _find_masks(conversion, stems, mask_names)
    targets = {*stems.values()}
    likely = () if found else conversion.list_files(mask_folder, {".jpg", ".jpeg"})
    jpeg = next((name for name in likely if os.path.splitext(name)[0] in targets), None)
    if jpeg:
        raise DatasetError(f"The mask {mask_folder / jpeg} is a JPEG file, which changes numbers; save masks as PNG.")
    conversion.require_labels({name: mask_folder / f"{stem}.png" for name, stem in stems.items()}, found)

    def read(name: str, own: list[str]) -> FoundImage:
        is_numbered = os.path.splitext(own[0])[0] == stems[name]
        if len(own) > 1 and is_numbered:
            raise DatasetError(f"The image '{name}' has several masks, {' and '.join(own)}; remove one.")
        if class_map and not is_numbered:
            raise DatasetError(f"The masks of '{name}' are a folder, but --class-map is for masks of numbers; drop it.")
        height, width = read_size(folder / name)

        def read_mask(mask: str) -> Iterator[Part]:
            nonlocal height, width
            path = mask_folder / mask
            values = read_values(path)
            if values.shape[:2] == (width, height) and mask == own[0]:
                with suppress(DatasetError):  # an image that EXIF turns, while the masks are of the stored one
                    height, width = read_size(folder / name, (width, height))
            if values.shape[:2] != (height, width):
                raise DatasetError(
                    f"The mask {path} is {values.shape[1]} x {values.shape[0]} pixels (width x height), but its image "
                    f"{name} {width} x {height}; make them equal."
                )
            if is_numbered:
                yield from _numbered_parts(conversion, values, path, class_name, class_map or {}, split)
            else:
                yield Part(class_name, common.encode_mask(foreground(values)), str(path))

        parts = list(common.each(own, read_mask))  # which may change the size
        return FoundImage(name, (height, width), conversion.objects(parts, (height, width)))

    conversion.collect(found, read)
    conversion.declare(dict(enumerate(class_map.values() if class_map else [class_name], start=1)))
    return conversion


def _find_masks(conversion: Conversion, stems: dict[str, str], mask_names: list[str]) -> dict[str, list[str]]:
    """Return the masks of each image that has some; note what has none. `stems` are the masks' names without suffix."""
    by_stem, by_folder = defaultdict(list), defaultdict(list)
    for mask in mask_names:
        by_stem[os.path.splitext(mask)[0]].append(mask)
        by_folder[os.path.dirname(mask)].append(mask)
    in_folder = Counter(map(os.path.dirname, stems))
    found = {}
    for name, stem in stems.items():
        chosen, parent = by_stem[stem] or by_folder[stem], os.path.dirname(stem)
        if not chosen and in_folder[os.path.dirname(name)] == 1 and parent.endswith("/masks"):
            chosen = by_folder[parent]
        if chosen:
            found[name] = chosen
        else:
            conversion.note("images without a mask, left out", name)
    conversion.note("masks without an image, passed over", *sorted(set(mask_names).difference(*found.values())))
    return found


def _numbered_parts(
    conversion: Conversion, values: NDArray[Any], path: Path, class_name: str, class_map: dict[int, str], split: bool
) -> Iterator[Part]:
    """Yield the objects of a mask whose gray values or palette indices, of up to 32 bits, number them."""
    numbers = values[..., 0] if values.ndim == 3 else values
    has_colours = values.ndim == 3 and bool((values != values[..., :1]).any())
    if has_colours or numbers.dtype.kind not in "ui" or numbers.min() < 0:
        found = "colours" if has_colours else f"{numbers.dtype} values from {numbers.min():g} on"
        raise DatasetError(
            f"The mask {path} has {found}, expected whole numbers of the objects, 0 for the background, as gray values "
            f"or a palette; save it so{', or give the JSON that goes with COCO panoptic' * has_colours}."
        )
    objects = list(common.encode_numbers(numbers))
    is_white = bool(objects) and objects[-1][0] == 255 and np.bincount(numbers.ravel())[1:].argmax() == 254
    if is_white and len(objects) > MOST_GRAYS:
        conversion.note("masks of 0 and 255 with other grays at the edges, each taken as an object; remove them", path)
    for number, runs in objects:
        where = f"{number} in {path}"
        is_class = number < CLASS_STEP and number in class_map
        name = class_map.get(number if is_class else number // CLASS_STEP) if class_map else class_name
        is_single = len(objects) == 1 and not class_map
        areas = _areas(numbers == number) if is_single or (is_class and split) else [runs]
        if name is None:
            conversion.note("numbers whose class --class-map does not name, passed over", where)
        elif split:
            yield from (Part(name, area, str(path)) for area in areas)
        else:
            if is_class:
                conversion.note(
                    "classes without numbers of objects, taken as crowd regions; --split splits them", where
                )
            elif len(areas) > 1:
                conversion.note("masks of one number on separate areas, taken as one object; --split splits them", path)
            yield Part(name, runs, str(path), iscrowd=is_class)


def _areas(mask: NDArray[np.bool_]) -> list[RunLengths]:
    """Return the run lengths of each area of pixels that touch at sides or corners, of a mask [H, W]."""
    areas = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1]
    return [runs for _, runs in common.encode_numbers(areas)]


def read_values(path: Path) -> NDArray[Any]:
    """Return the values of a mask file as `decode_values` does."""
    return decode_values(common.read_labels(path, bytes, "an image"), f"the mask {path}")


def decode_values(data: bytes, where: str) -> NDArray[Any]:
    """Return the values of a mask file, [H, W], or [H, W, 3] BGR where it has colours; of a palette the indices.

    DatasetError where the file is broken or too large; `where` names it.
    """
    size = header_size(data)
    if size and size[0] * size[1] > MAX_PIXELS:
        raise DatasetError(f"Cannot decode {where}: it has more than {MAX_PIXELS:,} pixels, the limit; scale it down.")
    values = None
    with suppress(OSError, SyntaxError, ValueError, cv2.error):
        image = Image.open(io.BytesIO(data)) if size else None
        if image is not None and image.mode == "P":
            values = np.asarray(image)
        elif image is not None:  # Pillow would cut colours of 16 bits to 8
            values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DatasetError(f"Cannot decode {where} ({len(data):,} bytes): it is damaged or no image; replace it.")
    return values[..., :3] if values.ndim == 3 else values  # without transparency


def foreground(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where values of `decode_values` are not 0 (black), bool [H, W]."""
    return np.asarray((np.atleast_3d(values) != 0).any(axis=-1))
