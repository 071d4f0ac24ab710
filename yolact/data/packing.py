"""The objects of all images in a few arrays.

A million Python objects in forked processes would be copied page by page as their reference counts change.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from yolact.data.annotations import ObjectRecord
from yolact.data.masks import Rle, Segmentation

FIELDS = np.dtype([
    ("label", np.int32),
    ("bbox", np.float64, 4),
    ("area", np.float64),
    ("iscrowd", np.bool_),
    ("rle_size", np.int32, 2),  # (H, W); zeros for polygons
    ("end", np.int64),  # of its parts, which follow those of the object before it
])  # fmt: skip


class PackedObjects:
    """The objects of each image, by the image's index; the arrays in them cannot be written to."""

    def __init__(self, images: Iterable[Sequence[ObjectRecord]]) -> None:
        parts: list[NDArray[np.uint32]] = []  # a polygon or run lengths each
        rows: list[tuple[object, ...]] = []
        ids: list[int] = []
        ends: list[int] = []
        for objects in images:
            for item in objects:
                parts += _parts(item.segmentation)
                size = item.segmentation[:2] if isinstance(item.segmentation, Rle) else (0, 0)
                rows.append((item.label, item.bbox, item.area, item.iscrowd, size, len(parts)))
                ids.append(item.id)
            ends.append(len(rows))
        self._rows, self._ends, self._ids = np.array(rows, FIELDS), np.array(ends, np.int64), np.array(ids, np.int64)
        self._words = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
        self._words.flags.writeable = False
        self._part_ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __getitem__(self, index: int) -> list[ObjectRecord]:
        first = self._ends[index - 1] if index else 0
        return [self._object(row) for row in range(first, self._ends[index])]

    def _object(self, row: int) -> ObjectRecord:
        label, bbox, area, iscrowd, (height, width), end = self._rows[row].item()
        parts = [self._part(part) for part in range(self._rows[row - 1]["end"] if row else 0, end)]
        segmentation: Segmentation
        if height:
            segmentation = Rle(height, width, parts[0])
        else:
            segmentation = [part.view(np.float32).reshape(-1, 2) for part in parts]
        return ObjectRecord(label, tuple(bbox), iscrowd, segmentation, area, int(self._ids[row]))

    def _part(self, part: int) -> NDArray[np.uint32]:
        return self._words[self._part_ends[part - 1] if part else 0 : self._part_ends[part]]


def _parts(segmentation: Segmentation) -> list[NDArray[np.uint32]]:
    if isinstance(segmentation, Rle):
        return [segmentation.runs]
    return [np.ascontiguousarray(polygon).view(np.uint32).ravel() for polygon in segmentation]
