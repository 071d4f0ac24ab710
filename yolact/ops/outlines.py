"""Masks as polygons, in pixels of the image.

Pixel centres have whole coordinates, as OpenCV draws them (COCO's and labelme's are higher by one half). A line runs a
quarter pixel beside the centres of the border pixels, so that it encloses exactly the centres that belong to it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from yolact.ops.regions import MaskRegion

SHARE = 0.1  # leaves discs of any size nine tenths of their overlap with their pixels


class Polygon(NamedTuple):
    """A connected part of a mask: what lies within `outline` and in none of `holes`."""

    outline: np.ndarray  # float32 [M, 2] (x, y), M at least 4
    holes: list[np.ndarray]  # the same form


def mask_outlines(region: MaskRegion) -> list[np.ndarray]:
    """Return the outline of each connected part, float32 [M, 2] (x, y); holes and what lies in them are left out."""
    return _lines(region, cv2.RETR_EXTERNAL)[0]


def mask_polygons(region: MaskRegion) -> list[Polygon]:
    """Return the connected parts of a mask, each with its holes: exactly the mask, also within its holes."""
    lines, parents = _lines(region, cv2.RETR_CCOMP)
    polygons = {number: Polygon(line, []) for number, line in enumerate(lines) if parents[number] < 0}
    for line, parent in zip(lines, parents, strict=True):
        if parent >= 0:
            polygons[parent].holes.append(line)
    return list(polygons.values())


def _lines(region: MaskRegion, mode: int) -> tuple[list[np.ndarray], list[int]]:
    """Return outlines and holes, and for each line the number of the one around it, or -1."""
    if region.height == 0:
        return [], []
    # Twice the size: a single pixel becomes 2 x 2, whose outline has an area.
    double = cv2.resize(region.mask.view(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, tree = cv2.findContours(double, mode, cv2.CHAIN_APPROX_SIMPLE)
    corner = np.array([region.left, region.top], np.float32)
    lines = [contour[:, 0].astype(np.float32) / 2 - 0.25 + corner for contour in contours]
    return lines, tree[0, :, 3].tolist()


def simplified(line: np.ndarray, tolerance: float) -> np.ndarray:
    """Return a closed line with fewer points, from which the left out ones are at most `tolerance` pixels away.

    What is small or thin keeps its form: its points are at most `SHARE` of its radius away.
    """
    if tolerance == 0:
        return line
    radius = 2 * cv2.contourArea(line) / cv2.arcLength(line, closed=True)  # that of a disc, else half the width
    fewer: np.ndarray = cv2.approxPolyDP(line[:, None], min(tolerance, SHARE * radius), closed=True)[:, 0]
    return fewer


def one_line(outline: np.ndarray, holes: Sequence[np.ndarray]) -> np.ndarray:
    """Return a polygon with holes as one closed line, which goes to each hole and back along the same way.

    The ways enclose nothing, whatever they cross, so that filling the line leaves the holes empty.
    """
    line = outline
    for hole in holes:
        around = np.roll(hole, -int(hole[:, 0].argmin()), axis=0)
        nearest = int(np.square(line - around[0]).sum(axis=1).argmin())
        line = np.concatenate([line[: nearest + 1], around, around[:1], line[nearest:]])
    return line
