"""Objects of the tiles of one image: those that tiles cut are joined, those that several tiles see are taken once.

Two instances of tiles that overlap are one object where their masks agree in the strip that both tiles see. A tile that
sees all of an object is believed; where none does, the parts of its mask are put together.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from yolact.instances import Instances
from yolact.ops.regions import MaskRegion
from yolact.structures import View

SAME_IOU = 0.5  # of two masks within the strip, from which on they are of one object
EDGE = 0.01  # of a tile's side: an object that comes so near to where its tile ends may go on beyond
WHOLE = 0.7  # of an object's pixels: what a tile shows of it at least, if it shows all
COVERED = 0.5  # of a part that a tile cut: beyond it, it belongs to the whole object of another tile that covers it ...
SURE = 0.5  # ... unless that has less than this of its score

Ints = NDArray[np.int64]


def join_tiles(tiles: Iterable[tuple[View, Instances]], image_size: tuple[int, int]) -> Instances:
    """Put together what was found in the tiles of an image: first each row of tiles, and then the rows.

    Args:
        tiles: one at least, row by row, each with its instances in its own pixels. Only one row is kept at a time.
        image_size: (H, W) of the image.

    Returns:
        Instances in pixels of the image, by descending score.
    """
    rows = []
    for (top, bottom), row in groupby(tiles, key=lambda tile: (tile[0][1], tile[0][3])):
        size = (bottom - top, image_size[1])
        own = [
            _Tile((view[0], 0, view[2], size[0]), found, *np.zeros((2, len(found)), np.bool_)) for view, found in row
        ]
        rows.append(_joined(own, size)._replace(view=(0, top, image_size[1], bottom)))
    return _joined(rows, image_size).instances


class _Tile(NamedTuple):
    """A tile, or a row of tiles."""

    view: View
    instances: Instances  # N, in its pixels
    is_cut: NDArray[np.bool_]  # [N], an object may go on where a tile ends
    is_joined: NDArray[np.bool_]  # [N], it was put together from parts


def _joined(tiles: Sequence[_Tile], image_size: tuple[int, int]) -> _Tile:
    """Put together what was found in the tiles of an image, or in its rows of tiles."""
    parts = _Parts(tiles, image_size)
    for first, second in _overlapping([tile.view for tile in tiles], parts.members):
        parts.join(first, second)
    parts.complete()
    parts.drop_covered()
    order = parts.kept[np.argsort(-parts.scores[parts.kept], kind="stable")]
    found = replace(
        tiles[0].instances,
        boxes=torch.from_numpy(parts.boxes[order]),
        scores=torch.from_numpy(parts.scores[order]),
        labels=torch.from_numpy(parts.labels[order]),
        regions=[parts.regions[index] for index in order.tolist()],
        mask_scores=torch.from_numpy(parts.mask_scores[order]),
        image_size=image_size,
        image=None,
    )
    return _Tile((0, 0, *image_size[::-1]), found, parts.is_cut[order], parts.is_joined[order])


class _Parts:
    """The N instances of all tiles, in pixels of the image.

    Attributes:
        members: of each tile, the numbers of its instances.
        groups: [N], the same number for all parts of an object.
        is_cut, is_joined: [N], as in `_Tile`.
        kept: the numbers of the instances that stay, from `complete` on.
    """

    def __init__(self, tiles: Sequence[_Tile], image_size: tuple[int, int]) -> None:
        self.views, everything = np.array([tile.view for tile in tiles]), [tile.instances for tile in tiles]
        counts = [len(found) for found in everything]
        self.tiles = np.repeat(np.arange(len(tiles)), counts)
        self.members = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
        corners = self.views[self.tiles, :2]
        self.boxes = _field(everything, "boxes") + np.tile(corners, 2).astype(np.float32)
        self.scores, self.mask_scores = _field(everything, "scores"), _field(everything, "mask_scores")
        self.labels = _field(everything, "labels")
        self.regions = [
            region._replace(top=region.top + y, left=region.left + x)
            for region, (x, y) in zip((r for found in everything for r in found.regions), corners.tolist(), strict=True)
        ]
        self.groups = np.arange(len(self.boxes))
        height, width = image_size
        ends_inside = (self.views > 0) & (self.views < (width, height, width, height))
        margin = EDGE * np.tile(self.views[:, 2:] - self.views[:, :2], 2)
        near = np.abs(self.boxes - self.views[self.tiles]) <= margin[self.tiles]
        self.is_cut = np.concatenate([tile.is_cut for tile in tiles]) | (near & ends_inside[self.tiles]).any(1)
        self.is_joined = np.concatenate([tile.is_joined for tile in tiles])

    def join(self, first: int, second: int) -> None:
        """Give one group to those instances of two tiles that are of one object, the most alike first."""
        x0, y0 = np.maximum(self.views[first, :2], self.views[second, :2]).tolist()
        x1, y1 = np.minimum(self.views[first, 2:], self.views[second, 2:]).tolist()
        strip = np.array([x0, y0, x1, y1], np.float32)
        own, others = (
            members[_overlap(self.boxes[members], strip)] for members in (self.members[first], self.members[second])
        )
        alike = self.labels[own][:, None] == self.labels[others]
        alike &= _overlap(self.boxes[own][:, None], self.boxes[others])
        pairs = [
            (self._agreement(own[i], others[j], (x0, y0, x1, y1)), own[i], others[j]) for i, j in np.argwhere(alike)
        ]
        taken: set[int] = set()
        for agreement, one, other in sorted(pairs, key=lambda pair: -pair[0]):
            if agreement >= SAME_IOU and not {one, other} & taken:
                self.groups[self.groups == self.groups[other]] = self.groups[one]
                taken |= {one, other}

    def _agreement(self, one: int, other: int, strip: View) -> float:
        """Return the IoU of two masks within a strip."""
        left, top, right, bottom = strip
        masks = [self.regions[index].crop(top, left, bottom, right) for index in (one, other)]
        union = np.count_nonzero(masks[0] | masks[1])
        return np.count_nonzero(masks[0] & masks[1]) / union if union else 0.0

    def complete(self) -> None:
        """Keep one instance of each group: the surest of those that show the whole object, or else all parts in one."""
        order = np.argsort(self.groups, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(self.groups[order])) + 1)
        self.kept = np.array([self._complete(parts) for parts in groups if len(parts)], np.int64)

    def _complete(self, parts: Ints) -> int:
        best = int(parts[self.scores[parts].argmax()])
        if len(parts) == 1:
            return best
        whole, union = parts[~self.is_cut[parts]], _union([self.regions[index] for index in parts])
        if len(whole):
            shown = int(whole[self.scores[whole].argmax()])
            if self.regions[shown].area >= WHOLE * union.area:
                return shown  # with its own score: what is cut may be taken for something else
        low, high = self.boxes[parts, :2].min(0), self.boxes[parts, 2:].max(0)
        self.regions[best], self.boxes[best] = union, np.concatenate((low, high))
        self.is_cut[best] = self.is_joined[best] = True
        return best

    def drop_covered(self) -> None:
        """Drop parts that lie on a whole object: the tile that shows all of it would show them whole, too.

        A part that no other tile confirms is dropped on a larger object of joined parts as well.
        """
        cut = self.kept[self.is_cut[self.kept]]
        covering = self.kept[~self.is_cut[self.kept] | self.is_joined[self.kept]]
        joined, areas = self.is_joined[covering], np.array([self.regions[other].area for other in covering])
        dropped = []
        for index in cut.tolist():
            region = self.regions[index]
            area, mask = region.area, region.mask
            likely = _overlap(self.boxes[covering], self.boxes[index])
            likely &= self.scores[covering] >= SURE * self.scores[index]
            if self.is_joined[index]:
                likely &= ~joined
            else:
                likely &= (self.tiles[covering] != self.tiles[index]) & (~joined | (areas > area))
            rectangle = region.top, region.left, region.top + region.height, region.left + region.width
            others = (self.regions[other].crop(*rectangle) for other in covering[likely].tolist())
            if any(np.count_nonzero(mask & other) > COVERED * area for other in others):
                dropped.append(index)
        self.kept = np.setdiff1d(self.kept, dropped)


def _field(found: Sequence[Instances], field: str) -> NDArray[np.float32]:
    """Return a field of all instances as a new array."""
    return np.asarray(torch.cat([getattr(one, field) for one in found]).numpy().copy())


def _overlapping(views: Sequence[View], members: Sequence[Ints]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of tiles that overlap and hold instances; the views come row by row."""
    for first, (x0, _, x1, y1) in enumerate(views):
        for second in range(first + 1, len(views) if len(members[first]) else 0):
            left, top, right, _ = views[second]
            if top >= y1:
                break
            if left < x1 and right > x0 and len(members[second]):
                yield first, second


def _overlap(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which boxes [..., 4] have a part in common with others [..., 4]."""
    low, high = np.maximum(boxes[..., :2], others[..., :2]), np.minimum(boxes[..., 2:], others[..., 2:])
    return np.asarray((high > low).all(-1))


def _union(regions: Sequence[MaskRegion]) -> MaskRegion:
    """Return the pixels that any of some regions has."""
    parts = [region for region in regions if region.bits] or [*regions[:1]]
    top, left = min(region.top for region in parts), min(region.left for region in parts)
    bottom = max(region.top + region.height for region in parts)
    right = max(region.left + region.width for region in parts)
    masks = (region.crop(top, left, bottom, right) for region in parts)
    return MaskRegion.of(np.logical_or.reduce([*masks]), top, left)
