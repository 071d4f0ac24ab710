"""COCO panoptic: a PNG whose colours number the segments of an image, and JSON that says what they are."""

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolact.data.annotations import parse_categories, parse_image, parse_whole
from yolact.data.images import read_size
from yolact.data.mending import KINDS, Ids, Mended
from yolact.errors import DatasetError, UserError
from yolact.tools.convert.coco import is_coco, near_folders, split_of
from yolact.tools.convert.common import Conversion, FoundImage, Part, RunLengths, check, each, encode_numbers
from yolact.tools.convert.finding import Images
from yolact.tools.convert.mask_files import MASK_SUFFIXES, read_values

TOOL = "COCO panoptic"
MOST = 20  # annotations by which the folder of the PNGs is searched


def is_panoptic(content: Any) -> bool:
    """Tell whether a JSON file has the three lists, and segments_info in its annotations."""
    return is_coco(content, panoptic=True)


class Job(NamedTuple):
    """What the reading of one image needs."""

    path: Path  # of the JSON file
    entry: dict[str, Any]  # of the annotation
    image: Any  # its entry, or None
    categories: dict[int, str]  # names by id, empty for what is no thing
    mask: str  # the PNG, below the folder of the images
    near: list[str]  # folders where the images may lie


def read_panoptic(source: Path, folder: Path | None = None) -> Conversion:
    """Read a JSON file, or those below a folder; images and PNGs lie below `folder`, or the source's.

    The segments of things become objects; isthing stands in the categories. DatasetError where no image can be used,
    UserError where two files contradict each other.
    """
    conversion = Conversion.of(source, folder)
    pngs = conversion.list_files(conversion.folder, MASK_SUFFIXES)
    jobs: dict[str, Job] = {}
    names: dict[int, str] = {}
    for path, content in conversion.json_files(source, is_panoptic, TOOL):
        declared = parse_categories(content["categories"], path)
        stuff = {entry["id"] for entry in content["categories"] if entry.get("isthing", 1) == 0}
        if stuff == {*declared.ids}:  # as datumaro writes
            conversion.note("files in which no class is a thing (isthing), so that all are taken as such", path)
            stuff = set()
        pairs = zip(declared.ids, declared.names, strict=True)
        categories = {number: "" if number in stuff else name for number, name in pairs}
        if any(name and names.setdefault(number, name) != name for number, name in categories.items()):
            raise UserError(f"The categories of {path} contradict another file of '{source}'; convert them one by one.")
        entries = [entry for entry in content["annotations"] if isinstance(entry, dict)]
        images, mended = [entry for entry in content["images"] if isinstance(entry, dict)], Mended(list)
        ids = Ids(images, mended)
        for entry in images:
            ids.declare(entry, f"an image of {path}")
        by_id = {entry["id"]: entry for entry in images if type(entry.get("id")) is int}
        below, near = _mask_folder(conversion, pngs, entries, path), near_folders(conversion, path)
        for index, entry in enumerate(entries):
            where = f"annotations[{index}] of {path}"
            number = ids.of_annotation(entry.get("image_id"), where)
            image = by_id.get(number) if type(number) is int else None
            jobs[where] = Job(path, entry, image, categories, posixpath.join(below, _png_name(entry)), near)
        for kind, places in mended.items():
            conversion.note(KINDS[kind], *places)
    files = Images(conversion, {job.mask for job in jobs.values()})
    known = {*pngs}

    def read(where: str, job: Job) -> FoundImage:
        given = job.entry.get("image_id")
        check(job.image is not None, where, "image_id", "the id of an image that 'images' lists", given)
        check(job.mask in known, where, "file_name", f"that of a PNG below '{conversion.folder}'", job.mask)
        image = parse_image(job.image, f"the image of {where}")
        name = files.find(image.file_name.replace("_gtFine_left", "_left"), where, job.near)  # of cityscapesscripts
        size = image.height, image.width
        read_size(conversion.folder / name, size)
        runs = dict(encode_numbers(_segment_numbers(conversion.folder / job.mask, size)))
        segments: Any = job.entry.get("segments_info")
        check(isinstance(segments, list), where, "segments_info", "a list", segments)
        unknown = len(runs.keys() - _numbers(job.entry))
        conversion.note("areas that segments_info does not list, passed over", *[where] * unknown)
        numbered = [(segment, f"segments_info[{index}] of {where}") for index, segment in enumerate(segments)]
        parts = each(numbered, lambda item: _read_segment(conversion, *item, job.categories, runs))
        return FoundImage(name, size, conversion.objects(parts, size), split_of(job.path, source))

    conversion.collect(jobs, read)
    conversion.declare(dict(sorted(names.items())))
    conversion.note("images that no file lists, left out", *files.unused())
    return conversion


def _png_name(entry: dict[str, Any]) -> str:
    return str(entry.get("file_name")).replace("\\", "/")


def _numbers(entry: dict[str, Any]) -> set[int]:
    """Return the numbers of an annotation's segments."""
    segments = entry.get("segments_info")
    ids = [found.get("id") for found in segments if isinstance(found, dict)] if isinstance(segments, list) else []
    return {number for number in ids if type(number) is int}


def _mask_folder(conversion: Conversion, pngs: list[str], entries: list[dict[str, Any]], path: Path) -> str:
    """Return the folder of the PNGs, "" for that of the images; numbers tell it from one with images of equal names.

    DatasetError where there is no file in which numbers of an annotation's segments stand.
    """
    for entry in entries[:MOST]:
        given, wanted = _png_name(entry), _numbers(entry)
        agreements: dict[str, float] = {}
        for name in (name for name in pngs if f"/{name}".endswith(f"/{given}")):
            with suppress(DatasetError):
                found = {*np.unique(_segment_numbers(conversion.folder / name)).tolist()}
                agreements[name] = len(found & wanted) / len(found | wanted)
        best = max(agreements, key=lambda name: agreements[name], default="")
        if best and agreements[best]:
            return best[: -len(given)].rstrip("/")
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
    conversion: Conversion, segment: Any, where: str, categories: dict[int, str], runs: dict[int, RunLengths]
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
