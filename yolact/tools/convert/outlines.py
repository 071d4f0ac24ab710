"""Rectangles and ellipses as polygons."""

import math

import numpy as np

from yolact.tools.convert.common import Polygon

ELLIPSE_ERROR = 0.05  # pixels by which the sides of the polygon may fall short of an ellipse


def rotate(points: Polygon, centre: tuple[float, float], degrees: float) -> Polygon:
    """Return points [M, 2] (x, y) turned clockwise, as one sees it on a screen."""
    if not degrees:
        return points
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: Polygon = (points - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre
    return turned


def rectangle(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    """Return the corners of a rectangle, clockwise from (x0, y0)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


def ellipse(
    centre: tuple[float, float], radii: tuple[float, float], degrees: float, image_size: tuple[int, int]
) -> Polygon:
    """Return an ellipse as a polygon whose sides nearly touch it.

    An ellipse may reach far out of the image, (H, W), unlike outlines drawn by hand; it is cut there, which changes
    nothing within.
    """
    radius = max(*radii, ELLIPSE_ERROR)
    number = max(12, math.ceil(math.pi / math.acos(max(1 - ELLIPSE_ERROR / radius, 0))))
    angles = np.linspace(0, 2 * math.pi, number, endpoint=False)
    outline = centre + np.stack((np.cos(angles), np.sin(angles)), axis=1) * radii
    return np.clip(rotate(outline, centre, degrees), 0, image_size[::-1])
