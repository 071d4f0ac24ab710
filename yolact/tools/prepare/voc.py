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
from PIL import Image

from yolact.data.categories import VOC_CATEGORY_IDS, VOC_CLASSES
from yolact.errors import DatasetError, UserError
from yolact.text import printable
from yolact.tools.convert.objects import FoundObject, encode_numbers, pixel_object

VOID = 255
MAX_PIXELS = 100_000_000
# An image's file name, size (H, W) and objects, for `coco_content`, and how much of what was passed over.
ImageObjects = tuple[tuple[str, tuple[int, int], list[FoundObject]], Counter[str]]


def read_names(path: Path) -> list[str]:
    """Return the image names that a text file lists, without folders and endings.

    Raises:
        DatasetError: the file is missing or empty, repeats a name, or has one that could leave the folder.
    """
    try:
        counts = Counter(path.read_text(encoding="utf-8").split())
    except (OSError, ValueError) as error:
        raise DatasetError(f"Cannot read the list of images {path} ({error}); unpack the data set again.") from None
    wrong = [name for name, count in counts.items() if count > 1 or not re.fullmatch(r"\w+", name, re.ASCII)]
    if wrong or not counts:
        what = f"'{printable(wrong[0])}', expected names such as 2008_000002, each once" if wrong else "no images"
        raise DatasetError(f"{path} lists {what}; unpack the data set again.")
    return list(counts)


def read_voc(folder: Path, name: str) -> ImageObjects:
    """Return the objects of an image of VOC, without void.

    Raises:
        DatasetError: a file is missing or damaged, or the images are of different sizes.
    """
    size, _ = _read_image(folder / "JPEGImages" / f"{name}.jpg")
    paths = [folder / kind / f"{name}.png" for kind in ("SegmentationObject", "SegmentationClass")]
    numbers, classes = (_read_image(path)[1] for path in paths)
    for path, indices in ((paths[0], numbers), (paths[1], classes)):
        if indices.shape != size or indices.dtype != np.uint8:
            raise DatasetError(
                f"{path} is {indices.dtype} of shape {indices.shape}, expected the indices of its photograph's {size} "
                "pixels (height, width) in 8 bits; unpack VOC 2012 again."
            )
    labelled = (classes >= 1) & (classes <= len(VOC_CLASSES)) & (numbers != VOID)
    numbers = np.where(labelled, numbers, 0)
    # An object has one class; at the border to another one, a few of its pixels may be marked otherwise.
    categories = {number: int(np.bincount(classes[numbers == number]).argmax()) for number in set(numbers.flat) - {0}}
    return _objects(name, numbers, categories)


def find_sbd(folder: Path) -> Path | None:
    """Return SBD's folder of data, which holds img and inst: `folder` or its subfolder `dataset`; None for neither."""
    candidates = (folder, folder / "dataset")
    return next((path for path in candidates if (path / "inst").is_dir() and (path / "img").is_dir()), None)


def read_sbd(folder: Path, name: str) -> ImageObjects:
    """Return the objects of an image of SBD, from a folder that holds img and inst.

    Raises:
        DatasetError: a file is missing or damaged, or the two do not belong together.
        UserError: SciPy is missing.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError("SBD's .mat files are read by SciPy, which is missing; run: pip install scipy") from None
    path = folder / "inst" / f"{name}.mat"
    size, _ = _read_image(folder / "img" / f"{name}.jpg")
    try:
        struct = loadmat(str(path), variable_names=["GTinst"])["GTinst"]
        numbers, classes = (np.asarray(struct[field].item()) for field in ("Segmentation", "Categories"))
    except Exception as error:  # SciPy checks little, so that a damaged file ends in any kind of exception
        why = " ".join(str(error).split())
        raise DatasetError(f"Cannot read the struct GTinst of {path} ({why}); unpack SBD again.") from None
    if numbers.shape != size or numbers.dtype.kind != "u" or not np.isin(classes, VOC_CATEGORY_IDS).all():
        raise DatasetError(
            f"{path} has a Segmentation of {numbers.dtype} of shape {numbers.shape} and the Categories "
            f"{classes.ravel()[:5].tolist()}, expected unsigned numbers for its image's {size} pixels (height, width) "
            "and classes from 1 to 20; unpack SBD again."
        )
    categories = dict(enumerate(classes.ravel().astype(int).tolist(), start=1))
    return _objects(name, np.where(numbers == VOID, 0, numbers), categories)


def _objects(name: str, numbers: NDArray[Any], categories: dict[int, int]) -> ImageObjects:
    """Collect the objects of an image from the number of each pixel and the category of each number."""
    runs = dict(encode_numbers(numbers))
    made = [pixel_object(VOC_CLASSES[categories[n] - 1], mask) for n, mask in runs.items() if n in categories]
    nameless, hidden = len(runs.keys() - categories.keys()), len(categories.keys() - runs.keys())
    passed = Counter({"areas without a category": nameless, "categories without a pixel": hidden})
    return (f"{name}.jpg", numbers.shape, [item for item in made if item is not None]), +passed


def _read_image(path: Path) -> tuple[tuple[int, int], NDArray[Any]]:
    """Return the size (H, W) of an image file and its values; those of an image with a palette are indices."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"more than the limit of {MAX_PIXELS:,} pixels")
            return (image.height, image.width), np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"Cannot read the image {path} ({error}); unpack the data set again.") from None
