"""Objects of the tiles of one image: those that tiles cut are joined, those that several tiles see are taken once.

Two instances of tiles that overlap are one object where their masks agree in the strip that both tiles see. A tile that
sees all of an object is believed; where none does, the parts of its mask are put together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from yolact.instances import Instances
from yolact.ops.regions import MaskRegion
from yolact.structures import View

SAME_IOU = 0.5  # of two masks within the strip, from which on they are of one object
EDGE = 0.01  # of a tile's side: an object that comes so near to where its tile ends may go on beyond
WHOLE = 0.7  # of an object's pixels: what a tile shows of it at least, if it shows all
COVERED = 0.5  # of a part that a tile cut: beyond it, it belongs to the whole object of another tile that covers it

Ints = NDArray[np.int64]


def join_tiles(tiles: Sequence[tuple[View, Instances]], image_size: tuple[int, int]) -> Instances:
    """Put together what was found in the tiles of an image.

    Args:
        tiles: one at least, row by row, each with its instances in its own pixels.
        image_size: (H, W) of the image.

    Returns:
        Instances in pixels of the image, by descending score.
    """
    parts = _Parts(tiles, image_size)
    for first, second in _overlapping([view for view, _ in tiles], parts.members):
        parts.join(first, second)
    parts.complete()
    parts.drop_covered()
    order = parts.kept[np.argsort(-parts.scores[parts.kept], kind="stable")]
    return replace(
        tiles[0][1],
        boxes=torch.from_numpy(parts.boxes[order]),
        scores=torch.from_numpy(parts.scores[order]),
        labels=torch.from_numpy(parts.labels[order]),
        regions=[parts.regions[index] for index in order.tolist()],
        mask_scores=torch.from_numpy(parts.mask_scores[order]),
        image_size=image_size,
        image=None,
    )


class _Parts:
    """The N instances of all tiles, in pixels of the image.

    Attributes:
        members: of each tile, the numbers of its instances.
        groups: [N], the same number for all parts of an object.
        is_cut: [N], an object may go on where its tile ends.
        kept: the numbers of the instances that stay.
    """

    def __init__(self, tiles: Sequence[tuple[View, Instances]], image_size: tuple[int, int]) -> None:
        self.views = np.array([view for view, _ in tiles])
        counts = [len(found) for _, found in tiles]
        self.tiles = np.repeat(np.arange(len(tiles)), counts)
        self.members = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
        everything = [found for _, found in tiles]
        corners = self.views[self.tiles, :2]
        self.boxes = _joined(everything, "boxes") + np.tile(corners, 2).astype(np.float32)
        self.scores, self.mask_scores = _joined(everything, "scores"), _joined(everything, "mask_scores")
        self.labels = _joined(everything, "labels")
        self.regions = [
            region._replace(top=region.top + y, left=region.left + x)
            for region, (x, y) in zip((one for found in everything for one in found.regions), corners, strict=True)
        ]
        self.groups, self.kept = np.arange(len(self.boxes)), np.arange(len(self.boxes))
        height, width = image_size
        ends_inside = (self.views > 0) & (self.views < (width, height, width, height))
        margin = EDGE * np.tile(self.views[:, 2:] - self.views[:, :2], 2)
        near = np.abs(self.boxes - self.views[self.tiles]) <= margin[self.tiles]
        self.is_cut = (near & ends_inside[self.tiles]).any(1)

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
        """Keep one instance of each group: that of a tile that shows the whole object, or all parts in one."""
        kept = []
        for group in np.unique(self.groups).tolist():
            parts = np.flatnonzero(self.groups == group)
            best = int(parts[self.scores[parts].argmax()])
            if len(parts) > 1:
                whole, union = parts[~self.is_cut[parts]], _union([self.regions[index] for index in parts])
                chosen = int(whole[self.scores[whole].argmax()]) if len(whole) else best
                if self.is_cut[chosen] or self.regions[chosen].area < WHOLE * union.area:
                    low, high = self.boxes[parts, :2].min(0), self.boxes[parts, 2:].max(0)
                    self.regions[best], self.boxes[best], self.is_cut[best] = union, np.concatenate((low, high)), False
                    chosen = best
                self.scores[chosen], self.mask_scores[chosen] = self.scores[parts].max(), self.mask_scores[parts].max()
                best = chosen
            kept.append(best)
        self.kept = np.array(kept, np.int64)

    def drop_covered(self) -> None:
        """Drop the cut parts that lie on a whole object of another tile, of their class or of a higher score."""
        whole, dropped = self.kept[~self.is_cut[self.kept]], []
        for index in self.kept[self.is_cut[self.kept]].tolist():
            likely = (self.labels[whole] == self.labels[index]) | (self.scores[whole] >= self.scores[index])
            likely &= (self.tiles[whole] != self.tiles[index]) & _overlap(self.boxes[whole], self.boxes[index])
            region = self.regions[index]
            rectangle = region.top, region.left, region.top + region.height, region.left + region.width
            least = COVERED * region.area
            if any(np.count_nonzero(region.mask & self.regions[one].crop(*rectangle)) > least for one in whole[likely]):
                dropped.append(index)
        self.kept = np.setdiff1d(self.kept, dropped)


def _joined(found: Sequence[Instances], field: str) -> NDArray[np.float32]:
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
