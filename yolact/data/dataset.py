"""A data set in COCO's format: one JSON file and a folder of images."""

import logging
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolact.data import mending
from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.data.coco_file import read_annotation_file
from yolact.data.headers import MAX_PIXELS
from yolact.data.image_folder import ImageFolder
from yolact.data.images import MAX_WINDOWED_PIXELS, read_reduced
from yolact.data.samples import PLAIN, Colours
from yolact.data.segmentations import IDENTITY, Rle, Segmentation, draw_masks
from yolact.data.windows import OpenImage, open_image
from yolact.errors import DatasetError
from yolact.structures import Tiles, View
from yolact.text import printable

logger = logging.getLogger(__name__)

MOST_CROWDS = 0.1  # of all objects, above which it is told how many are crowd regions; COCO has 1.2 %


class GroundTruth:
    """The objects of one image as tensors in its own pixels, crowd regions included; each is made at its first use."""

    def __init__(self, dataset: "CocoDataset", index: int) -> None:
        image = dataset.images[index]
        self.image_id, self.image_size = image.id, (image.height, image.width)
        self._dataset, self._index = dataset, index

    @cached_property
    def _objects(self) -> list[ObjectRecord]:
        return self._dataset.objects(self._index)

    @cached_property
    def boxes(self) -> Tensor:
        """Float32 [N, 4] xyxy."""
        return torch.tensor([item.bbox for item in self._objects]).reshape(-1, 4)

    @cached_property
    def labels(self) -> Tensor:
        """Int64 [N], 0..C-1."""
        return torch.tensor([item.label for item in self._objects], dtype=torch.int64)

    @cached_property
    def iscrowd(self) -> Tensor:
        """Bool [N]."""
        return torch.tensor([item.iscrowd for item in self._objects], dtype=torch.bool)

    @cached_property
    def masks(self) -> Tensor:
        """Bool [N, H, W]."""
        drawn = draw_masks([item.segmentation for item in self._objects], IDENTITY, self.image_size)
        return torch.from_numpy(drawn.view(np.bool_))


class CocoDataset:
    """All images of an annotation file, with and without objects, checked as far as can be without opening them.

    Args:
        annotation_file: COCO JSON with polygons or RLE.
        image_folder: the folder that the file names are relative to.
        max_images: keep only the first so many images.
        in_tiles: images are read by parts, so that they may have more than 100 megapixels.
        colours: how samples of more than 8 bits, and transparent pixels, become colours, and of how many channels; an
            attribute, too.

    Attributes:
        categories: the classes, taken from the file.
        images: the images, in the order of the file.
        class_counts: int64 [C], the objects of each label, crowd regions left out.
        num_crowds: crowd regions (iscrowd), which neither teach nor score.
        longest_sides: float64 [N], of the boxes of all objects, in pixels of their images; likewise.
        dropped: how many annotations give nothing to train on, by reason. They are left out; evaluation still sees
            them, because it reads the file itself.

    Raises:
        DatasetError: the file or one of its entries is wrong, or an image file is absent.
    """

    def __init__(
        self,
        annotation_file: str | Path,
        image_folder: str | Path,
        *,
        max_images: int | None = None,
        in_tiles: bool = False,
        colours: Colours = PLAIN,
    ) -> None:
        self.colours = colours
        self.annotation_file, self.image_folder = Path(annotation_file), Path(image_folder)
        files = ImageFolder(self.image_folder)
        self.categories, self.images, objects, self.dropped, mended = read_annotation_file(
            self.annotation_file, files, max_images, MAX_WINDOWED_PIXELS if in_tiles else MAX_PIXELS
        )
        _check_files_exist(self.images, files, self.annotation_file)
        self._objects = PackedObjects(objects)
        _, labels, boxes = self._objects.single()
        self.num_crowds = self._objects.num_crowds
        self.class_counts = np.bincount(labels, minlength=len(self.categories))
        self.longest_sides: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).max(1)
        if mended:
            logger.warning("%s: mended %s", self.annotation_file, "; ".join(mending.lines(mended)))
        if self.num_crowds > MOST_CROWDS * sum(map(len, objects)):
            logger.warning(
                "%s: %d of %d objects are crowd regions (iscrowd), which neither teach nor score; CVAT marks each mask "
                "so, and `yolact check --fix OUT.json --crowds-are-objects` takes the mark off",
                self.annotation_file, self.num_crowds, sum(map(len, objects)),
            )  # fmt: skip
        if self.dropped:
            reasons = ", ".join(f"{count} with {reason}" for reason, count in self.dropped.most_common())
            total = self.dropped.total()
            logger.warning("%s: left %d annotations out of training: %s", self.annotation_file, total, reasons)

    def __len__(self) -> int:
        return len(self.images)

    def most_objects(self, tiles: Tiles | None = None) -> tuple[int, int]:
        """Return the most objects of an image or tile, and the most of one class in it; crowd regions do not count."""
        image, labels, boxes = self._objects.single()
        if tiles is not None:
            image, labels = self._in_tiles(tiles, image, labels, boxes)
        return _largest_group(image), _largest_group(image * len(self.categories) + labels)

    def _in_tiles(
        self, tiles: Tiles, image: NDArray[np.int64], labels: NDArray[np.int64], boxes: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the number of the tile, and the label, of each object in each tile that shows a part of it."""
        numbers, found, first = [image[:0]], [labels[:0]], 0
        for index, (start, stop) in enumerate(pairwise(np.searchsorted(image, np.arange(len(self) + 1)))):
            views = tiles.views((self.images[index].height, self.images[index].width))
            for number, view in enumerate(views if stop > start else (), start=first):
                shown = labels[start:stop][_shown(boxes[start:stop], view)]
                found.append(shown)
                numbers.append(np.full(len(shown), number))
            first += len(views)
        return np.concatenate(numbers), np.concatenate(found)

    def objects(self, index: int, view: View | None = None) -> list[ObjectRecord]:
        """Return the objects of image `index`, or those whose boxes a part of it shows, crowd regions included."""
        return self._objects.of(range(len(self))[index], view)

    def labels_and_boxes(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return labels [N] and boxes [N, 4] xyxy of the objects of image `index` but for crowd regions."""
        return self._objects.single_of(range(len(self))[index])

    def ground_truth(self, index: int) -> GroundTruth:
        """Return the objects of image `index` as tensors, for evaluators."""
        return GroundTruth(self, index)

    def load_image(self, index: int) -> NDArray[np.uint8]:
        """Return image `index`, `Pixels` [H, W, C]; DatasetError if it is broken or not of the file's size."""
        return self.load_reduced(index, 1)[0]

    def load_reduced(self, index: int, reduction: int) -> tuple[NDArray[np.uint8], int]:
        """Return image `index` and how many times smaller it was decoded: 1 or `reduction`; see `read_reduced`."""
        record = self.images[index]
        return read_reduced(
            self.image_folder / record.file_name, (record.height, record.width), reduction, self.colours
        )

    def open_image(self, index: int) -> OpenImage:
        """Return image `index`, of which parts can be read; see `yolact.data.windows.open_image` for errors."""
        record = self.images[index]
        return open_image(self.image_folder / record.file_name, (record.height, record.width), self.colours)


def _largest_group(numbers: NDArray[np.int64]) -> int:
    """Return how often the most frequent of some numbers occurs."""
    return int(np.unique(numbers, return_counts=True)[1].max(initial=0))


def _check_files_exist(images: list[ImageRecord], files: ImageFolder, annotation_file: Path) -> None:
    """Raise a DatasetError for the first image whose file is absent, or for the folder."""
    if not files.folder.is_dir():
        raise DatasetError(f"The image folder {files.folder} (of {annotation_file}) does not exist; check the path.")
    missing = [image.file_name for image in images if not files.holds(image.file_name)]
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DatasetError(
            f"'{printable(missing[0])}'{others} named by {annotation_file} cannot be found in {files.folder}"
            f"{files.hint(missing[0])}; correct the folder or the names."
        )


OBJECT = np.dtype([
    ("label", np.int32),
    ("bbox", np.float64, 4),
    ("iscrowd", np.bool_),
    ("area", np.float64),
    ("id", np.int64),
    ("rle_size", np.int32, 2),  # (H, W); zeros for polygons
])  # fmt: skip


def _single(objects: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return label and box of those records of type `OBJECT` that are no crowd regions."""
    objects = objects[~objects["iscrowd"]]
    return objects["label"].astype(np.int64), objects["bbox"]


def _shown(boxes: NDArray[np.float64], view: View) -> NDArray[np.bool_]:
    """Tell which boxes [N, 4] a part of the image shows something of."""
    return np.asarray((boxes[:, :2] < view[2:]).all(1) & (boxes[:, 2:] > view[:2]).all(1))


class PackedObjects:
    """The objects of each image in a few arrays, which cannot be written to.

    A million Python objects in forked processes would be copied page by page as their reference counts change.
    """

    def __init__(self, images: Sequence[Sequence[ObjectRecord]]) -> None:
        items = [item for objects in images for item in objects]
        parts = [_parts(item.segmentation) for item in items]  # polygons or run lengths, as 32-bit words
        words = [part for several in parts for part in several]
        rows = [(*item[:3], item.area, item.id, _rle_size(item.segmentation)) for item in items]
        self._objects = np.array(rows, OBJECT)
        self._words = np.concatenate([np.zeros(0, np.uint32), *words])
        self._words.flags.writeable = False
        # Where the objects of each image begin, the parts of each object, and the words of each part; and the end.
        self._first_object, self._first_part, self._first_word = (
            np.cumsum([0, *map(len, groups)]) for groups in (images, parts, words)
        )

    @property
    def num_crowds(self) -> int:
        """Return how many are crowd regions."""
        return int(self._objects["iscrowd"].sum())

    def single(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return image index, label and box [N, 4] of every object that is no crowd region."""
        images = np.repeat(np.arange(len(self._first_object) - 1), np.diff(self._first_object))
        return images[~self._objects["iscrowd"]], *_single(self._objects)

    def single_of(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return label and box [N, 4] of those of one image."""
        return _single(self._objects[slice(*self._first_object[index : index + 2])])

    def of(self, index: int, view: View | None = None) -> list[ObjectRecord]:
        """Return the objects of an image, or those whose boxes a part of it shows."""
        first, stop = self._first_object[index : index + 2].tolist()
        numbers = range(first, stop)
        if view is not None:
            numbers = (first + np.flatnonzero(_shown(self._objects["bbox"][first:stop], view))).tolist()
        return [self._object(number) for number in numbers]

    def _object(self, number: int) -> ObjectRecord:
        label, bbox, iscrowd, area, annotation_id, (height, width) = self._objects[number].item()
        first, stop = self._first_part[number : number + 2]
        parts = [self._words[start:end] for start, end in pairwise(self._first_word[first : stop + 1].tolist())]
        segmentation: Segmentation
        if height:
            segmentation = Rle(height, width, parts[0])
        else:
            segmentation = [part.view(np.float32).reshape(-1, 2) for part in parts]
        return ObjectRecord(label, tuple(bbox), iscrowd, segmentation, area, annotation_id)


def _rle_size(segmentation: Segmentation) -> tuple[int, int]:
    return segmentation[:2] if isinstance(segmentation, Rle) else (0, 0)


def _parts(segmentation: Segmentation) -> list[NDArray[np.uint32]]:
    if isinstance(segmentation, Rle):
        return [segmentation.runs]
    return [np.ascontiguousarray(polygon).view(np.uint32).ravel() for polygon in segmentation]
