"""A conversion into COCO's format: the split, the annotation files, the images beside them, and what to say of it."""

import hashlib
import json
import os
import posixpath
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from yolact.data.annotations import parse_categories, parse_images
from yolact.data.dataset import MOST_CROWDS
from yolact.errors import DatasetError
from yolact.output import output_folder, write_json
from yolact.text import counted, printable
from yolact.tools.convert.common import SPLITS, Conversion, FoundImage, name_below

MOST = 5  # examples of one kind that are shown


class WrittenSplit(NamedTuple):
    """Where a split is, as the configuration wants to know it."""

    split: str  # "train", "val", "test", or "" for all
    folder: Path  # of the images
    annotations: Path
    images: list[FoundImage]


def share_out(conversion: Conversion, share: float, seed: int) -> None:
    """Split the images that are not for tests into "train" and "val", each with at least one.

    `share` of them, between 0 and 1, is to validate on. Which ones follows from their names and the seed alone, in
    whatever order they are read. DatasetError where the source has such images already, or fewer than two images.
    """
    if "val" in conversion.splits:
        raise DatasetError(f"'{conversion.folder}' has its own split into train and val; leave --val-share out.")
    test = {split: part for split, part in conversion.splits.items() if split == "test"}
    images = [image for split, part in conversion.splits.items() if split != "test" for image in part]
    if len(images) < 2:
        raise DatasetError(f"{counted(len(images), 'image')} cannot be split; leave --val-share out or add images.")
    ranked = sorted(images, key=lambda image: hashlib.sha256(f"{seed} {image.name}".encode()).digest())
    count = min(max(round(len(images) * share), 1), len(images) - 1)
    chosen = {image.name for image in ranked[:count]}
    train = [image for image in images if image.name not in chosen]
    conversion.splits = {"train": train, "val": [image for image in images if image.name in chosen], **test}


def check_output(folder: Path, output: Path, copy: bool) -> None:
    """Refuse an output within the folder that is read, or one that holds what might be written; `copy`: images too."""
    if name_below(folder.resolve(), output.resolve()) is not None:
        raise DatasetError(f"The output folder '{output}' lies within the source '{folder}'; give another one.")
    names = [f"instances{split}.json" for split in ("", "_train", "_val", "_test")] + ["pictures", *SPLITS] * copy
    for path in (output / name for name in names):
        if os.path.exists(path):
            raise DatasetError(f"'{path}' exists already and is left as it is; remove it or give another --output.")


def write_conversion(
    conversion: Conversion, output: Path, copy: bool, file_name: str = "instances{}.json"
) -> list[WrittenSplit]:
    """Write the annotation files and, if `copy`, the images; all of it or nothing.

    The split "train" goes to instances_train.json and the folder train, "" to instances.json and the folder pictures.
    Images that are not copied are named below the folder of them all. DatasetError where there are no objects or an
    image cannot be copied, UserError where the output cannot be written.
    """
    images = [image for part in conversion.splits.values() for image in part]
    if not any(image.objects for image in images):
        notes = [f" ({note})" for note in conversion.notes()][:1]
        raise DatasetError(
            f"'{conversion.folder}' has {counted(len(images), 'image')} but no object with a mask{''.join(notes)}; "
            "label some, or give another folder."
        )
    embedded = [image.name for image in images if image.embedded]
    if embedded and not copy:
        raise DatasetError(
            f"The image '{embedded[0]}' stands only within its label file, so that the images must be copied; leave "
            "--no-copy out."
        )
    written = []
    with output_folder(output), tempfile.TemporaryDirectory(prefix=".unfinished-", dir=output) as temporary:
        for split, part in conversion.splits.items():
            common = posixpath.commonpath([posixpath.dirname(image.name) for image in part])
            named = [image._replace(name=posixpath.relpath(image.name, common or ".")) for image in part]
            annotations = output / file_name.format(f"_{split}" if split else "")
            folder = output / (split or "pictures")
            content = coco_content(named, conversion.class_names)
            parse_images(content["images"], annotations)  # what the loader would refuse is refused now
            parse_categories(content["categories"], annotations)
            if copy:
                for image, new in zip(part, tqdm(named, desc="copy", unit="image", disable=None), strict=True):
                    _copy(image, conversion.folder, Path(temporary, folder.name, new.name))
            write_json(content, Path(temporary, annotations.name))
            written.append(WrittenSplit(split, folder if copy else conversion.folder / common, annotations, part))
        # The annotation files come last: where they stand, all images are there.
        for path in sorted(Path(temporary).iterdir(), key=lambda path: path.is_file()):
            path.replace(output / path.name)
    return written


def coco_content(images: Iterable[FoundImage], class_names: Mapping[int, str]) -> dict[str, list[dict[str, Any]]]:
    """Return an annotation file; `class_names` by category id, in ascending order."""
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ids = {name: category_id for category_id, name in class_names.items()}
    for image_id, image in enumerate(images, start=1):
        height, width = image.image_size
        entries.append({"id": image_id, "file_name": image.name, "height": height, "width": width})
        for class_name, annotation in image.objects:
            numbers = {"id": len(annotations) + 1, "image_id": image_id, "category_id": ids[class_name]}
            annotations.append(numbers | annotation)
    categories = [{"id": category_id, "name": name} for category_id, name in class_names.items()]
    return {"images": entries, "annotations": annotations, "categories": categories}


def _copy(image: FoundImage, folder: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image.embedded() if image.embedded else (folder / image.name).read_bytes())
    except OSError as error:
        raise DatasetError(
            f"Cannot copy the image '{image.name}' to '{target}': {error.strerror}; make room, see to its permissions, "
            "or leave the images where they are (--no-copy)."
        ) from None


def _count(images: list[FoundImage]) -> Counter[str]:
    return Counter(item.class_name for image in images for item in image.objects)


def count_lines(written: list[WrittenSplit]) -> Iterator[str]:
    """Yield the images, the objects, and the objects of each class, for each annotation file."""
    for item in written:
        counts = _count(item.images)
        yield f"{item.annotations}: {counted(len(item.images), 'image')}, {counted(counts.total(), 'object')}"
        yield from (f"  {count:6} {printable(name)}" for name, count in counts.most_common())


def warning_lines(conversion: Conversion) -> Iterator[str]:
    """Yield what was left aside, and what of the result may not be meant so."""
    for sentences, one, several in (
        (conversion.left_out, "image was", "images were"),
        (conversion.faults, "object of the images kept was", "objects of the images kept were"),
    ):
        if sentences:
            yield f"{counted(len(sentences), one, several)} left out:"
            yield from (f"  {sentence}" for sentence in sentences[:MOST])
        if len(sentences) > MOST:
            yield f"  and {len(sentences) - MOST} more"
    yield from conversion.notes()
    images = [image for part in conversion.splits.values() for image in part]
    empty = [image.name for image in images if not image.objects]
    if empty:
        yield f"{len(empty)} of {len(images)} images have no objects; the first: {empty[0]}"
    total, train = _count(images), _count(conversion.splits.get("train", images))
    crowds = sum(item.annotation["iscrowd"] for image in images for item in image.objects)
    if crowds > MOST_CROWDS * total.total():
        yield f"{crowds} of {total.total()} objects are crowd regions; see --crowds-are-objects of `yolact check`"
    val, folded = _count(conversion.splits.get("val", images)), Counter(map(str.casefold, total))
    for kind, names in (
        ("without an object", [name for name in conversion.class_names.values() if not total[name]]),
        ("with a single object", [name for name, count in total.items() if count == 1]),
        ("without an object to train on", [name for name in total if total[name] > 1 and not train[name]]),
        ("without an object to validate on", [name for name in total if total[name] > 1 and not val[name]]),
        ("that another one is called but for case", [name for name in total if folded[name.casefold()] > 1]),
    ):
        if names:
            rest = f" and {len(names) - MOST} more" if len(names) > MOST else ""
            yield f"{counted(len(names), 'class', 'classes')} {kind}: {', '.join(map(printable, names[:MOST]))}{rest}"


def training_lines(written: list[WrittenSplit]) -> Iterator[str]:
    """Yield how to train on the result, for a shell; what follows --set is YAML."""
    splits = {item.split or "train": item for item in written}
    if "train" not in splits:
        yield f"There are no images to train on, only those of {' and '.join(splits)}."
        return
    if "val" not in splits:
        yield (
            "There are no images to validate on, so the command takes those that it trains on, which says little of "
            "others; --val-share 0.2 makes a fifth of them so."
        )
    yield "To train on it:"
    lines = ["yolact train --config custom --set"]
    for split, item in (("train", splits["train"]), ("val", splits.get("val", splits["train"]))):
        settings = []
        for key, path in (("images", str(item.folder)), ("annotations", str(item.annotations))):
            is_plain = re.fullmatch(r"[\w./-]*/[\w./-]*", path)  # for YAML as it is
            value = path if is_plain else json.dumps(path, ensure_ascii=False)
            settings.append(shlex.quote(f"data.{split}_{key}={value}"))
        lines.append("  " + " ".join(settings))
    yield " \\\n".join(lines)
