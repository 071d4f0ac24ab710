"""Cityscapes as it is downloaded: leftImg8bit and gtFine, with a folder for each split and city."""

import posixpath
import re
from pathlib import Path

from yolact.data.images import read_size
from yolact.errors import DatasetError
from yolact.tools.convert import common
from yolact.tools.convert.common import Conversion, FoundImage, Part
from yolact.tools.convert.mask_files import CLASS_STEP, read_values

CLASSES = {24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle"}
LABELS = ("_gtFine_instanceIds.png", "_gtCoarse_instanceIds.png")  # the first is taken where both are
IMAGE = "_leftImg8bit"
OWN_LABELS = "label_colors.txt"  # of CVAT and datumaro: a line for each class, from 0, the background, on


def read_cityscapes(folder: Path) -> Conversion:
    """Read images and their instanceIds; the eight classes of which Cityscapes numbers and scores the objects.

    Where `OWN_LABELS` has other classes, those are taken. Areas of a class without a number, of several objects that
    cannot be told apart, are crowd regions. DatasetError where no image has labels.
    """
    conversion, classes = Conversion(folder), _classes(folder)
    labels: dict[str, str] = {}
    for name in sorted(conversion.list_files(folder, {".png"}), key=lambda name: "_gtCoarse_" in name):
        for end in LABELS:
            if name.endswith(end):
                labels.setdefault(posixpath.basename(name).removesuffix(end), name)
    images = {
        posixpath.basename(name).partition(IMAGE)[0]: name
        for name in conversion.list_files(folder, {".png", ".jpg"})
        if IMAGE in posixpath.basename(name)
    }
    conversion.require_labels({name: f"{stem}{LABELS[0]}" for stem, name in images.items()}, images.keys() & labels)
    conversion.note("images without instanceIds, left out", *(images[stem] for stem in sorted(images.keys() - labels)))
    alone = sorted(labels.keys() - images)
    conversion.note("instanceIds without an image, passed over", *(labels[stem] for stem in alone))

    def read(name: str, path: Path) -> FoundImage | None:
        height, width = size = read_size(folder / name)
        numbers = read_values(path)
        if numbers.shape != size or numbers.dtype.kind not in "ui":
            raise DatasetError(
                f"{path} is {numbers.dtype} of shape {numbers.shape}, expected whole numbers for each of its image's "
                f"{width} x {height} pixels (width x height); unpack it again."
            )
        parts = []
        for number, runs in common.encode_numbers(numbers):
            where, is_crowd = f"{number} in {path}", number < CLASS_STEP
            class_name = classes.get(number if is_crowd else number // CLASS_STEP)
            if class_name is None:
                conversion.note("areas of classes that Cityscapes does not score as objects, passed over", where)
                continue
            if is_crowd:
                conversion.note("areas of several objects without a number, taken as crowd regions", where)
            parts.append(Part(class_name, runs, str(path), iscrowd=is_crowd))
        objects = conversion.objects(parts, size)
        subset = "train" if "/train_extra/" in f"/{name}" else ""  # of the coarse labels
        if not objects and "/test/" in f"/{name}":
            conversion.note("test images without objects, left out, as Cityscapes keeps their labels to itself", name)
            return None
        return FoundImage(name, size, objects, subset)

    conversion.collect({images[stem]: folder / labels[stem] for stem in sorted(images.keys() & labels)}, read)
    conversion.declare(dict(enumerate(classes.values(), start=1)))
    return conversion


def _classes(folder: Path) -> dict[int, str]:
    """Return the names of the classes by number."""
    if not (folder / OWN_LABELS).is_file():
        return CLASSES
    lines = common.read_labels(folder / OWN_LABELS, bytes.decode, "text in UTF-8").splitlines()
    names = {number: re.sub(r"^(\d+ \d+ \d+)? ", "", line) for number, line in enumerate(lines) if number}
    return CLASSES if CLASSES.items() <= names.items() else names
