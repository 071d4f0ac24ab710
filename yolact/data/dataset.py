"""A data set in COCO's format: one JSON file and a folder of images."""

import logging
import os
from collections import Counter
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolact.data.annotations import (
    ImageRecord,
    ObjectRecord,
    parse_categories,
    parse_images,
    parse_object,
    read_annotation_file,
)
from yolact.data.categories import Categories
from yolact.data.images import read_reduced
from yolact.data.masks import IDENTITY, draw_masks
from yolact.data.packing import PackedObjects
from yolact.errors import DatasetError
from yolact.text import printable

logger = logging.getLogger(__name__)


class GroundTruth:
    """The objects of one image, in its own pixels, crowd regions included.

    Attributes:
        image_id, image_size: as in the annotation file; (H, W).
    """

    def __init__(self, dataset: "CocoDataset", index: int) -> None:
        """Look at image `index` of a data set; its objects are read when somebody asks for them."""
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
        """Bool [N, H, W], drawn at the first use."""
        drawn = draw_masks([item.segmentation for item in self._objects], IDENTITY, self.image_size)
        return torch.from_numpy(drawn.view(np.bool_))


class CocoDataset:
    """All images of an annotation file, with and without objects, checked as far as can be without opening them.

    Args:
        annotation_file: COCO JSON with polygons or RLE.
        image_folder: the folder that the file names are relative to.
        max_images: keep only the first so many images.

    Attributes:
        categories: the classes, taken from the file.
        images: the images, in the order of the file.
        class_counts: int64 [C], the objects of each label, crowd regions left out.
        dropped: how many annotations give nothing to train on, by reason. They are left out; evaluation still sees
            them, because it reads the file itself.

    Raises:
        DatasetError: the file or one of its entries is wrong, or an image file is absent.
    """

    def __init__(self, annotation_file: str | Path, image_folder: str | Path, *, max_images: int | None = None) -> None:
        self.annotation_file, self.image_folder = Path(annotation_file), Path(image_folder)
        content = read_annotation_file(self.annotation_file)
        self.categories: Categories = parse_categories(content["categories"], self.annotation_file)
        images = parse_images(content["images"], self.annotation_file)
        self.images: list[ImageRecord] = images[:max_images]
        _check_files_exist(self.images, self.image_folder, self.annotation_file)
        self.dropped: Counter[str] = Counter()
        objects = self._parse_annotations(content["annotations"], images)
        labels = [item.label for items in objects for item in items if not item.iscrowd]
        self.class_counts = np.bincount(np.array(labels, np.int64), minlength=len(self.categories))
        self._objects = PackedObjects(objects)
        if self.dropped:
            reasons = ", ".join(f"{count} with {reason}" for reason, count in self.dropped.most_common())
            total = self.dropped.total()
            logger.warning("%s: left %d annotations out of training: %s", self.annotation_file, total, reasons)

    def __len__(self) -> int:
        return len(self.images)

    def objects(self, index: int) -> list[ObjectRecord]:
        """Return the objects of image `index`, crowd regions included."""
        return self._objects[range(len(self))[index]]

    def ground_truth(self, index: int) -> GroundTruth:
        """Return the objects of image `index` as tensors, for evaluators."""
        return GroundTruth(self, index)

    def load_image(self, index: int) -> NDArray[np.uint8]:
        """Return image `index`, uint8 [H, W, 3] BGR; DatasetError if it is broken or not of the file's size."""
        return self.load_reduced(index, 1)[0]

    def load_reduced(self, index: int, reduction: int) -> tuple[NDArray[np.uint8], int]:
        """Return image `index` and how many times smaller it was decoded: 1 or `reduction`; see `read_reduced`."""
        record = self.images[index]
        return read_reduced(self.image_folder / record.file_name, (record.height, record.width), reduction)

    def _parse_annotations(self, entries: list[dict[str, Any]], images: list[ImageRecord]) -> list[list[ObjectRecord]]:
        indices = {image.id: index for index, image in enumerate(images)}
        objects: list[list[ObjectRecord]] = [[] for _ in self.images]
        seen: set[int] = set()
        for position, entry in enumerate(entries):
            annotation_id, image_id = entry.get("id"), entry.get("image_id")
            where = f"annotations[{position}] (id {brief(annotation_id)}) of {self.annotation_file}"
            if type(annotation_id) is not int:
                raise DatasetError(f"'id' of {where} must be a whole number; give each annotation its own.")
            if annotation_id in seen:
                raise DatasetError(f"{where} repeats the id of another annotation; give each annotation its own.")
            seen.add(annotation_id)
            index = indices.get(image_id) if type(image_id) is int else None
            if index is None:
                raise DatasetError(
                    f"{where} belongs to image id {brief(image_id)}, which 'images' does not list; add the "
                    "image or remove the annotation."
                )
            if index < len(objects):
                record = parse_object(entry, where, self.images[index], self.categories, self.dropped)
                if record is not None:
                    objects[index].append(record)
        return objects


def _check_files_exist(images: list[ImageRecord], folder: Path, annotation_file: Path) -> None:
    """Raise a DatasetError for the first image whose file is absent; one listing per folder, not one call each."""
    if not os.path.isdir(folder):
        raise DatasetError(f"The image folder {folder} (of {annotation_file}) does not exist; check the path.")
    names_by_folder: dict[str, set[str]] = {}
    missing: list[str] = []
    for image in images:
        parent, name = os.path.split(image.file_name)
        if parent not in names_by_folder:
            names_by_folder[parent] = set()
            with suppress(OSError, ValueError):  # a folder that is absent or may not be listed, or a zero in its name
                names_by_folder[parent] = set(os.listdir(folder / parent))
        # A listing may spell a name otherwise than the file does (accents, case), so ask before refusing. os.path
        # takes names that are too long for a file, or hold a zero, for absent ones; Path raises.
        if name not in names_by_folder[parent] and not os.path.isfile(folder / image.file_name):
            missing.append(image.file_name)
    if missing:
        others = f" and {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DatasetError(
            f"'{printable(missing[0])}'{others} named by {annotation_file} cannot be found in {folder}; correct the "
            "folder or the names."
        )
