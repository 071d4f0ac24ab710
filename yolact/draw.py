"""Images for people: instances drawn on their image, two images side by side, titles.

Images are uint8 [H, W, 3] BGR arrays, as OpenCV reads and writes them.
"""

import colorsys
import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw

from yolact.fonts import font, is_drawable, runs, text_width
from yolact.text import printable

if TYPE_CHECKING:
    from yolact.instances import Instances

Colour = tuple[int, int, int]  # BGR
DARK, WHITE = (24, 24, 24), (255, 255, 255)
READABLE_SIDE = 640  # images whose longer side is below this are enlarged for people
NOTEBOOK_SIDE = 1000  # pixels of the longer side of what a notebook shows
LINES_OF_AN_OBJECT = 16  # thicknesses that half of the objects have as a side, at least
CROWD = 30  # objects from which an image is crowded: labels become smaller and fewer


class Drawing(np.ndarray):
    """A uint8 [H, W, 3] BGR array like any other, that a notebook shows as an image."""

    def _repr_png_(self) -> bytes | None:
        if self.dtype != np.uint8 or self.ndim != 3 or self.shape[2] != 3 or self.size == 0:
            return None  # a part of a drawing, or computed from one
        return encode_png(resize_image(np.asarray(self), min(1, NOTEBOOK_SIDE / max(self.shape))))


def for_people(image: np.ndarray) -> np.ndarray:
    """Return an image [H, W, C] as BGR: of four channels or more the first three as RGB, of fewer the first as gray."""
    channels = image.shape[2]
    return image if channels == 3 else np.ascontiguousarray(image[..., [2, 1, 0] if channels > 3 else [0, 0, 0]])


def draw_instances(
    image: np.ndarray,
    instances: "Instances",
    *,
    boxes: bool = True,
    masks: bool = True,
    labels: bool = True,
    scores: bool = True,
    alpha: float = 0.4,
    scale: float = 1,
    tracks: Sequence[int] | None = None,
) -> np.ndarray:
    """Draw instances onto a copy of their image, the best on top.

    Colours and labels tell classes, or single objects where there is one class only. A label that would hide others is
    left out, and in crowded images also one that is large beside its object.

    Args:
        image: uint8 [H, W, 3] BGR, or of other channels as `for_people` takes them, of `instances.image_size`, or all
            of it made smaller.
        boxes, masks, labels, scores: what to draw; scores are part of the labels.
        alpha: opacity of the masks, in [0, 1].
        scale: enlargement of `image`; `display_scale` gives one that makes small images readable.
        tracks: the number of each instance's object in a video, for its colour and label; -1 for none.

    Returns:
        uint8 [H * scale, W * scale, 3] BGR, of the H and W of `image`.
    """
    canvas, scale = resize_image(for_people(image), scale), scale * image.shape[1] / instances.image_size[1]
    one_class = len(instances.class_names) == 1
    classes = instances.labels.tolist()
    numbers = tracks if tracks is not None else range(len(classes)) if one_class else classes
    colours, corners = [colour(number) for number in numbers], instances.boxes.numpy() * scale
    sides = np.sqrt(np.prod(corners[:, 2:] - corners[:, :2], axis=1))
    usual = np.median(sides) / LINES_OF_AN_OBJECT if len(sides) else np.inf  # lines must not hide small objects
    thickness = max(1, round(min(min(canvas.shape[:2]) / 350, usual)))
    for i in reversed(range(len(instances))):
        if masks:
            _draw_mask(canvas, instances, i, scale, colours[i], alpha, thickness)
        if boxes:  # wholly inside the canvas
            first = np.clip(corners[i, :2].round().astype(int), 0, np.array(canvas.shape[1::-1]) - 1)
            second = np.maximum(corners[i, 2:].round().astype(int) - 1, first)
            cv2.rectangle(
                canvas, first.tolist(), second.tolist(), colours[i], max(1, thickness // 2 if masks else thickness)
            )
    if labels:
        texts = []
        for i, label in enumerate(classes):
            parts = [f"#{tracks[i]}"] if tracks is not None and tracks[i] >= 0 else []
            name = printable(instances.class_names[label])
            parts += [] if one_class else [name if is_drawable(name) else f"class {label}"]
            parts += [f"{float(instances.mask_scores[i]):.2f}"] if scores else []
            texts.append(" ".join(parts))
        _draw_labels(canvas, texts, corners, colours)
    return canvas


def display_scale(height: int, width: int) -> int:
    """Return the whole number by which an image should be enlarged so that people can see and read it."""
    return min(8, max(1, math.ceil(READABLE_SIDE / max(height, width))))


@lru_cache(maxsize=4096)
def colour(number: int) -> Colour:
    """Return the stable colour of a class or object number; the golden ratio keeps neighbours far apart in hue."""
    hue = (0.56 + number * 0.618034) % 1
    saturation, value = (0.80, 0.55, 0.95)[number // 8 % 3], (1.0, 0.85, 0.70)[number // 5 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def side_by_side(left: np.ndarray, right: np.ndarray, titles: tuple[str, str], heading: str = "") -> np.ndarray:
    """Join two images of one size on white, each under its title, with a heading above both."""
    size = max(14, round(0.028 * math.sqrt(left.shape[0] * left.shape[1])))
    first, second = titled(left, titles[0], size), titled(right, titles[1], size)
    pair = np.hstack([first, np.full((len(first), size // 2, 3), 255, np.uint8), second])
    return titled(pair, heading, size) if heading else pair


def titled(image: np.ndarray, title: str, size: int, width: int = 1) -> np.ndarray:
    """Put text on white above an image, made at least `width` wide; long text gets smaller, then is cut with dots."""
    image = cv2.copyMakeBorder(image, 2 * size, 0, 0, max(0, width - image.shape[1]), cv2.BORDER_CONSTANT, value=WHITE)
    title, width, bar = printable(title), image.shape[1], 2 * size
    while size > 10 and text_width(title, size) > 0.95 * width:
        size -= 1
    while len(title) > 1 and text_width(title, size) > 0.95 * width:
        title = title[:-2] + "\N{HORIZONTAL ELLIPSIS}"
    line = _line(title, size, DARK, WHITE)[:bar, :width]
    top = (bar - len(line)) // 2
    image[top : top + len(line), : line.shape[1]] = line
    return image


def resize_image(image: np.ndarray, scale: float) -> np.ndarray:
    """Return a copy of an image, `scale` times as large, with one pixel a side at least."""
    if scale == 1:
        return image.copy()
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a bool [H, W] mask at another size (H, W), with smooth borders where it is enlarged."""
    method = cv2.INTER_LINEAR if size[0] > mask.shape[0] else cv2.INTER_AREA
    return np.asarray(cv2.resize(mask.astype(np.uint8) * 255, size[::-1], interpolation=method) > 127)


def encode_jpeg(image: np.ndarray, largest_side: int) -> bytes:
    """Return an image, made smaller where a side is longer than `largest_side` pixels, as a JPEG file."""
    image = resize_image(image, min(1, largest_side / max(image.shape[:2])))
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def encode_png(image: np.ndarray) -> bytes:
    """Return an image as a PNG file."""
    return cv2.imencode(".png", image)[1].tobytes()


def _draw_mask(
    canvas: np.ndarray, instances: "Instances", index: int, scale: float, paint: Colour, alpha: float, thickness: int
) -> None:
    """Tint a mask and draw its outline crisply; only the part that has pixels is enlarged or reduced."""
    region, (height, width) = instances.regions[index], instances.image_size
    # A row and a column more on each side let the border fall off smoothly where it is not the image's.
    top, left = max(region.top - 1, 0), max(region.left - 1, 0)
    bottom, right = min(region.top + region.height + 1, height), min(region.left + region.width + 1, width)
    y1, x1, y2, x2 = (round(edge * scale) for edge in (top, left, bottom, right))
    part = canvas[y1:y2, x1:x2]
    if part.size == 0:
        return
    inside = resize_mask(region.crop(top, left, bottom, right), part.shape[:2]).view(np.uint8)
    # Each of the 256 values of a channel gives one tint, so no image of floats is needed.
    tints = np.arange(256)[:, None] * (1 - alpha) + np.array(paint) * alpha
    cv2.copyTo(cv2.LUT(part, tints.round().astype(np.uint8)[None]), inside, part)
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x1, y1))
    cv2.drawContours(canvas, contours, -1, paint, thickness, cv2.LINE_AA)


def _draw_labels(canvas: np.ndarray, texts: Sequence[str], corners: np.ndarray, colours: Sequence[Colour]) -> None:
    """Write each label at a corner of its box where it hides no other, the first ones first."""
    height, width = canvas.shape[:2]
    size = max(12, round((0.024 if len(texts) < CROWD else 0.018) * math.sqrt(height * width)))
    taken = np.zeros((height, width), bool)
    for text, (x1, y1, x2, y2), paint in zip(texts, corners.round().astype(int).tolist(), colours, strict=True):
        is_dark = np.dot(paint, (0.114, 0.587, 0.299)) < 140
        tag = _line(text, size, WHITE if is_dark else DARK, paint)[:height, :width]
        rows, columns = tag.shape[:2]
        if not text or (len(texts) >= CROWD and (x2 - x1) * (y2 - y1) < 3 * rows * columns):
            continue
        for top, left in itertools.product((y1 - rows, y1, y2, y2 - rows), (x1, x2 - columns)):
            top, left = min(max(top, 0), height - rows), min(max(left, 0), width - columns)
            window = slice(top, top + rows), slice(left, left + columns)
            if not taken[window].any():
                canvas[window], taken[window] = tag, True
                break


@lru_cache(maxsize=1024)
def _line(text: str, size: int, ink: Colour, paint: Colour) -> np.ndarray:
    """Return a line of text on a ground of one colour, a read-only BGR image as wide as the text."""
    parts = [(part, font(size, path)) for part, path in runs(text)]
    ascents, descents = zip(*(own.getmetrics() for own in (font(size), *(own for _, own in parts))), strict=True)
    margin = max(2, size // 5)
    width = math.ceil(text_width(text, size)) + 2 * margin
    line = Image.new("RGB", (width, max(ascents) + max(descents) + margin), paint)
    left: float = margin
    for part, own in parts:
        ImageDraw.Draw(line).text((left, margin // 2 + max(ascents)), part, ink, own, anchor="ls")  # on the base line
        left += own.getlength(part)
    return np.asarray(line)
