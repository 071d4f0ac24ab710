"""Reading an annotation file: what a tool wrote is mended where that is certain, then checked, and then used.

Training, evaluation, inspection and conversion all read by this, so that they agree on what is taken and refused.
"""

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from yolact.data.annotations import ImageRecord, ObjectRecord, parse_categories, parse_images, parse_object, parse_whole
from yolact.data.categories import Categories
from yolact.data.image_folder import ImageFolder
from yolact.data.images import MAX_NAME, MAX_PIXELS
from yolact.data.mending import Mended, mend
from yolact.errors import DatasetError
from yolact.text import printable

LISTS = ("images", "annotations", "categories")


class AnnotationFile(NamedTuple):
    """What an annotation file holds."""

    categories: Categories
    images: list[ImageRecord]  # in the order of the file
    objects: list[list[ObjectRecord]]  # of each image
    dropped: Counter[str]  # annotations with nothing to train on, by reason
    mended: Mended


def read_annotation_file(
    path: Path, files: ImageFolder, max_images: int | None = None, max_pixels: int = MAX_PIXELS
) -> AnnotationFile:
    """Read, mend and check a COCO annotation file, of which only the first `max_images` images are kept.

    DatasetError for the first entry that is wrong or repeated, or belongs to an image or class that is not declared.
    """
    content, mended = read_content(path, files)
    categories = parse_categories(content["categories"], path)
    images = parse_images(content["images"], path, max_pixels, files)
    indices = {image.id: index for index, image in enumerate(images)}
    objects: list[list[ObjectRecord]] = [[] for _ in images[:max_images]]
    dropped: Counter[str] = Counter()
    try:
        for number, entry in enumerate(content["annotations"]):
            where = f"annotations[{number}] of {path}"
            annotation_id, image_id = parse_whole(entry, "id", where), parse_whole(entry, "image_id", where)
            where = f"annotations[{number}] (id {annotation_id}) of {path}"
            if image_id not in indices:
                why = f"{where} belongs to image id {image_id}, which 'images' does not list"
                raise DatasetError(f"{why}; add the image or remove the annotation.")
            index = indices[image_id]
            if index < len(objects):
                record = parse_object(entry, where, images[index], categories, dropped)
                if record is not None:
                    objects[index].append(record)
    except DatasetError as error:
        fix = shlex.join(["yolact", "check", "--annotations", str(path), "--images", str(files.folder), "--fix"])
        cure = f"; or `{printable(fix, MAX_NAME)} OUT.json` writes a file without what is broken."
        raise DatasetError(str(error).removesuffix(".") + cure, error.kind) from None
    return AnnotationFile(categories, images[: len(objects)], objects, dropped, mended)


def read_content(path: Path, files: ImageFolder | None) -> tuple[dict[str, Any], Mended]:
    """Return the content of an annotation file, mended, and what that did; `files` finds names and sizes of images.

    DatasetError where the file cannot be read or is not of COCO's form at all.
    """
    content = read_outline(path)
    return content, mend(content, files)


def read_outline(path: Path) -> dict[str, Any]:
    """Return what a file holds; DatasetError if images, annotations or categories are no lists, whatever is in them."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"Cannot read the annotation file {path}: {error.strerror}; check the path.") from None
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"The annotation file {path} is not valid JSON ({error}); export it again.") from None
    for key in LISTS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            held = printable(", ".join(content)) if isinstance(content, dict) else f"a {type(content).__name__}"
            why = f"The annotation file {path} has no list '{key}' (it holds {held or 'nothing'})"
            raise DatasetError(f"{why}; export it as COCO object detection, or try `yolact convert`.")
    return dict(content)
