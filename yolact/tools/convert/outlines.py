"""Rectangles and ellipses as polygons."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from yolact.tools.convert.common import Polygon

ELLIPSE_ERROR = 0.05  # pixels by which the sides of the polygon may fall short of an ellipse
Pair = Sequence[float] | NDArray[np.float64]


def rotate(points: Polygon, centre: Pair, degrees: float) -> Polygon:
    """Return points [M, 2] (x, y) turned clockwise, as one sees it on a screen."""
    if not degrees:
        return points
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    middle = np.asarray(centre, np.float64)
    return np.asarray((points - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle)


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    """Return the corners of a rectangle, beginning with (x0, y0)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


def ellipse(centre: Pair, radii: Pair, degrees: float, image_size: tuple[int, int]) -> Polygon:
    """Return an ellipse as a polygon whose sides nearly touch it.

    An ellipse may reach far out of the image, (H, W), unlike outlines drawn by hand; it is cut there, which changes
    nothing within.
    """
    radius = max(float(np.max(radii)), ELLIPSE_ERROR)
    number = max(12, math.ceil(math.pi / math.acos(max(1 - ELLIPSE_ERROR / radius, 0))))
    angles = np.linspace(0, 2 * math.pi, number, endpoint=False)
    outline = np.asarray(centre) + np.stack((np.cos(angles), np.sin(angles)), axis=1) * np.asarray(radii)
    return np.clip(rotate(outline, centre, degrees), 0, image_size[::-1])
