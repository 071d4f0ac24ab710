"""Generated images of five kinds of shapes: a small COCO data set with the trouble of real ones, made in seconds.

Objects and background have gradients, stripes, checks, blotches and noise; objects touch, cover each other, leave the
image, and are from 8 pixels wide to half the image. A few images show none, and a few are gray. Masks are the visible
parts. The category ids have gaps and do not begin at 1, as in many real files.
"""

import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm.contrib.concurrent import process_map

from yolact.data.segmentations import draw_masks
from yolact.errors import DatasetError
from yolact.tools.convert.common import FoundImage, FoundObject, Part, encode_mask, make_object
from yolact.tools.convert.writing import coco_content

VERSION = 2  # of the images; raise it with every change of them, so that stale ones are made anew
CLASS_NAMES = ("circle", "square", "triangle", "star", "ring")
CATEGORY_IDS = (3, 7, 11, 20, 42)
SMALLEST_AREA = 30  # visible pixels; what shows less of itself is left out of the image
SMALLEST_SHARE = 0.4  # visible part of the whole shape
TINY_SHARE = 0.06  # of the objects
EMPTY_SHARE = 0.02  # of the images
PNG_SHARE = 0.15  # of the files; the others are JPEG
GRAY_SHARE = 0.04
LARGEST_TILT = np.pi / 12  # like most things, shapes stand more or less upright
SUPERSAMPLING = 4
FEW = 100  # images that one process makes as fast as several would
Array = NDArray[np.float32]


class Shape(NamedTuple):
    """One object of a generated image."""

    label: int  # index into CLASS_NAMES
    centre: Array  # (x, y)
    radius: float
    outlines: list[Array]  # [M, 2] (x, y); a second one is a hole
    region: tuple[slice, slice]  # rows and columns of the image that it touches
    alpha: Array  # [h, w] in [0, 1], coverage of the pixels of its region
    mask: NDArray[np.bool_]  # [H, W], the visible part
    polygon: NDArray[np.float64] | None = None  # [M, 2] (x, y), where one outline describes all of it


def draw_shapes(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], list[Shape]]:
    """Draw one image, of which each side has 0.75 to 1 times `size` pixels.

    Returns it as uint8 [H, W, 3] BGR or, if it is gray, [H, W]; and its objects, the topmost first.
    """
    height, width = (int(side) for side in rng.integers(round(0.75 * size), size + 1, 2))
    canvas = _texture(rng, height, width, rng.uniform(20, 235, 3).astype(np.float32))
    _draw_strokes(rng, canvas)
    objects = _visible(_place_shapes(rng, height, width), height, width)
    colour_below = canvas.mean(axis=(0, 1))
    for shape in reversed(objects):
        _paint(rng, canvas, shape, colour_below)
    # Uneven light, a little blur and the noise of a sensor.
    if rng.random() < 0.5:
        canvas = canvas * (1 + rng.uniform(0.1, 0.4) * (_ramp(rng, height, width) - 0.5))[..., None]
    if rng.random() < 0.4:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.4, 0.9))), np.float32)
    noise = rng.standard_normal(canvas.shape, np.float32)
    image = np.clip(canvas + np.float32(rng.uniform(1, 10)) * noise, 0, 255).astype(np.uint8)
    if rng.random() < GRAY_SHARE:
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    return image, objects


def _place_shapes(rng: np.random.Generator, height: int, width: int) -> list[Shape]:
    """Place shapes, the topmost first; about a third beside an earlier one, touching or partly covered by it."""
    shapes: list[Shape] = []
    if rng.random() < EMPTY_SHARE:
        return shapes
    for _ in range(int(rng.integers(1, 8))):
        low, high = np.log(0.1 * min(height, width)), np.log(0.28 * min(height, width))
        tiny = rng.random() < TINY_SHARE
        radius = float(rng.uniform(4, 8) if tiny else np.exp(rng.uniform(low, high)))
        for _ in range(10):
            centre = rng.uniform((0, 0), (width, height)).astype(np.float32)
            if shapes and rng.random() < 0.35:
                other = shapes[int(rng.integers(len(shapes)))]
                angle = rng.uniform(0, 2 * np.pi)
                reach = (radius + other.radius) * rng.uniform(0.7, 1.0)
                centre = other.centre + np.float32(reach) * np.array([np.cos(angle), np.sin(angle)], np.float32)
            if all(float(np.hypot(*(centre - other.centre))) > 0.6 * (radius + other.radius) for other in shapes):
                shapes += filter(None, [_make_shape(rng, centre, radius, height, width)])
                break
    return shapes


def _make_shape(rng: np.random.Generator, centre: Array, radius: float, height: int, width: int) -> Shape | None:
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
    region = slice(low[1], high[1]), slice(low[0], high[0])
    columns, rows = (high - low).tolist()
    # Drawn as annotations are, but finely, so that edges are soft and masks agree with polygons.
    fine = np.column_stack((np.eye(2), -low)) * SUPERSAMPLING
    filled = draw_masks([[outline] for outline in outlines], fine, (rows * SUPERSAMPLING, columns * SUPERSAMPLING))
    solid = (filled[0] > 0) & ~filled[1:].any(axis=0)
    alpha = cv2.resize(solid * np.uint8(255), (columns, rows), interpolation=cv2.INTER_AREA)
    alpha = np.asarray(alpha / 255, np.float32)
    mask = np.zeros((height, width), np.bool_)
    mask[region] = alpha >= 0.5
    return Shape(label, centre, radius, outlines, region, alpha, mask)


def _unit_outlines(rng: np.random.Generator, name: str) -> list[NDArray[np.float64]]:
    """Return the outline of a shape in the unit circle, and that of its hole if it has one."""
    count = {"square": 4, "triangle": 3, "star": 10}.get(name, 40)
    first = -np.pi / 4 if name == "square" else -np.pi / 2  # a flat side at the top, or a tip
    angles = first + np.arange(count) * (2 * np.pi / count)
    points = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    if name == "star":
        points[1::2] *= rng.uniform(0.48, 0.6)
    return [points, points * rng.uniform(0.4, 0.55)] if name == "ring" else [points]


def _visible(shapes: list[Shape], height: int, width: int) -> list[Shape]:
    """Return the shapes with what shows of them, the topmost first, without those that hardly show."""
    covered = np.zeros((height, width), np.bool_)
    objects = []
    for shape in shapes:
        mask = shape.mask & ~covered
        outline, *holes = shape.outlines
        area, whole = int(mask.sum()), cv2.contourArea(outline) - sum(map(cv2.contourArea, holes))
        if area < SMALLEST_AREA or area < SMALLEST_SHARE * whole:
            continue
        covered |= shape.mask
        inside = (outline >= 0).all() and (outline <= (width, height)).all()
        complete = inside and not holes and area == int(shape.mask.sum())
        polygon = np.round(outline, 2).astype(np.float64) if complete else None
        objects.append(shape._replace(mask=mask, polygon=polygon))
    return objects


def _paint(rng: np.random.Generator, canvas: Array, shape: Shape, colour_below: Array) -> None:
    """Fill a shape with a texture that differs from the background, lit from a side, sometimes with a rim."""
    colour = rng.uniform(10, 245, 3).astype(np.float32)
    while np.linalg.norm(colour - colour_below) < 100:
        colour = rng.uniform(10, 245, 3).astype(np.float32)
    rows, columns = shape.alpha.shape
    fill = _texture(rng, rows, columns, colour)
    if rng.random() < 0.5:
        fill += rng.uniform(10, 40) * (_ramp(rng, rows, columns) - 0.5)[..., None]
    if rng.random() < 0.25:
        corner = (shape.region[1].start, shape.region[0].start)
        points = [np.round((outline - corner - 0.5) * 16).astype(np.int32) for outline in shape.outlines]
        rim = tuple(float(channel) for channel in colour * rng.uniform(0.2, 0.6))
        cv2.polylines(fill, points, True, rim, int(rng.integers(1, 3)), cv2.LINE_8, shift=4)
    region = canvas[shape.region]
    region += (fill - region) * shape.alpha[..., None]


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
    other = colour + (rng.uniform(15, 70) * rng.uniform(-1, 1, 3)).astype(np.float32)
    if kind == "plain":
        mix = np.zeros((height, width), np.float32)
    elif kind == "gradient":
        mix = _ramp(rng, height, width)
    elif kind == "blotches":  # smooth noise of two scales
        cells = int(rng.integers(3, 9))
        coarse, fine = rng.random((cells, cells), np.float32), rng.random((cells * 4, cells * 4), np.float32)
        mix = 0.7 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        mix = mix + 0.3 * cv2.resize(fine, (width, height))
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


def _waves(rng: np.random.Generator, height: int, width: int) -> Array:
    """Return stripes in 0..1 with soft edges, in a random direction, 5 to 24 pixels wide each pair."""
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 24)
    x = np.arange(width, dtype=np.float32) * np.float32(np.cos(angle) * 2 * np.pi / period)
    y = np.arange(height, dtype=np.float32)[:, None] * np.float32(np.sin(angle) * 2 * np.pi / period)
    return np.clip(0.5 + 1.5 * np.sin(x + y + np.float32(rng.uniform(0, 6))), 0, 1).astype(np.float32)


def write_shapes(folder: str | Path, num_train: int, num_val: int, size: int = 256, seed: int = 0) -> bool:
    """Write folder/train, folder/val, folder/instances_train.json and folder/instances_val.json, all of it or nothing.

    `size` is the longest possible side in pixels; the same `seed` gives the same images. Returns False where the same
    set was there already. DatasetError where a number is out of range, or the folder holds something else or cannot be
    written.
    """
    folder = Path(folder)
    if min(num_train, num_val) < 1 or size < 64 or seed < 0:
        raise DatasetError(
            f"Expected at least 1 image each to train and to validate on, a size of at least 64 pixels and a seed of "
            f"at least 0, got {num_train}, {num_val}, {size} and {seed}; correct them."
        )
    stamp = json.dumps({"version": VERSION, "train": num_train, "val": num_val, "size": size, "seed": seed})
    try:
        found = (folder / "stamp.json").read_bytes() if (folder / "stamp.json").is_file() else b""
        if found == stamp.encode():
            return False
        if not found.startswith(b'{"version":') and folder.exists() and any(folder.iterdir()):
            raise DatasetError(
                f"{folder} exists and was not made by this program, so it is left as it is; choose another folder."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            made = Path(temporary) / "new"
            _write_split(made, "train", num_train, size, (seed, 0))
            _write_split(made, "val", num_val, size, (seed, 1))
            (made / "stamp.json").write_text(stamp)
            if folder.exists():
                folder.rename(Path(temporary) / "old")
            made.rename(folder)
    except OSError as error:
        raise DatasetError(f"Cannot write the shapes to {folder}: {error.strerror}; choose another folder.") from None
    return True


def _write_split(folder: Path, split: str, count: int, size: int, seeds: tuple[int, int]) -> None:
    (folder / split).mkdir(parents=True)
    write = partial(_write_image, folder / split, size, seeds)
    if count < FEW:
        images = [write(number) for number in range(count)]
    else:
        images = process_map(write, range(count), max_workers=os.cpu_count(), chunksize=20, desc=split, disable=None)
    content = coco_content(images, dict(zip(CATEGORY_IDS, CLASS_NAMES, strict=True)))
    for category in content["categories"]:
        category["supercategory"] = "shape"
    (folder / f"instances_{split}.json").write_text(json.dumps(content))


def _write_image(folder: Path, size: int, seeds: tuple[int, int], number: int) -> FoundImage:
    rng = np.random.default_rng([*seeds, number])
    image, shapes = draw_shapes(rng, size)
    suffix = ".png" if rng.random() < PNG_SHARE else ".jpg"
    options = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(80, 96))]
    _, data = cv2.imencode(suffix, image, options if suffix == ".jpg" else [])
    name = f"{number:06d}{suffix}"
    (folder / name).write_bytes(data.tobytes())
    return FoundImage(name, (image.shape[0], image.shape[1]), [_found_object(shape) for shape in shapes])


def _found_object(shape: Shape) -> FoundObject:
    area = encode_mask(shape.mask) if shape.polygon is None else shape.polygon
    found = make_object([Part(CLASS_NAMES[shape.label], area, "a shape")], (shape.mask.shape[0], shape.mask.shape[1]))
    assert found is not None  # it shows SMALLEST_AREA at least
    found.annotation["area"] = float(shape.mask.sum())
    return found
