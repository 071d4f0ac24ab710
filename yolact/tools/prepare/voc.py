"""Pascal VOC 2012's segmentation images, and SBD's labels of more of them, as data sets in COCO's format.

VOC gives two indexed images for each photograph: SegmentationObject numbers the objects and SegmentationClass gives
the class of each pixel. Both use 255 for void, a band along the outlines that belongs to nobody. SBD
(benchmark_RELEASE) has the struct GTinst in inst/NAME.mat: Segmentation gives each pixel the number of its object, 0
for none, and Categories the class of object 1, 2 and so on.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from yolact.data.categories import VOC_CATEGORY_IDS, VOC_CLASSES
from yolact.data.images import read_image
from yolact.errors import DatasetError, UserError
from yolact.text import printable
from yolact.tools.convert.common import Conversion, FoundImage, Part, encode_numbers, read_labels
from yolact.tools.convert.mask_files import read_values

VOID = 255


def read(source: Path) -> tuple[Conversion, str]:
    """Return the training and validation images of VOC 2012 or SBD, and how the annotation files are called.

    DatasetError where the folder holds neither, or a file of it is missing or damaged; UserError as `read_sbd`.
    """
    candidates = (source, source / "dataset")
    sbd = next((path for path in candidates if (path / "inst").is_dir() and (path / "img").is_dir()), None)
    folder, lists = sbd or source, sbd or source / "ImageSets/Segmentation"
    if not lists.is_dir():
        raise DatasetError(
            f"'{folder}' holds neither VOC 2012 (ImageSets, JPEGImages, SegmentationClass and SegmentationObject) nor "
            "SBD (img and inst, or dataset with them); check the path."
        )
    conversion = Conversion(folder, class_names=dict(zip(VOC_CATEGORY_IDS, VOC_CLASSES, strict=True)))
    names = {split: read_names(lists / f"{split}.txt") for split in ("train", "val")}
    read_one = read_sbd if sbd else read_voc
    for split, part in names.items():
        conversion.splits[split] = [read_one(conversion, name) for name in tqdm(part, desc=split)]
    return conversion, "pascal_sbd{}.json" if sbd else "instances{}.json"


def read_names(path: Path) -> list[str]:
    """Return the image names that a text file lists, without folders and endings.

    DatasetError where it is missing or empty, repeats a name, or has one that could leave the folder.
    """
    counts = Counter(read_labels(path, bytes.decode, "a list of images").split())
    wrong = [name for name, count in counts.items() if count > 1 or not re.fullmatch(r"\w+", name, re.ASCII)]
    if wrong or not counts:
        what = f"'{printable(wrong[0])}', expected names such as 2008_000002, each once" if wrong else "no images"
        raise DatasetError(f"{path} lists {what}; unpack the data set again.")
    return list(counts)


def read_voc(conversion: Conversion, name: str) -> FoundImage:
    """Return an image of VOC with its objects, without void; DatasetError where its files do not fit together."""
    paths = [conversion.folder / kind / f"{name}.png" for kind in ("SegmentationObject", "SegmentationClass")]
    numbers, classes = map(read_values, paths)
    if numbers.ndim != 2 or numbers.shape != classes.shape or {numbers.dtype, classes.dtype} != {np.dtype(np.uint8)}:
        raise DatasetError(
            f"{paths[0]} and {paths[1]} are {numbers.dtype} and {classes.dtype} of shapes {numbers.shape} and "
            f"{classes.shape}, expected indices in 8 bits and one shape; unpack VOC 2012 again, or see "
            "what `yolact convert PATH` says of masks in colours."
        )
    labelled = (classes >= 1) & (classes <= len(VOC_CLASSES)) & (numbers != VOID)
    numbers = np.where(labelled, numbers, 0)
    # An object has one class; at the border to another one, a few of its pixels may be marked otherwise.
    found = np.unique(numbers[numbers > 0]).tolist()
    categories = {number: int(np.bincount(classes[numbers == number]).argmax()) for number in found}
    return _found_image(conversion, f"JPEGImages/{name}.jpg", numbers, categories)


def read_sbd(conversion: Conversion, name: str) -> FoundImage:
    """Return an image of SBD with its objects, without void.

    DatasetError where its files are damaged or do not fit together, UserError where SciPy is missing.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError("SBD's .mat files are read by SciPy, which is missing; run: pip install scipy") from None
    path = conversion.folder / "inst" / f"{name}.mat"
    try:
        struct = loadmat(str(path), variable_names=["GTinst"])["GTinst"]
        numbers, classes = (np.asarray(struct[field].item()) for field in ("Segmentation", "Categories"))
    except Exception as error:  # SciPy checks little, so that a damaged file ends in any kind of exception
        why = " ".join(str(error).split())
        raise DatasetError(f"Cannot read the struct GTinst of {path} ({why}); unpack SBD again.") from None
    if numbers.ndim != 2 or numbers.dtype.kind != "u" or not np.isin(classes, VOC_CATEGORY_IDS).all():
        raise DatasetError(
            f"{path} has a Segmentation of {numbers.dtype} of shape {numbers.shape} and the Categories "
            f"{classes.ravel()[:5].tolist()}, expected unsigned numbers of pixels and classes from 1 to 20; unpack SBD "
            "again."
        )
    categories = dict(enumerate(classes.ravel().astype(int).tolist(), start=1))
    return _found_image(conversion, f"img/{name}.jpg", np.where(numbers == VOID, 0, numbers), categories)


def _found_image(conversion: Conversion, photo: str, numbers: NDArray[Any], categories: dict[int, int]) -> FoundImage:
    """Return an image with its objects from the number of each pixel and the category of each number."""
    read_image(conversion.folder / photo, numbers.shape)  # refuses one of another size
    runs = dict(encode_numbers(numbers))
    conversion.note("areas without a category, passed over", *[photo] * len(runs.keys() - categories.keys()))
    conversion.note("categories without a pixel, passed over", *[photo] * len(categories.keys() - runs.keys()))
    parts = [Part(VOC_CLASSES[categories[n] - 1], mask, photo) for n, mask in runs.items() if n in categories]
    return FoundImage(photo, numbers.shape, conversion.objects(parts, numbers.shape))
