"""COCO panoptic: a PNG whose colours number the segments of an image, and JSON that says what they are."""

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolact.data.annotations import LISTS, parse_categories, parse_image, parse_text, parse_whole
from yolact.data.images import read_image
from yolact.errors import DatasetError, UserError
from yolact.tools.convert.coco import near_folders, split_of
from yolact.tools.convert.common import Conversion, FoundImage, Part, RunLengths, check, each, encode_numbers
from yolact.tools.convert.finding import Images
from yolact.tools.convert.mask_files import MASK_SUFFIXES, read_values

TOOL = "COCO panoptic"
MOST = 20  # annotations by which the folder of the PNGs is searched


def is_panoptic(content: Any) -> bool:
    """Tell whether a JSON file has the three lists, and segments_info in its annotations."""
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in LISTS):
        return False
    return any(isinstance(entry, dict) and "segments_info" in entry for entry in content["annotations"][:1])


def read_panoptic(source: Path, folder: Path | None = None) -> Conversion:
    """Read a JSON file, or those below a folder; images and PNGs lie below `folder`, or the source's.

    The segments of things become objects; isthing stands in the categories. DatasetError where no image can be used.
    """
    conversion = Conversion.of(source, folder)
    jobs: dict[str, tuple[Path, Any, dict[int, Any], dict[int, str], str]] = {}
    masks: set[str] = set()
    names: dict[int, str] = {}
    for path, content in conversion.json_files(source, is_panoptic, TOOL):
        categories = parse_categories(content["categories"], path)
        own = dict(zip(categories.ids, categories.names, strict=True))
        stuff = {entry["id"] for entry in content["categories"] if entry.get("isthing", 1) == 0}
        things = {number: name for number, name in own.items() if number not in stuff}
        if any(names.setdefault(number, name) != name for number, name in things.items()):
            raise UserError(f"The categories of {path} contradict another file of '{source}'; convert them one by one.")
        entries = [entry for entry in content["annotations"] if isinstance(entry, dict)]
        below = _mask_folder(conversion, entries, path)
        images = {
            entry["id"]: entry
            for entry in content["images"]
            if isinstance(entry, dict) and type(entry.get("id")) is int
        }
        for index, entry in enumerate(entries):
            jobs[f"annotations[{index}] of {path}"] = path, entry, images, {**own, **dict.fromkeys(stuff, "")}, below
            masks.add(posixpath.normpath(f"{below}/{entry.get('file_name')}"))
    files = Images(conversion, masks)

    def read(where: str) -> FoundImage:
        path, entry, images, categories, below = jobs[where]
        number = parse_whole(entry, "image_id", where)
        check(number in images, where, "image_id", "the id of an image that 'images' lists", number)
        image = parse_image(images[number], f"image {number} of {path}")
        name = files.find(image.file_name, where, near_folders(conversion, path))
        size = image.height, image.width
        read_image(conversion.folder / name, size)
        numbers = _segment_numbers(conversion.folder / below / parse_text(entry, "file_name", where), size)
        runs = dict(encode_numbers(numbers))
        segments = entry["segments_info"] if isinstance(entry.get("segments_info"), list) else [None]
        known = {found.get("id") for found in segments if isinstance(found, dict) and type(found.get("id")) is int}
        conversion.note("areas that segments_info does not list, passed over", *[where] * len(runs.keys() - known))
        parts = each(
            enumerate(segments),
            lambda item: _read_segment(conversion, item[1], categories, runs, f"segments_info[{item[0]}] of {where}"),
        )
        return FoundImage(name, size, conversion.objects(parts, size), split_of(path, source))

    conversion.collect(jobs, read)
    conversion.class_names = dict(sorted(names.items()))
    conversion.note("images that no file lists, left out", *files.unused())
    return conversion


def _mask_folder(conversion: Conversion, entries: list[dict[str, Any]], path: Path) -> str:
    """Return the folder of the PNGs, which is known by its numbers, as the images may have the same names.

    DatasetError where there is no file in which numbers of an annotation's segments stand.
    """
    names = conversion.list_files(conversion.folder, MASK_SUFFIXES)
    for entry in entries[:MOST]:
        given, segments = str(entry.get("file_name")).replace("\\", "/"), entry.get("segments_info")
        segments = segments if isinstance(segments, list) else []
        wanted = {found.get("id") for found in segments if isinstance(found, dict) and type(found.get("id")) is int}
        agreements: dict[str, float] = {}
        for name in (name for name in names if f"/{name}".endswith(f"/{given}")):
            with suppress(DatasetError):
                found = {*np.unique(_segment_numbers(conversion.folder / name)).tolist()}
                agreements[name] = len(found & wanted) / len(found | wanted)
        best = max(agreements, key=lambda name: agreements[name], default="")
        if best and agreements[best]:
            return best[: -len(given)].rstrip("/") or "."
    raise DatasetError(f"The PNGs that {path} names are not below '{conversion.folder}'; put their folder there.")


def _segment_numbers(path: Path, image_size: tuple[int, int] | None = None) -> NDArray[np.int64]:
    """Return each pixel's segment, red + 256 * green + 65536 * blue; DatasetError where the file is wrong."""
    values = read_values(path).astype(np.int64)
    numbers = values if values.ndim == 2 else values @ (65536, 256, 1)
    if image_size and numbers.shape != image_size:
        raise DatasetError(
            f"The mask {path} is of {numbers.shape} pixels, but its image {image_size}; make them equal."
        )
    return np.asarray(numbers)


def _read_segment(
    conversion: Conversion, segment: Any, categories: dict[int, str], runs: dict[int, RunLengths], where: str
) -> Iterator[Part]:
    """Yield the object of a segment unless it is of no thing; an empty name in `categories` says so."""
    number, category = parse_whole(segment, "id", where), parse_whole(segment, "category_id", where)
    iscrowd = segment.get("iscrowd", 0)
    check(category in categories, where, "category_id", "the id of a category", category)
    check(iscrowd in (0, 1), where, "iscrowd", "0 or 1", iscrowd)
    if not categories[category]:
        conversion.note("segments of classes that are no things (isthing 0), passed over", where)
    elif number not in runs:
        conversion.note("segments that cover no pixel, passed over", where)
    else:
        yield Part(categories[category], runs[number], where, iscrowd=bool(iscrowd))
