"""A conversion into COCO's format: the split, the annotation files, the images beside them, and what to say of it."""

import hashlib
import json
import posixpath
import re
import shlex
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from yolact.data.annotations import parse_categories, parse_images
from yolact.errors import DatasetError
from yolact.output import output_folder, write_json
from yolact.text import counted
from yolact.tools.convert.common import SPLITS, Conversion, FoundImage, name_below
from yolact.tools.convert.objects import coco_content

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
    images = [image for split, part in conversion.splits.items() if split != "test" for image in part]
    if len(images) < 2:
        raise DatasetError(f"{counted(len(images), 'image')} cannot be split; leave --val-share out or add images.")
    ranked = sorted(images, key=lambda image: hashlib.sha256(f"{seed} {image.name}".encode()).digest())
    count = min(max(round(len(images) * share), 1), len(images) - 1)
    chosen = {image.name for image in ranked[:count]}
    conversion.splits = {
        "train": [image for image in images if image.name not in chosen],
        "val": [image for image in images if image.name in chosen],
        **{split: part for split, part in conversion.splits.items() if split == "test"},
    }


def _outputs(output: Path, split: str) -> tuple[Path, Path]:
    """Return where the annotations and the images of a split are written."""
    return output / (f"instances_{split}.json" if split else "instances.json"), output / (split or "pictures")


def check_output(folder: Path, output: Path, copy: bool) -> None:
    """Refuse an output within the folder that is read, or one that holds what might be written; `copy`: images too."""
    if name_below(folder.resolve(), output.resolve()) is not None:
        raise DatasetError(f"The output folder '{output}' lies within the source '{folder}'; give another one.")
    for split in ("", *SPLITS):
        for path in _outputs(output, split)[: 1 + copy]:
            if path.exists():
                raise DatasetError(f"'{path}' exists already and is left as it is; remove it or give another --output.")


def write_conversion(conversion: Conversion, output: Path, copy: bool) -> list[WrittenSplit]:
    """Write the annotation files and, unless `copy` is False, the images; all of it or nothing.

    Args:
        conversion: what to write.
        output: takes instances_train.json and the folder train for the split "train", instances.json and the folder
            pictures for "".
        copy: False leaves the images where they are; the annotation files name them below the folder of them all.

    Raises:
        DatasetError: there are no objects, an image cannot be copied, or as `check_output`.
        UserError: the output cannot be written.
    """
    check_output(conversion.folder, output, copy)
    images = [image for part in conversion.splits.values() for image in part]
    if not any(image.objects for image in images):
        found = [
            f"; it has {n} {kind}, the first: {conversion.examples[kind]}"
            for kind, n in conversion.counts.most_common(1)
        ]
        raise DatasetError(
            f"'{conversion.folder}' has {counted(len(images), 'image')} but no object with a mask{''.join(found)}; "
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
            names = [posixpath.relpath(image.name, common or ".") for image in part]
            annotations, folder = _outputs(output, split)
            rows = [(name, image.image_size, image.objects) for name, image in zip(names, part, strict=True)]
            content = coco_content(rows, conversion.class_names)
            parse_images(content["images"], annotations)  # what the loader would refuse is refused now
            parse_categories(content["categories"], annotations)
            if copy:
                for name, image in zip(names, tqdm(part, desc="copy", unit="image", disable=None), strict=True):
                    _copy(image, conversion.folder, Path(temporary, folder.name, name))
            write_json(content, Path(temporary, annotations.name))
            written.append(WrittenSplit(split, folder if copy else conversion.folder / common, annotations, part))
        # The annotation files come last: where they stand, all images are there.
        for path in sorted(Path(temporary).iterdir(), key=lambda path: path.is_file()):
            path.rename(output / path.name)
    return written


def _copy(image: FoundImage, folder: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if image.embedded:
            target.write_bytes(image.embedded())
        else:
            shutil.copyfile(folder / image.name, target)
    except OSError as error:
        raise DatasetError(
            f"Cannot copy the image '{image.name}' to '{target}': {error.strerror}; make room, see to its permissions, "
            "or leave the images where they are (--no-copy)."
        ) from None


def count_lines(written: list[WrittenSplit]) -> Iterator[str]:
    """Yield the images, the objects, and the objects of each class, for each annotation file."""
    for item in written:
        counts = _count(item.images)
        yield f"{item.annotations}: {counted(len(item.images), 'image')}, {counted(counts.total(), 'object')}"
        yield from (f"  {count:6} {name}" for name, count in counts.most_common())


def _count(images: list[FoundImage]) -> Counter[str]:
    return Counter(item.class_name for image in images for item in image.objects)


def warning_lines(conversion: Conversion) -> Iterator[str]:
    """Yield what was left aside, and what of the result may not be meant so."""
    splits = conversion.splits
    if conversion.left_out:
        yield f"{counted(len(conversion.left_out), 'image was', 'images were')} left out:"
        yield from (f"  {sentence}" for sentence in conversion.left_out[:MOST])
        if len(conversion.left_out) > MOST:
            yield f"  and {len(conversion.left_out) - MOST} more"
    yield from (
        f"{count} {kind}; the first: {conversion.examples[kind]}" for kind, count in conversion.counts.most_common()
    )
    images = [image for part in splits.values() for image in part]
    empty = [image.name for image in images if not image.objects]
    if empty:
        yield f"{len(empty)} of {len(images)} images have no objects; the first: {empty[0]}"
    total, train = _count(images), _count(splits.get("train", images))
    for kind, names in (
        ("without an object", [name for name in conversion.class_names.values() if not total[name]]),
        ("with a single object", [name for name, count in total.items() if count == 1]),
        ("without an object to train on", [name for name in total if total[name] > 1 and not train[name]]),
    ):
        if names:
            rest = f" and {len(names) - MOST} more" if len(names) > MOST else ""
            yield f"{counted(len(names), 'class', 'classes')} {kind}: {', '.join(names[:MOST])}{rest}"


def train_command(written: list[WrittenSplit]) -> str:
    """Return the command that trains on the result, for a shell; what follows --set is YAML."""
    parts = {item.split or "train": item for item in written}
    lines = ["yolact train --config custom --set"]
    for split in [split for split in ("train", "val") if split in parts]:
        paths = {"images": parts[split].folder, "annotations": parts[split].annotations}
        lines.append("  " + " ".join(_setting(f"data.{split}_{key}", str(path)) for key, path in paths.items()))
    return " \\\n".join(lines)


def _setting(key: str, path: str) -> str:
    is_text = re.fullmatch(r"[\w./-]*/[\w./-]*", path)  # for YAML as it is
    return shlex.quote(f"{key}={path if is_text else json.dumps(path, ensure_ascii=False)}")
