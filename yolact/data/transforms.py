"""How pictures become network inputs: plainly for inference, and through the authors' SSD-style augmentation.

All geometry is drawn first and composed into one affine map, so that each picture is warped once, as uint8, and each
mask is drawn once at the size of the input (REFERENCE: Liu et al. 2016, SSD, section 2.2, as the authors apply it).
Large-scale jitter takes the place of expand and crop where it is asked for.
Coordinates are continuous: the centre of the pixel in row i and column j is (j + 0.5, i + 0.5).
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolact.config.schema import AugmentConfig
from yolact.data.annotations import ObjectRecord
from yolact.data.masks import draw_masks, pixel_index_map
from yolact.data.photometric import Photometric, apply_photometric
from yolact.structures import Target

CROP_TRIALS = 50
WHOLE_PICTURE = 1 / 6  # one of SSD's six crop modes keeps the whole picture
SMALLEST_SIDE = 0.01  # pixels of the input; a thinner box is only rounding
SMALLEST_JITTERED = 1.0  # likewise after large-scale jitter, which shrinks many objects to nothing

View = tuple[int, int, int, int]  # xyxy, pixels of the picture: the rectangle that the input shows; may go beyond it


class Geometry(NamedTuple):
    """Where a picture goes in the square network input of side S."""

    matrix: NDArray[np.float64]  # [2, 3], from continuous coordinates of the picture to those of the input
    frame: tuple[float, float, float, float]  # xyxy, the part of the input that shows the picture; the rest is fill
    kept: NDArray[np.bool_]  # [N], the objects that stay: enough of them is seen


def to_unit(images: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [0, 1], as `Yolact.forward` takes them, on the device that they are on."""
    return images.to(torch.float32) / 255


def prepare_image(picture: NDArray[np.uint8], size: int) -> Tensor:
    """Stretch a picture to the network input: the one way for inference and evaluation.

    Args:
        picture: uint8 [H, W, 3] BGR.
        size: side S of the input in pixels.

    Returns:
        uint8 [3, S, S] RGB.
    """
    resized = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(np.stack(cv2.split(resized)[::-1]))


def sample_geometry(
    rng: np.random.Generator,
    picture_size: tuple[int, int],
    boxes: NDArray[np.float64],
    iscrowd: NDArray[np.bool_],
    augment: AugmentConfig,
    size: int,
) -> Geometry:
    """Draw expand and crop, or the jitter of the scale, then mirror, flip and rotation; compose all with the resize.

    Args:
        rng: the sample's random numbers.
        picture_size: (H, W) of the picture.
        boxes: float64 [N, 4] xyxy, pixels of the picture.
        iscrowd: bool [N].
        augment: what to draw, and how often.
        size: side S of the input in pixels.
    """
    height, width = picture_size
    if augment.scale_jitter is None:
        view, kept = _expand_and_crop(rng, picture_size, boxes, iscrowd, augment)
    else:
        view = _jitter(rng, picture_size, augment.scale_jitter)
        kept = _is_visible(boxes, picture_size, view, size)
    matrix = view_matrix(view, size)
    if rng.random() < augment.mirror_probability:
        matrix = _compose([[-1, 0, size], [0, 1, 0]], matrix)
    if rng.random() < augment.flip_probability:
        matrix = _compose([[1, 0, 0], [0, -1, size]], matrix)
    if rng.random() < augment.rotate90_probability:
        matrix = _compose([[0, 1, 0], [-1, 0, size]], matrix)  # counterclockwise
    frame = np.clip(map_boxes(np.array([[0, 0, width, height]], np.float64), matrix), 0, size)[0]
    return Geometry(matrix, (frame[0], frame[1], frame[2], frame[3]), kept)


def view_matrix(view: View, size: int) -> NDArray[np.float64]:
    """Return the map [2, 3] that stretches the rectangle `view` (xyxy) to a square of side `size`."""
    x0, y0, x1, y1 = view
    scale_x, scale_y = size / (x1 - x0), size / (y1 - y0)
    return np.array([[scale_x, 0, -x0 * scale_x], [0, scale_y, -y0 * scale_y]])


def _compose(after: Sequence[Sequence[float]], before: NDArray[np.float64]) -> NDArray[np.float64]:
    outer = np.array(after, np.float64)
    composed: NDArray[np.float64] = outer[:, :2] @ before
    composed[:, 2] += outer[:, 2]
    return composed


def _expand_and_crop(
    rng: np.random.Generator,
    picture_size: tuple[int, int],
    boxes: NDArray[np.float64],
    iscrowd: NDArray[np.bool_],
    augment: AugmentConfig,
) -> tuple[View, NDArray[np.bool_]]:
    """Return what the input shows after SSD's two steps, and which objects stay."""
    height, width = picture_size
    view = (0, 0, width, height)
    if rng.random() < augment.expand_probability:
        view = _expand(rng, view, augment.expand_max_ratio)
    if augment.crop:
        return _crop(rng, view, boxes, iscrowd)
    return view, np.ones(len(boxes), np.bool_)


def _expand(rng: np.random.Generator, view: View, max_ratio: float) -> View:
    """Zoom out: return the canvas, in the picture's coordinates, somewhere on which the picture lies."""
    _, _, width, height = view
    ratio = rng.uniform(1, max_ratio)
    left, top = int(rng.uniform(0, width * ratio - width)), int(rng.uniform(0, height * ratio - height))
    return (-left, -top, int(width * ratio) - left, int(height * ratio) - top)


def _crop(
    rng: np.random.Generator,
    view: View,
    boxes: NDArray[np.float64],
    iscrowd: NDArray[np.bool_],
) -> tuple[View, NDArray[np.bool_]]:
    """SSD's random crop: return the crop and which objects have their centre in it.

    A crop must hold the centre of at least one object that is not a crowd, if there is any. SSD's modes also ask for
    a smallest IoU, but the authors' test of it can never reject, and their accuracy was reached so: the modes
    differ only in keeping the whole picture or not.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    needs_object = not iscrowd.all()
    while rng.random() >= WHOLE_PICTURE:
        for _ in range(CROP_TRIALS):
            crop = _draw_crop(rng, view)
            if crop is None:
                continue
            kept = np.all((centres > crop[:2]) & (centres < crop[2:]), axis=1)
            if not needs_object or (kept & ~iscrowd).any():
                return crop, kept
    return view, np.ones(len(boxes), np.bool_)


def _draw_crop(rng: np.random.Generator, view: View) -> View | None:
    """Draw a rectangle with sides of 0.3 to 1 of the view's; None if its aspect ratio is not within 1/2 to 2."""
    x0, y0, full_width, full_height = view[0], view[1], view[2] - view[0], view[3] - view[1]
    width_share, height_share, left_share, top_share = rng.random(4)
    width, height = (0.3 + 0.7 * width_share) * full_width, (0.3 + 0.7 * height_share) * full_height
    if not 0.5 <= height / width <= 2:
        return None
    left, top = left_share * (full_width - width), top_share * (full_height - height)
    crop = (x0 + int(left), y0 + int(top), x0 + int(left + width), y0 + int(top + height))
    return crop if crop[2] > crop[0] and crop[3] > crop[1] else None


def _jitter(rng: np.random.Generator, picture_size: tuple[int, int], scales: tuple[float, float]) -> View:
    """Large-scale jitter (Ghiasi et al. 2021, section 3): return a view at a random scale, cropped or padded.

    At scale 1 the picture fills the input. It is stretched to the square at every scale, so that objects have the
    shapes that the network meets at inference; the paper, whose networks see unstretched pictures, keeps the aspect
    ratio. Below 1 the picture lies anywhere in the input, above 1 any part of it fills the input.
    """
    height, width = picture_size
    scale = rng.uniform(*scales)
    view_width, view_height = max(1, round(width / scale)), max(1, round(height / scale))
    left_share, top_share = rng.random(2)
    left, top = round(left_share * (width - view_width)), round(top_share * (height - view_height))
    return (left, top, left + view_width, top + view_height)


def _is_visible(boxes: NDArray[np.float64], picture_size: tuple[int, int], view: View, size: int) -> NDArray[np.bool_]:
    """Tell of which objects [N] the view shows a part at least a pixel of the input wide and high.

    SSD's rule, the centre in the crop, would call objects background that fill much of an enlarged picture.
    """
    height, width = picture_size
    inside = np.clip(boxes, 0, (width, height, width, height))
    shown = map_boxes(inside, view_matrix(view, size)).clip(0, size)
    visible: NDArray[np.bool_] = (shown[:, 2:] - shown[:, :2] >= SMALLEST_JITTERED).all(axis=1)
    return visible


def map_boxes(boxes: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map boxes [N, 4] xyxy by an affine map that turns by multiples of 90 degrees; corners come out in order."""
    first = boxes[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    second = boxes[:, 2:] @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate((np.minimum(first, second), np.maximum(first, second)), axis=1)


def largest_reduction(geometry: Geometry) -> int:
    """Return by how much, 1, 2, 4 or 8, a picture may be decoded smaller and still not be enlarged afterwards."""
    scale = np.abs(geometry.matrix[:, :2]).max()
    return next((reduction for reduction in (8, 4, 2) if reduction * scale <= 1), 1)


def warp_image(
    picture: NDArray[np.uint8],
    geometry: Geometry,
    photometric: Photometric,
    fill: tuple[int, int, int],
    size: int,
    reduction: int = 1,
) -> Tensor:
    """Warp the picture into its frame and change its colours there; the rest of the input is `fill`.

    Args:
        picture: uint8 [H, W, 3] BGR, or `reduction` times smaller.
        geometry: where it goes.
        photometric: the change of its colours.
        fill: RGB, 0..255.
        size: side S of the input in pixels.
        reduction: how many times smaller the picture is than the one that the geometry was drawn for.

    Returns:
        uint8 [3, S, S] RGB.
    """
    result = np.empty((3, size, size), np.uint8)
    # The pixels whose centre lies in the frame. Nothing blends with the fill: the picture's border is repeated.
    x0, y0, x1, y1 = (int(np.ceil(edge - 0.5)) for edge in geometry.frame)
    if (x0, y0, x1, y1) != (0, 0, size, size):
        result[:] = np.array(fill, np.uint8)[:, None, None]
    if x1 > x0 and y1 > y0:
        matrix = geometry.matrix.copy()
        matrix[:, :2] *= reduction
        patch = _stretch(picture, matrix, size) if y1 - y0 == x1 - x0 == size else None
        if patch is None:
            local = pixel_index_map(matrix)
            local[:, 2] -= (x0, y0)
            window, border = (x1 - x0, y1 - y0), cv2.BORDER_REPLICATE
            patch = np.asarray(
                cv2.warpAffine(picture, local, window, flags=cv2.INTER_LINEAR, borderMode=border), np.uint8
            )
        planes = cv2.split(apply_photometric(patch, photometric))
        for channel, plane in zip(result, reversed(planes), strict=True):
            channel[y0:y1, x0:x1] = plane
    return torch.from_numpy(result)


def _stretch(picture: NDArray[np.uint8], matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8] | None:
    """Resize the rectangle of whole pixels that fills the input: the same as a warp, in a fifth of the time.

    Returns None where the map turns, or where the rectangle's edges lie within pixels.
    """
    if matrix[0, 1] or matrix[1, 0]:
        return None
    scales = matrix.diagonal()
    edges = np.sort([-matrix[:, 2] / scales, (size - matrix[:, 2]) / scales], axis=0)
    whole = np.round(edges).astype(int)
    if (np.abs(edges - whole) > 1e-6).any():
        return None
    (x0, y0), (x1, y1) = whole
    patch = cv2.resize(picture[y0:y1, x0:x1], (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(patch[:: int(np.sign(scales[1])), :: int(np.sign(scales[0]))], np.uint8)


def build_target(objects: Sequence[ObjectRecord], geometry: Geometry, size: int, image_id: int) -> Target:
    """Map the objects that the crop keeps into the input; boxes are clipped to the visible part of the picture.

    Returns:
        The target, with masks uint8 [N, S, S] of 0 and 1; N may be 0.
    """
    low, high = np.array(geometry.frame[:2] * 2), np.array(geometry.frame[2:] * 2)
    boxes = np.clip(map_boxes(boxes_of(objects), geometry.matrix), low, high)
    visible = geometry.kept & (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(axis=1)
    chosen = [record for record, keep in zip(objects, visible, strict=True) if keep]
    masks = draw_masks([record.segmentation for record in chosen], geometry.matrix, (size, size))
    return Target(
        boxes=torch.from_numpy(boxes[visible].astype(np.float32)),
        labels=torch.tensor([record.label for record in chosen], dtype=torch.int64),
        masks=torch.from_numpy(masks),
        iscrowd=torch.tensor([record.iscrowd for record in chosen], dtype=torch.bool),
        image_id=image_id,
    )


def boxes_of(objects: Sequence[ObjectRecord]) -> NDArray[np.float64]:
    """Return the boxes of objects, float64 [N, 4] xyxy, also for none."""
    return np.array([record.bbox for record in objects], np.float64).reshape(-1, 4)
