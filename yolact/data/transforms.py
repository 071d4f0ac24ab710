"""Augmentation: a list of transforms, which decide where each image lies in the network input and how it is coloured.

A transform is called with the sample's random numbers and the `Sample`, and returns it. Geometric transforms contribute
to one affine map, so that each image is warped once, as uint8, and each mask is drawn once at the size of the input.
The first ones are the authors' SSD-style augmentation (Liu et al. 2016, SSD, section 2.2).
Coordinates are continuous: the centre of the pixel in row i and column j is (j + 0.5, i + 0.5).
"""

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from yolact.config.schema import AugmentConfig
from yolact.data.annotations import ObjectRecord
from yolact.data.samples import Pixels
from yolact.data.segmentations import IDENTITY
from yolact.structures import Resize, View

CROP_TRIALS = 50
WHOLE_IMAGE = 1 / 6  # one of SSD's six crop modes keeps the whole image
SMALLEST_JITTERED = 1.0  # pixels of the input; large-scale jitter shrinks many objects to nothing


class Sample:
    """One training image on its way through the transforms, before its pixels are read.

    The input shows the rectangle `view` of the image, at first all of it, under the map `after`. It may go beyond it.

    Attributes:
        image_size: (H, W) of the image.
        objects: N, in pixels of the image.
        resize: how the view becomes the input; `size` is (H, W) of that.
        view: see above.
        after: float64 [2, 3], within the input.
        kept: bool [N], the objects that stay: enough of them is seen.
        pixel_changes: what is done to the warped image.
    """

    def __init__(self, image_size: tuple[int, int], objects: Sequence[ObjectRecord], resize: Resize) -> None:
        self.image_size, self.objects, self.resize, self.size = image_size, objects, resize, resize.size
        self.view: View = (0, 0, image_size[1], image_size[0])
        self.after = IDENTITY.copy()
        self.kept = np.ones(len(objects), np.bool_)
        self.pixel_changes: list[Callable[[Pixels], Pixels]] = []

    @property
    def boxes(self) -> NDArray[np.float64]:
        """The boxes of all objects, float64 [N, 4] xyxy, pixels of the image."""
        return boxes_of(self.objects)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The whole map [2, 3], from continuous coordinates of the image to those of the input."""
        return compose(self.after, view_matrix(self.view, self.resize))

    def apply(self, matrix: Sequence[Sequence[float]] | NDArray[np.float64]) -> None:
        """Move what the input shows by an affine map [2, 3] of its continuous coordinates (x, y), in pixels."""
        self.after = compose(np.array(matrix, np.float64), self.after)

    def change_pixels(self, change: Callable[[Pixels], Pixels]) -> None:
        """Have `change` called with the warped image, `Pixels` [h, w, C], the fill around it left out."""
        self.pixel_changes.append(change)


Transform = Callable[[np.random.Generator, Sample], Sample]


def make_transforms(augment: AugmentConfig) -> list[Transform]:
    """Return what the configuration asks for, in the order in which random numbers are drawn."""
    transforms: list[Transform] = [
        partial(expand, probability=augment.expand_probability, max_ratio=augment.expand_max_ratio)
    ]
    if augment.scale_jitter is not None:
        transforms = [partial(jitter_scale, scales=augment.scale_jitter)]
    elif augment.crop:
        transforms.append(crop)
    transforms.append(partial(turn, probability=augment.mirror_probability, matrix=MIRROR))
    transforms.append(partial(turn, probability=augment.flip_probability, matrix=FLIP))
    transforms.append(partial(turn, probability=augment.rotate90_probability, matrix=ROTATE_90))
    return [*transforms, photometric] if augment.photometric else transforms


def expand(rng: np.random.Generator, sample: Sample, probability: float, max_ratio: float) -> Sample:
    """Zoom out: the image lies somewhere on a larger canvas, at most `max_ratio` times as wide and high."""
    if rng.random() < probability:
        height, width = sample.image_size
        ratio = rng.uniform(1, max_ratio)
        left, top = int(rng.uniform(0, width * ratio - width)), int(rng.uniform(0, height * ratio - height))
        sample.view = (-left, -top, int(width * ratio) - left, int(height * ratio) - top)
    return sample


def crop(rng: np.random.Generator, sample: Sample) -> Sample:
    """SSD's random crop; the objects whose centre it holds stay.

    It must hold the centre of at least one object that is not a crowd, if there is any. SSD's modes also ask for a
    smallest IoU, but the authors' test of it can never reject: the modes only keep the whole image or do not.
    """
    boxes, wanted = sample.boxes, np.array([not item.iscrowd for item in sample.objects], np.bool_)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    while rng.random() >= WHOLE_IMAGE:
        for _ in range(CROP_TRIALS):
            view = _draw_crop(rng, sample.view)
            if view is None:
                continue
            kept = np.all((centres > view[:2]) & (centres < view[2:]), axis=1)
            if not wanted.any() or (kept & wanted).any():
                sample.view, sample.kept = view, kept
                return sample
    return sample


def _draw_crop(rng: np.random.Generator, view: View) -> View | None:
    """Draw a rectangle with sides of 0.3 to 1 of the view's; None if its aspect ratio is not within 1/2 to 2."""
    x0, y0, full_width, full_height = view[0], view[1], view[2] - view[0], view[3] - view[1]
    width_share, height_share, left_share, top_share = rng.random(4)
    width, height = (0.3 + 0.7 * width_share) * full_width, (0.3 + 0.7 * height_share) * full_height
    if not 0.5 <= height / width <= 2:
        return None
    left, top = left_share * (full_width - width), top_share * (full_height - height)
    drawn = (x0 + int(left), y0 + int(top), x0 + int(left + width), y0 + int(top + height))
    return drawn if drawn[2] > drawn[0] and drawn[3] > drawn[1] else None


def jitter_scale(rng: np.random.Generator, sample: Sample, scales: tuple[float, float]) -> Sample:
    """Large-scale jitter (Ghiasi et al. 2021, section 3): the image at a random scale, cropped or padded.

    At scale 1 the image lies in the input as at inference; below 1 it lies anywhere in the part that it filled then,
    above 1 any part of it fills that. An object stays if a part at least a
    pixel of the input wide and high is seen: SSD's rule, the centre in the crop, would call objects background that
    fill much of an enlarged image.
    """
    height, width = sample.image_size
    scale = rng.uniform(*scales)
    view_width, view_height = max(1, round(width / scale)), max(1, round(height / scale))
    left_share, top_share = rng.random(2)
    left, top = round(left_share * (width - view_width)), round(top_share * (height - view_height))
    sample.view = (left, top, left + view_width, top + view_height)
    inside = np.clip(sample.boxes, 0, (width, height, width, height))
    size = sample.size[::-1]
    shown = map_boxes(inside, view_matrix(sample.view, sample.resize)).clip(0, size + size)
    sample.kept = (shown[:, 2:] - shown[:, :2] >= SMALLEST_JITTERED).all(axis=1)
    return sample


# Maps of the unit square onto itself.
MIRROR = ((-1, 0, 1), (0, 1, 0))  # left becomes right
FLIP = ((1, 0, 0), (0, -1, 1))  # up becomes down
ROTATE_90 = ((0, 1, 0), (-1, 0, 1))  # a quarter turn, counterclockwise


def turn(rng: np.random.Generator, sample: Sample, probability: float, matrix: Sequence[Sequence[float]]) -> Sample:
    """Turn or reflect the input, a square if it turns, by a map [2, 3] of the unit square onto itself."""
    if rng.random() < probability:
        height, width = sample.size
        sample.apply(np.multiply(matrix, [(1, 1, width), (1, 1, height)]))
    return sample


def photometric(rng: np.random.Generator, sample: Sample) -> Sample:
    """The authors' colour changes, each with probability 1/2; contrast comes before or after the others by a coin.

    Images of other than three channels have no saturation and hue: these are drawn and left out.
    """
    has_brightness, has_contrast, has_saturation, has_hue, contrast_first = rng.random(5) < 0.5
    brightness, contrast, saturation, hue = rng.random(4)
    change = partial(
        change_colours,
        brightness=-32 + 64 * brightness if has_brightness else 0.0,
        contrast=0.5 + contrast if has_contrast else 1.0,
        contrast_first=bool(contrast_first),
        saturation=0.5 + saturation if has_saturation else 1.0,
        hue=-18 + 36 * hue if has_hue else 0.0,
    )
    sample.change_pixels(change)
    return sample


def change_colours(
    image: Pixels,
    brightness: float = 0.0,
    contrast: float = 1.0,
    contrast_first: bool = True,
    saturation: float = 1.0,
    hue: float = 0.0,
) -> Pixels:
    """Change the colours of an image by lookup tables; values are clipped to 0..255.

    Args:
        image: `Pixels` [H, W, C].
        brightness: added, on the 0..255 scale.
        contrast: factor.
        contrast_first: before saturation and hue, or after.
        saturation: factor, where C is 3.
        hue: added, in degrees of 360, likewise.
    """
    changes_colour = image.shape[2] == 3 and (saturation != 1 or hue != 0)
    first = contrast if contrast_first or not changes_colour else 1.0
    image = _linear(image, first, brightness * first)
    if changes_colour:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)  # all three channels span 0..255
        values = np.arange(256, dtype=np.float64)
        turned = np.round(values + hue * 256 / 360) % 256
        table = np.stack((turned, np.round(values * saturation).clip(0, 255), values), axis=1)
        changed = cv2.LUT(hsv, table.astype(np.uint8)[:, None])
        image = np.asarray(cv2.cvtColor(changed, cv2.COLOR_HSV2BGR_FULL), np.uint8)
    return _linear(image, contrast / first, 0.0)


def _linear(image: Pixels, factor: float, offset: float) -> Pixels:
    if factor == 1 and offset == 0:
        return image
    table = np.round(np.arange(256) * factor + offset).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8).reshape(image.shape)  # OpenCV leaves a single channel's axis out


def view_matrix(view: View, resize: Resize) -> NDArray[np.float64]:
    """Return the map [2, 3] of the rectangle `view` (xyxy) of an image to the input."""
    x0, y0, x1, y1 = view
    height, width = resize.window((y1 - y0, x1 - x0))
    scale_x, scale_y = width / (x1 - x0), height / (y1 - y0)
    return np.array([[scale_x, 0, -x0 * scale_x], [0, scale_y, -y0 * scale_y]])


def compose(after: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine map [2, 3] that does `before` and then `after`."""
    composed: NDArray[np.float64] = after[:, :2] @ before
    composed[:, 2] += after[:, 2]
    return composed


def map_boxes(boxes: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the boxes xyxy [N, 4] around boxes [N, 4] that an affine map [2, 3] moves."""
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate((corners.min(axis=1), corners.max(axis=1)), axis=1)


def boxes_of(objects: Sequence[ObjectRecord]) -> NDArray[np.float64]:
    """Return the boxes of objects, float64 [N, 4] xyxy, also for none."""
    return np.array([record.bbox for record in objects], np.float64).reshape(-1, 4)
