"""Pictures for people: instances drawn on their picture, two pictures side by side, prototypes as a grid.

Pictures are uint8 [H, W, 3] BGR arrays, as OpenCV reads and writes them.
"""

import colorsys
import itertools
import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import ImageFont
from torch import Tensor

from yolact.instances import Instances
from yolact.ops.regions import MaskRegion
from yolact.text import printable

Colour = tuple[int, int, int]  # BGR

DARK, LIGHT = (24, 24, 24), (255, 255, 255)
READABLE_SIDE = 640  # pictures whose longer side is below this are enlarged for people
NOTEBOOK_SIDE = 1000  # pixels of the longer side of what a notebook shows and stores
MANY = 30  # objects from which a picture is crowded and labels become smaller and fewer


class Drawing(np.ndarray):
    """A uint8 [H, W, 3] BGR array like any other, that a notebook shows as a picture."""

    def _repr_png_(self) -> bytes | None:
        if self.dtype != np.uint8 or self.ndim != 3 or self.shape[2] != 3 or self.size == 0:
            return None  # a part or a product of one
        return encode_png(resize_picture(np.asarray(self), min(1, _notebook_scale(*self.shape[:2]))))


def notebook_png(instances: Instances) -> bytes | None:
    """Return instances on their picture, of a size for people, as the bytes of a PNG file; None without a picture."""
    if instances.image is None:
        return None
    scale = min(display_scale(*instances.image_size), _notebook_scale(*instances.image_size))
    return encode_png(draw_instances(instances.image, instances, scale=scale))


def draw_instances(
    image: np.ndarray,
    instances: Instances,
    *,
    boxes: bool = True,
    masks: bool = True,
    labels: bool = True,
    scores: bool = True,
    alpha: float = 0.4,
    scale: float = 1,
    tracks: Sequence[int] | None = None,
) -> np.ndarray:
    """Draw instances onto a copy of their picture, the best on top.

    Colours stand for classes, or for single objects where there is one class only. The scores are those of the masks.
    Labels are the class and score, or the score alone where there is one class. A label that would hide others is left
    out, and in crowded pictures also one that is large beside its object.

    Args:
        image: uint8 [H, W, 3] BGR, of `instances.image_size`.
        boxes, masks, labels, scores: what to draw; scores are part of the labels.
        alpha: opacity of the masks, in [0, 1].
        scale: enlargement of the result; `display_scale` gives one that makes small pictures readable.
        tracks: number of each instance's object in a video, which then has a colour of its own and stands in the label;
            -1 for instances without one.

    Returns:
        uint8 [H * scale, W * scale, 3] BGR.

    Raises:
        ValueError: the picture is not of the size that the instances belong to.
    """
    require_size(image, instances)
    canvas = resize_picture(image, scale)
    one_class = len(instances.class_names) == 1
    numbers = range(len(instances)) if one_class else instances.labels.tolist()
    colours = [colour(number) for number in (numbers if tracks is None else tracks)]
    corners = instances.boxes.numpy() * scale
    thickness = max(1, round(min(canvas.shape[:2]) / 350))
    for i in reversed(range(len(instances))):
        if masks:
            _draw_mask(canvas, _scaled(instances.regions[i], instances.image_size, scale), colours[i], alpha, thickness)
        if boxes:
            _draw_box(canvas, corners[i], colours[i], max(1, thickness // 2 if masks else thickness))
    if labels:
        texts = [_label(instances, i, name=not one_class, score=scores) for i in range(len(instances))]
        if tracks is not None:
            texts = [f"#{track} {text}" if track >= 0 else text for track, text in zip(tracks, texts, strict=True)]
        if any(texts):
            _draw_labels(canvas, texts, corners, colours)
    return canvas


def display_scale(height: int, width: int) -> int:
    """Return the whole number by which a picture should be enlarged so that people can see and read it."""
    return min(8, max(1, math.ceil(READABLE_SIDE / max(height, width))))


def require_size(image: np.ndarray, instances: Instances) -> None:
    """Require a picture of the size that the instances belong to.

    Raises:
        ValueError: it is of another.
    """
    if image.shape[:2] != tuple(instances.image_size):
        raise ValueError(
            f"The instances belong to a picture of {instances.image_size} (height, width), got {image.shape[:2]}."
        )


def _notebook_scale(height: int, width: int) -> float:
    """Return the scale at which the longer side has `NOTEBOOK_SIDE` pixels, and the shorter one at least one."""
    return max(NOTEBOOK_SIDE / max(height, width), 1 / min(height, width))


@lru_cache(maxsize=4096)
def colour(number: int) -> Colour:
    """Return the stable colour of a class or object number; the golden ratio keeps neighbours far apart in hue."""
    hue = (0.56 + number * 0.618034) % 1
    saturation = (0.80, 0.55, 0.95)[number // 8 % 3]
    value = (1.0, 0.85, 0.70)[number // 5 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def side_by_side(left: np.ndarray, right: np.ndarray, titles: tuple[str, str], heading: str = "") -> np.ndarray:
    """Join two pictures of one size on white, each under its title, with a heading above both."""
    height, width = left.shape[:2]
    size = max(14, round(0.028 * math.sqrt(height * width)))
    gap, bar = size // 2, 2 * size
    top = bar * (2 if heading else 1)
    sheet = np.full((top + height, 2 * width + gap, 3), 255, np.uint8)
    sheet[top:, :width] = left
    sheet[top:, width + gap :] = cv2.resize(right, (width, height), interpolation=cv2.INTER_AREA)
    if heading:
        _write_line(sheet, heading, (gap, gap), size, sheet.shape[1] - gap)
    for title, start in zip(titles, (0, width + gap), strict=True):
        _write_line(sheet, title, (start + gap, top - bar + gap), size, start + width)
    return sheet


def prototypes_grid(prototypes: Tensor, picture: np.ndarray | None = None) -> np.ndarray:
    """Draw prototypes [K, Hp, Wp] as a labelled grid, bright where they are strong (YOLACT, figure 5).

    Each is scaled to its own maximum, which its label gives.

    Args:
        prototypes: not negative.
        picture: uint8 BGR, shown first where given, square as the network sees it.
    """
    panels = len(prototypes) + (picture is not None)
    columns = min(range(min(panels, 11), min(panels, 6) - 1, -1), key=lambda n: -panels % n)  # fewest empty places
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(1.5 * columns, 1.72 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = iter(figure.subplots(rows, columns, squeeze=False).flat)
    if picture is not None:
        axis = next(axes)
        axis.imshow(picture[:, :, ::-1], aspect="auto")
        axis.set_title("picture", fontsize=8)
    for number, (axis, prototype) in enumerate(zip(axes, prototypes.float().cpu().numpy(), strict=False)):
        peak = float(prototype.max())
        axis.imshow(prototype, cmap="magma", vmin=0, vmax=peak or 1, aspect="auto")
        axis.set_title(f"{number}: up to {peak:.1f}" if peak else f"{number}: zero", fontsize=8)
    for axis in figure.axes:
        axis.set_axis_off()
    return figure_to_picture(figure)


def figure_to_picture(figure: Figure) -> np.ndarray:
    """Render a matplotlib figure to uint8 [H, W, 3] BGR."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[:, :, 2::-1])


def resize_picture(picture: np.ndarray, scale: float) -> np.ndarray:
    """Return a copy of a picture, `scale` times as large."""
    if scale == 1:
        return picture.copy()
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a bool [H, W] mask at another size (H, W), with smooth borders where it is enlarged."""
    method = cv2.INTER_LINEAR if size[0] > mask.shape[0] else cv2.INTER_AREA
    resized: np.ndarray = cv2.resize(mask.astype(np.uint8) * 255, size[::-1], interpolation=method) > 127
    return resized


def encode_jpeg(picture: np.ndarray, largest_side: int) -> bytes:
    """Return a picture, made smaller where a side is longer than `largest_side` pixels, as the bytes of a JPEG file."""
    smaller = resize_picture(picture, min(1, largest_side / max(picture.shape[:2])))
    return cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def encode_png(picture: np.ndarray) -> bytes:
    """Return a picture as the bytes of a PNG file."""
    return cv2.imencode(".png", picture)[1].tobytes()


def _scaled(region: MaskRegion, image_size: tuple[int, int], scale: float) -> MaskRegion:
    """Return a mask of a picture of `image_size` (H, W) as it is drawn on that picture at another scale.

    Enlarged by a whole number it is what the enlarged whole mask is, else its edges may be half a pixel off.
    """
    if scale == 1 or region.height == 0:
        return region
    # A row and a column more on each side let the border fall off smoothly where it is not the picture's.
    top, left = max(region.top - 1, 0), max(region.left - 1, 0)
    bottom = min(region.top + region.height + 1, image_size[0])
    right = min(region.left + region.width + 1, image_size[1])
    first, last = (round(top * scale), round(left * scale)), (round(bottom * scale), round(right * scale))
    size = last[0] - first[0], last[1] - first[1]
    if min(size) == 0:
        return MaskRegion(*first, 0, 0, b"")
    return MaskRegion.of(resize_mask(region.crop(top, left, bottom, right), size), *first)


def _draw_mask(canvas: np.ndarray, region: MaskRegion, paint: Colour, alpha: float, thickness: int) -> None:
    """Tint the mask and draw its outline crisply."""
    if region.height == 0:
        return
    inside, part = region.mask.view(np.uint8), canvas[region.window]
    # Each of the 256 values of a channel gives one tint: no picture of floats is needed.
    tints = np.arange(256)[:, None] * (1 - alpha) + np.array(paint) * alpha
    cv2.copyTo(cv2.LUT(part, tints.round().astype(np.uint8)[None]), inside, part)
    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(region.left, region.top))
    cv2.drawContours(canvas, contours, -1, paint, thickness, cv2.LINE_AA)


def _draw_box(canvas: np.ndarray, corners: np.ndarray, paint: Colour, thickness: int) -> None:
    """Draw a box [4] xyxy, wholly inside the canvas."""
    height, width = canvas.shape[:2]
    x1, y1 = corners[:2].round().astype(int)
    x2, y2 = corners[2:].round().astype(int) - 1
    first = (int(np.clip(x1, 0, width - 1)), int(np.clip(y1, 0, height - 1)))
    second = (int(np.clip(x2, first[0], width - 1)), int(np.clip(y2, first[1], height - 1)))
    cv2.rectangle(canvas, first, second, paint, thickness)


def _label(instances: Instances, index: int, name: bool, score: bool) -> str:
    parts = []
    if name:
        parts.append(printable(instances.class_names[int(instances.labels[index])]))
    if score:
        parts.append(f"{float(instances.mask_scores[index]):.2f}")
    return " ".join(parts)


def _draw_labels(canvas: np.ndarray, texts: Sequence[str], corners: np.ndarray, colours: Sequence[Colour]) -> None:
    """Write each label at a corner of its box where it hides no other, the first ones first."""
    height, width = canvas.shape[:2]
    size = max(12, round((0.024 if len(texts) < MANY else 0.018) * math.sqrt(height * width)))
    taken = np.zeros((height, width), bool)
    for text, (x1, y1, x2, y2), paint in zip(texts, corners.round().astype(int).tolist(), colours, strict=True):
        tag = _tag(text, size, paint)[:height, :width]
        rows, columns = tag.shape[:2]
        if len(texts) >= MANY and (x2 - x1) * (y2 - y1) < 3 * rows * columns:
            continue
        for top, left in itertools.product((y1 - rows, y1, y2, y2 - rows), (x1, x2 - columns)):
            top, left = min(max(top, 0), height - rows), min(max(left, 0), width - columns)
            place = slice(top, top + rows), slice(left, left + columns)
            if not taken[place].any():
                canvas[place], taken[place] = tag, True
                break


def _tag(text: str, size: int, paint: Colour) -> np.ndarray:
    """Return a label as a picture: text on its colour, dark or light, whichever can be read."""
    blue, green, red = paint
    light = 0.114 * blue + 0.587 * green + 0.299 * red < 140
    cover = _text_cover(text, size)
    margin = max(2, size // 5)
    cover = np.pad(cover, ((margin // 2, margin // 2), (margin, margin)))[:, :, None]
    ink = np.array(LIGHT if light else DARK, np.float32)
    return (np.array(paint, np.float32) * (1 - cover) + ink * cover).round().astype(np.uint8)


def _write_line(canvas: np.ndarray, text: str, origin: tuple[int, int], size: int, right: int) -> None:
    """Write dark text whose top left corner is `origin` (x, y), smaller or cut with dots to end before `right`."""
    x, y = origin
    text = printable(text)
    while size > 10 and _font(size).getlength(text) > right - x:
        size -= 1
    while len(text) > 1 and _font(size).getlength(text) > right - x:
        text = text[:-2] + "\N{HORIZONTAL ELLIPSIS}"
    cover = _text_cover(text, size)[:, : right - x, None]
    region = canvas[y : y + cover.shape[0], x : x + cover.shape[1]]
    region[:] = (region * (1 - cover) + np.array(DARK) * cover).round()


@lru_cache(maxsize=1024)
def _text_cover(text: str, size: int) -> np.ndarray:
    """Return how much of each pixel a line of text covers: float32 [line height, W] in [0, 1]."""
    font = _font(size)
    ascent, descent = font.getmetrics()
    width = max(1, math.ceil(font.getlength(text)))
    cover = np.zeros((ascent + descent, width), np.float32)
    glyphs, (left, top) = font.getmask2(text, mode="L", anchor="ls")
    columns, rows = glyphs.size
    if columns and rows:
        ink = np.array(glyphs, np.float32).reshape(rows, columns) / 255
        y, x = max(0, ascent + top), max(0, left)
        part = cover[y : y + rows, x : x + columns]
        part[:] = ink[: part.shape[0], : part.shape[1]]
    return cover


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return the sans-serif font that matplotlib brings; OpenCV's own strokes know ASCII only."""
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)
