"""COCO's own JSON as others lay it out: Roboflow's folders, LVIS, one file for each split."""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolact.data.annotations import ImageRecord, parse_categories, parse_image, parse_object, parse_whole
from yolact.data.categories import Categories
from yolact.data.coco_file import LISTS
from yolact.data.images import read_size
from yolact.data.mending import KINDS, complete_size, mend
from yolact.errors import DatasetError, UserError
from yolact.text import printable
from yolact.tools.convert.common import DECIMALS, SPLIT_NAME, Conversion, FoundImage, FoundObject, check, each
from yolact.tools.convert.finding import Images

TOOL = "COCO"


def is_coco(content: Any, panoptic: bool = False) -> bool:
    """Tell whether a JSON file has the three lists of COCO's object detection, or those of its panoptic form."""
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in LISTS):
        return False
    return panoptic == any(isinstance(one, dict) and "segments_info" in one for one in content["annotations"][:1])


def read_coco(source: Path, folder: Path | None = None) -> Conversion:
    """Read an annotation file, or those below a folder; the images lie below `folder`, or the source's.

    Polygons, run lengths and category ids stay as they are. Each file is a split where its name or folder is that of
    one. DatasetError where no image can be used, UserError where two files contradict each other.
    """
    conversion = Conversion.of(source, folder)
    images, jobs = Images(conversion), {}
    names: dict[int, str] = {}
    for path, content in conversion.json_files(source, is_coco, TOOL):
        for kind, places in mend(content, None).items():
            conversion.note(KINDS[kind], *(f"{place} of {path}" for place in places))
        categories = parse_categories(content["categories"], path)
        for category_id, name in zip(categories.ids, categories.names, strict=True):
            if names.setdefault(category_id, name) != name:
                raise UserError(
                    f"Category {category_id} is '{printable(names[category_id])}' in one file of '{source}' and "
                    f"'{printable(name)}' in {path}; convert one file at a time."
                )
        objects = _by_image(conversion, content["annotations"], path)
        near = near_folders(conversion, path)
        ids: dict[int, str] = {}
        for index, entry in enumerate(content["images"]):
            where = f"images[{index}] of {path}"
            jobs[where] = path, categories, entry, objects, near
            fields = entry if isinstance(entry, dict) else {}
            images.claim(fields.get("file_name"), near)
            number = fields.get("id")
            if type(number) is int and ids.setdefault(number, where) != where:
                raise DatasetError(f"{where} repeats the id {number}; give each image its own.")
        orphans = [place for number, ones in objects.items() if number not in ids for place, _ in ones]
        conversion.note("annotations of images that are not listed, passed over", *orphans)
    owners: dict[str, Path] = {}

    def read(where: str, job: Any) -> FoundImage:
        path, categories, entry, objects, near = job
        check(isinstance(entry, dict), where, "image", "an object", entry)
        given = entry.get("file_name")
        check(isinstance(given, str), where, "file_name", "text", given)
        given = given.replace("\\", "/")
        name = images.find(given, where, near)
        entry = {**entry, "file_name": posixpath.basename(given)}
        complete_size(entry, where, conversion.folder / name, defaultdict(list))
        image = parse_image(entry, where)
        if owners.setdefault(name, path) != path:
            raise UserError(f"{owners[name]} and {path} both list the image '{name}'; convert one file at a time.")
        size = image.height, image.width
        read_size(conversion.folder / name, size)
        own: list[tuple[str, Any]] = objects.get(image.id, [])
        found = each(own, lambda item: _read_object(conversion, *item, image, categories))
        return FoundImage(name, size, conversion.sound(found), split_of(path, source))

    conversion.collect(jobs, read)
    conversion.class_names = dict(sorted(names.items()))
    conversion.note("images that no file lists, left out", *images.unused())
    return conversion


def split_of(path: Path, source: Path) -> str:
    """Return the split that the name of a file below `source`, or a folder of it, says; "" where none does."""
    parts = (path.relative_to(source) if path != source else Path(path.name)).with_suffix("").parts[::-1]
    words = (word for part in parts for word in re.split(r"[^a-z0-9]+", part.lower()))
    return next((match[1] for match in map(SPLIT_NAME.fullmatch, words) if match), "")


def near_folders(conversion: Conversion, path: Path) -> list[str]:
    """Return folders, relative to that of the images, where those of an annotation file may lie."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", path.stem) if SPLIT_NAME.fullmatch(word.lower())]
    words += [f"images/{word}" for word in (*words, path.stem.partition("_")[2])]  # CVAT's of instances_WORD.json
    places = [path.parent, *(above / word for above in (path.parent, path.parent.parent) for word in words)]
    places += [conversion.folder / word for word in words]
    return [posixpath.relpath(place / below, conversion.folder) for place in places for below in ("", "images")]


def _by_image(conversion: Conversion, entries: list[Any], path: Path) -> dict[int, list[tuple[str, Any]]]:
    """Return the annotations of each image id, with what names them."""
    found = defaultdict(list)
    for index, entry in enumerate(entries):
        where = f"annotations[{index}] of {path}"
        try:
            found[parse_whole(entry, "image_id", where)].append((where, entry))
        except DatasetError as error:
            conversion.faults.append(str(error))
    return found


def _read_object(
    conversion: Conversion, where: str, entry: dict[str, Any], image: ImageRecord, categories: Categories
) -> Iterator[FoundObject]:
    """Yield the object of an annotation, or note that it has no mask."""
    dropped: Counter[str] = Counter()
    record = parse_object(entry, where, image, categories, dropped)
    if record is None:
        conversion.note(f"annotations without a mask ({next(iter(dropped))}), passed over", where)
        return
    x0, y0, x1, y1 = record.bbox
    box = [round(number, DECIMALS) for number in (x0, y0, x1 - x0, y1 - y0)]
    mask = {"iscrowd": int(record.iscrowd), "bbox": box, "area": record.area, "segmentation": entry["segmentation"]}
    yield FoundObject(categories.names[record.label], mask)
