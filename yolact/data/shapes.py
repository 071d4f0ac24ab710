"""Generated pictures of five kinds of shapes: a small data set with the trouble of real ones, made in seconds.

Objects and background have gradients, stripes, checks, blotches and noise; objects touch, cover each other, leave the
picture, and are from 8 pixels wide to half the picture. A few pictures show none, and a few are gray. Masks are the
visible parts. The category ids have gaps and do not begin at 1, as in many real files.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolact.data.masks import draw_masks

CLASS_NAMES = ("circle", "square", "triangle", "star", "ring")
CATEGORY_IDS = (3, 7, 11, 20, 42)

SMALLEST_AREA = 30  # visible pixels; what shows less of itself is left out of the picture
SMALLEST_SHARE = 0.4  # visible part of the whole shape
TINY_SHARE = 0.06  # of the objects
EMPTY_SHARE = 0.02  # of the pictures
GRAY_SHARE = 0.04
LARGEST_TILT = np.pi / 12  # like most things, shapes stand more or less upright
SUPERSAMPLING = 4

Array = NDArray[np.float32]


class VisibleShape(NamedTuple):
    """One object of a generated picture."""

    label: int  # place in CLASS_NAMES
    mask: NDArray[np.bool_]  # [H, W], the visible part
    polygon: NDArray[np.float64] | None  # [M, 2] (x, y), where one outline describes all of it


class _Shape(NamedTuple):
    """A shape that has its place, before it is known how much of it shows."""

    label: int
    centre: Array  # (x, y)
    radius: float
    outlines: list[Array]  # [M, 2] (x, y); a second one is a hole
    alpha: Array  # [h, w] in [0, 1], coverage of the pixels of its region
    x: int  # first column and row of the region
    y: int

    @property
    def region(self) -> tuple[slice, slice]:
        return slice(self.y, self.y + self.alpha.shape[0]), slice(self.x, self.x + self.alpha.shape[1])


def draw_shapes(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], list[VisibleShape]]:
    """Draw one picture.

    Args:
        rng: the picture's random numbers.
        size: the longest side that is possible, in pixels; each side is 0.75 to 1 of it.

    Returns:
        The picture, uint8 [H, W, 3] BGR or, if it is gray, [H, W]; and its objects, the topmost first.
    """
    height, width = (int(side) for side in rng.integers(round(0.75 * size), size + 1, 2))
    canvas = _texture(rng, height, width, rng.uniform(20, 235, 3).astype(np.float32))
    _draw_strokes(rng, canvas)
    objects, drawn = _visible(_place_shapes(rng, height, width), height, width)
    colour_below = canvas.mean(axis=(0, 1))
    for shape in reversed(drawn):
        _paint(rng, canvas, shape, colour_below)
    picture = _photograph(rng, canvas)
    if rng.random() < GRAY_SHARE:
        picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    return picture, objects


def _place_shapes(rng: np.random.Generator, height: int, width: int) -> list[_Shape]:
    """Place shapes, the topmost first; about a third beside an earlier one, touching or partly covered by it."""
    shapes: list[_Shape] = []
    if rng.random() < EMPTY_SHARE:
        return shapes
    for _ in range(int(rng.integers(1, 8))):
        radius = _radius(rng, min(height, width))
        for _ in range(10):
            centre = rng.uniform((0, 0), (width, height)).astype(np.float32)
            if shapes and rng.random() < 0.35:
                other = shapes[int(rng.integers(len(shapes)))]
                angle = rng.uniform(0, 2 * np.pi)
                reach = (radius + other.radius) * rng.uniform(0.7, 1.0)
                centre = other.centre + np.float32(reach) * np.array([np.cos(angle), np.sin(angle)], np.float32)
            if all(_apart(centre, radius, shape) for shape in shapes):
                shape = _make_shape(rng, centre, radius, height, width)
                shapes.extend([] if shape is None else [shape])
                break
    return shapes


def _radius(rng: np.random.Generator, side: int) -> float:
    if rng.random() < TINY_SHARE:
        return float(rng.uniform(4, 8))
    return float(np.exp(rng.uniform(np.log(0.1 * side), np.log(0.28 * side))))


def _apart(centre: Array, radius: float, shape: _Shape) -> bool:
    distance = float(np.hypot(*(centre - shape.centre)))
    return distance > 0.6 * (radius + shape.radius)


def _make_shape(rng: np.random.Generator, centre: Array, radius: float, height: int, width: int) -> _Shape | None:
    label = int(rng.integers(len(CLASS_NAMES)))
    angle, stretch = rng.uniform(-LARGEST_TILT, LARGEST_TILT), rng.uniform(0.8, 1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    outlines = [
        ((outline * (radius, radius * stretch)) @ turn.T + centre).astype(np.float32)
        for outline in _unit_outlines(rng, CLASS_NAMES[label])
    ]
    low = np.maximum(np.floor(outlines[0].min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(outlines[0].max(axis=0)), (width, height)).astype(int)
    if (high <= low).any():
        return None
    columns, rows = high - low
    # Drawn as annotations are, but finely, so that edges are soft and masks agree with polygons.
    fine = np.array([[SUPERSAMPLING, 0, -low[0] * SUPERSAMPLING], [0, SUPERSAMPLING, -low[1] * SUPERSAMPLING]], float)
    filled = draw_masks([[outline] for outline in outlines], fine, (rows * SUPERSAMPLING, columns * SUPERSAMPLING))
    filled[0, (filled[1:] > 0).any(axis=0)] = 0
    alpha = cv2.resize(filled[0] * np.uint8(255), (int(columns), int(rows)), interpolation=cv2.INTER_AREA)
    return _Shape(label, centre, radius, outlines, np.asarray(alpha / 255, np.float32), int(low[0]), int(low[1]))


def _unit_outlines(rng: np.random.Generator, name: str) -> list[NDArray[np.float64]]:
    """Return the outline of a shape in the unit circle, and that of its hole if it has one."""

    def points(count: int, radius: NDArray[np.float64] | float = 1.0) -> NDArray[np.float64]:
        first = -np.pi / 2 if count != 4 else -np.pi / 4  # a tip at the top, or a flat side
        angles = first + np.arange(count) * (2 * np.pi / count)
        return np.stack((np.cos(angles), np.sin(angles)), axis=1) * np.reshape(radius, (-1, 1))

    if name == "circle":
        return [points(40)]
    if name == "ring":
        return [points(40), points(40, rng.uniform(0.4, 0.55))]
    if name == "star":
        return [points(10, np.tile([1.0, rng.uniform(0.48, 0.6)], 5))]
    return [points(4 if name == "square" else 3)]


def _visible(shapes: list[_Shape], height: int, width: int) -> tuple[list[VisibleShape], list[_Shape]]:
    """Return what shows of the shapes, and the shapes to draw: without those that hardly show."""
    covered = np.zeros((height, width), np.bool_)
    objects, drawn = [], []
    for shape in shapes:
        solid = shape.alpha >= 0.5
        mask = np.zeros((height, width), np.bool_)
        mask[shape.region] = solid & ~covered[shape.region]
        whole = cv2.contourArea(shape.outlines[0]) - sum(map(cv2.contourArea, shape.outlines[1:]))
        area = int(mask.sum())
        if area < SMALLEST_AREA or area < SMALLEST_SHARE * whole:
            continue
        outline = shape.outlines[0]
        inside = (outline >= 0).all() and (outline <= (width, height)).all()
        complete = inside and len(shape.outlines) == 1 and area == int(solid.sum())
        covered[shape.region] |= solid
        objects.append(VisibleShape(shape.label, mask, np.round(outline, 2).astype(np.float64) if complete else None))
        drawn.append(shape)
    return objects, drawn


def _paint(rng: np.random.Generator, canvas: Array, shape: _Shape, colour_below: Array) -> None:
    """Fill a shape with a texture that differs from the background, lit from a side, sometimes with a rim."""
    colour = rng.uniform(10, 245, 3).astype(np.float32)
    while np.linalg.norm(colour - colour_below) < 100:
        colour = rng.uniform(10, 245, 3).astype(np.float32)
    rows, columns = shape.alpha.shape
    fill = _texture(rng, rows, columns, colour)
    if rng.random() < 0.5:
        fill += rng.uniform(10, 40) * (_ramp(rng, rows, columns) - 0.5)[..., None]
    alpha = shape.alpha[..., None]
    if rng.random() < 0.25:
        points = [np.round((outline - (shape.x, shape.y) - 0.5) * 16).astype(np.int32) for outline in shape.outlines]
        rim = tuple(float(channel) for channel in colour * rng.uniform(0.2, 0.6))
        cv2.polylines(fill, points, True, rim, int(rng.integers(1, 3)), cv2.LINE_8, shift=4)
    region = canvas[shape.region]
    region += (fill - region) * alpha


def _draw_strokes(rng: np.random.Generator, canvas: Array) -> None:
    """Draw a few thin lines and arcs on the background, which are no objects."""
    height, width = canvas.shape[:2]
    for _ in range(int(rng.integers(0, 4))):
        colour = tuple(float(channel) for channel in rng.uniform(0, 255, 3))
        start, end = rng.integers(0, (width, height), (2, 2))
        thickness = int(rng.integers(1, 4))
        if rng.random() < 0.5:
            cv2.line(canvas, start.tolist(), end.tolist(), colour, thickness)
        else:
            axes, angle = rng.integers(10, width, 2).tolist(), float(rng.uniform(0, 360))
            cv2.ellipse(canvas, start.tolist(), axes, angle, 0, float(rng.uniform(30, 120)), colour, thickness)


def _texture(rng: np.random.Generator, height: int, width: int, colour: Array) -> Array:
    """Return a patch, float32 [height, width, 3] around 0..255, that mixes `colour` with another one."""
    kind = rng.choice(["plain", "gradient", "blotches", "stripes", "checks"], p=[0.15, 0.25, 0.3, 0.15, 0.15])
    contrast = rng.uniform(15, 70)
    other = colour + (contrast * rng.uniform(-1, 1, 3)).astype(np.float32)
    if kind == "plain":
        mix = np.zeros((height, width), np.float32)
    elif kind == "gradient":
        mix = _ramp(rng, height, width)
    elif kind == "blotches":
        mix = _blotches(rng, height, width)
    else:
        mix = _waves(rng, height, width)
        if kind == "checks":
            mix = np.abs(mix - _waves(rng, height, width))
    patch: Array = colour + mix[..., None] * (other - colour)
    return patch


def _ramp(rng: np.random.Generator, height: int, width: int) -> Array:
    """Return a linear ramp over 0..1 in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    rows = np.linspace(0, np.sin(angle), height, dtype=np.float32)
    ramp = np.linspace(0, np.cos(angle), width, dtype=np.float32) + rows[:, None]
    low = ramp.min()
    return ((ramp - low) / max(float(ramp.max() - low), 1e-6)).astype(np.float32)


def _blotches(rng: np.random.Generator, height: int, width: int) -> Array:
    """Return smooth noise of two scales around 0..1."""
    cells = int(rng.integers(3, 9))
    coarse = rng.random((cells, cells), np.float32)
    fine = rng.random((cells * 4, cells * 4), np.float32)
    mix = 0.7 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(mix + 0.3 * cv2.resize(fine, (width, height)), np.float32)


def _waves(rng: np.random.Generator, height: int, width: int) -> Array:
    """Return stripes in 0..1 with soft edges, in a random direction, 5 to 24 pixels wide each pair."""
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 24)
    x = np.arange(width, dtype=np.float32) * np.float32(np.cos(angle) * 2 * np.pi / period)
    y = np.arange(height, dtype=np.float32)[:, None] * np.float32(np.sin(angle) * 2 * np.pi / period)
    return np.clip(0.5 + 1.5 * np.sin(x + y + np.float32(rng.uniform(0, 6))), 0, 1).astype(np.float32)


def _photograph(rng: np.random.Generator, canvas: Array) -> NDArray[np.uint8]:
    """Add uneven light, a little blur and sensor noise."""
    height, width = canvas.shape[:2]
    if rng.random() < 0.5:
        canvas = canvas * (1 + rng.uniform(0.1, 0.4) * (_ramp(rng, height, width) - 0.5))[..., None]
    if rng.random() < 0.4:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.4, 0.9))), np.float32)
    noise = rng.standard_normal(canvas.shape, np.float32)
    return np.clip(canvas + np.float32(rng.uniform(1, 10)) * noise, 0, 255).astype(np.uint8)
