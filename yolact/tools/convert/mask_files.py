"""Images with their masks: one file of object numbers for each image, or a folder with one mask for each object."""

import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolact.data.images import MAX_PIXELS, SUFFIXES, header_size, read_image
from yolact.errors import DatasetError
from yolact.tools.convert.common import Conversion, FoundImage, name_below, own_splits, read_file, swap_folder
from yolact.tools.convert.objects import FoundObject, encode_mask, encode_numbers, pixel_object

MASK_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp"})  # JPEG changes the numbers
CLASS_STEP = 1000  # with a class map, a pixel holds class * 1000 + number, as in Cityscapes


class MaskClasses(NamedTuple):
    """How the objects get their classes: one name for all, or names by the class number in the pixels."""

    name: str = "object"
    by_number: dict[int, str] | None = None  # others are passed over


def read_masks(
    source: Path | None, classes: MaskClasses, images: Path | None = None, masks: Path | None = None
) -> Conversion:
    """Read images and their masks.

    The masks of `images/a.jpg` are `masks/a.png`, whose pixels number the objects, or all files in `masks/a/`, one for
    each object; both folders may have subfolders and lie in one. Where `images` holds a single image, as in
    `<id>/images/<id>.png`, they may also be all files in `<id>/masks/`.

    In place of `source`, `images` and `masks` may give the folders of both. DatasetError where there are no images or
    no masks for them, or none can be used.
    """
    conversion = Conversion(images or source or Path())
    folder, mask_folder = conversion.folder, masks or conversion.folder
    names = conversion.list_files(folder, SUFFIXES)
    mask_names = conversion.list_files(mask_folder, MASK_SUFFIXES)
    if masks is None:
        names = [name for name in names if "images" in name.split("/")[:-1]]
        mask_names = [name for name in mask_names if "masks" in name.split("/")[:-1]]
    else:
        names = [name for name in names if name_below(masks, folder / name) is None]
    found = _find_masks(conversion, names, mask_names, masks is None)
    if not names:
        raise DatasetError(
            f"There are no images below '{folder}' (in folders named 'images', unless --images is given)."
        )
    if not found:
        raise DatasetError(
            f"None of the {len(names)} images below '{folder}' has a mask (PNG, TIFF or BMP), such as "
            f"'{mask_folder / _stem(names[0], masks is None)}.png' for '{names[0]}'; check the names."
        )

    def read(name: str) -> FoundImage:
        is_numbered, own = found[name]
        return _read_image(conversion, name, [mask_folder / mask for mask in own], is_numbered, classes)

    conversion.splits = own_splits(conversion.collect(list(found), read))
    class_names = classes.by_number.values() if classes.by_number else [classes.name]
    conversion.class_names = dict(enumerate(class_names, start=1))
    return conversion


def _stem(name: str, swap: bool) -> str:
    """Return the name of an image's mask without its suffix; `swap` where both kinds lie below one folder."""
    stem = os.path.splitext(name)[0]
    return swap_folder(stem, "images", "masks") if swap else stem


def _find_masks(
    conversion: Conversion, names: list[str], mask_names: list[str], swap: bool
) -> dict[str, tuple[bool, list[str]]]:
    """Return the masks of each image that has some, and whether they are one file of numbers; note what has none."""
    by_stem, by_folder = defaultdict(list), defaultdict(list)
    for mask in mask_names:
        by_stem[os.path.splitext(mask)[0]].append(mask)
        by_folder[os.path.dirname(mask)].append(mask)
    in_folder = Counter(map(os.path.dirname, names))
    unused, found = set(mask_names), {}
    for name in names:
        stem = _stem(name, swap)
        chosen, parent = by_stem[stem] or by_folder[stem], os.path.dirname(stem)
        if not chosen and in_folder[os.path.dirname(name)] == 1 and parent.endswith("/masks"):
            chosen = by_folder[parent]
        unused -= set(chosen)
        if len(by_stem[stem]) > 1:
            conversion.left_out.append(f"The image '{name}' has several masks, {' and '.join(chosen)}; remove one.")
        elif chosen:
            found[name] = bool(by_stem[stem]), chosen
        else:
            conversion.note("images without a mask, left out", name)
    for mask in sorted(unused):
        conversion.note("masks without an image, passed over", mask)
    return found


def _read_image(
    conversion: Conversion, name: str, masks: list[Path], is_numbered: bool, classes: MaskClasses
) -> FoundImage:
    """Return an image with its objects; DatasetError where a file is broken or a mask is not of the image's size."""
    if not is_numbered and classes.by_number is not None:
        raise DatasetError(f"The masks of '{name}' are a folder, but --class-map is for masks of numbers; drop it.")
    objects: list[FoundObject] = []
    height, width, _ = read_image(conversion.folder / name).shape
    for path in masks:
        values = read_numbers(path) if is_numbered else decode_values(read_file(path), f"the mask {path}")
        if values.shape[:2] == (width, height) and path == masks[0]:
            with suppress(DatasetError):  # an image that EXIF turns, while the masks are of the stored one
                height, width, _ = read_image(conversion.folder / name, (width, height)).shape
        if values.shape[:2] != (height, width):
            raise DatasetError(
                f"The mask {path} is {values.shape[1]} x {values.shape[0]} pixels (width x height), but its image "
                f"{name} {width} x {height}; make them equal."
            )
        if is_numbered:
            objects += _numbered_objects(conversion, values, path, classes)
        else:
            objects += conversion.kept(pixel_object(classes.name, encode_mask(foreground(values))), str(path))
    return FoundImage(name, (height, width), objects)


def _numbered_objects(
    conversion: Conversion, numbers: NDArray[Any], path: Path, classes: MaskClasses
) -> Iterator[FoundObject]:
    found = list(encode_numbers(numbers))
    is_single = len(found) == 1 and classes.by_number is None
    if is_single and cv2.connectedComponents((numbers > 0).astype(np.uint8))[0] > 2:
        conversion.note("masks with a single number on several separate areas, taken as one object", str(path))
    for number, runs in found:
        name = classes.name if classes.by_number is None else classes.by_number.get(number // CLASS_STEP)
        if name is None:
            conversion.note("numbers whose class --class-map does not name, passed over", f"{number} in {path}")
        else:
            yield from conversion.kept(pixel_object(name, runs), str(path))


def read_numbers(path: Path) -> NDArray[Any]:
    """Return the numbers of a mask file, integers [H, W]: gray values or palette indices of up to 32 bits.

    DatasetError where it is absent, broken, too large, in colours, or holds fractions or numbers below 0.
    """
    values = decode_values(read_file(path), f"the mask {path}")
    numbers = values[..., 0] if values.ndim == 3 else values
    expected = "whole numbers of the objects, 0 for the background, as gray values or a palette; save it so."
    if values.ndim == 3 and (values != values[..., :1]).any():
        raise DatasetError(f"The mask {path} has colours, expected {expected}")
    if numbers.dtype.kind not in "ui" or numbers.min() < 0:
        raise DatasetError(
            f"The mask {path} holds {numbers.dtype} values from {numbers.min():g} on, expected {expected}"
        )
    return numbers


def decode_values(data: bytes, where: str, *, with_palette: bool = False) -> NDArray[Any]:
    """Return the values of a mask file, [H, W], or [H, W, 3] BGR where it has colours.

    Of a palette these are the indices, or the colours if `with_palette`. DatasetError where the file is broken or too
    large; `where` names it.
    """
    height, width = header_size(data) or (0, 0)
    if height * width > MAX_PIXELS:
        raise DatasetError(f"Cannot decode {where}: it has more than {MAX_PIXELS:,} pixels, the limit; scale it down.")
    values = None
    with suppress(OSError, SyntaxError, ValueError, cv2.error):
        image = Image.open(io.BytesIO(data)) if height else None
        if image is not None and image.mode == "P" and not with_palette:
            values = np.asarray(image)
        elif image is not None:  # Pillow would cut colours of 16 bits to 8
            values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise DatasetError(f"Cannot decode {where} ({len(data):,} bytes): it is damaged or no image; replace it.")
    return values[..., :3] if values.ndim == 3 else values  # without transparency


def foreground(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where values of `decode_values` are not 0 (black), bool [H, W]."""
    mask: NDArray[np.bool_] = values != 0
    return mask.any(axis=-1) if mask.ndim == 3 else mask  # type: ignore[return-value]
