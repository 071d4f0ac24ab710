"""From images and objects to network inputs and targets: plainly for inference, and where a `Sample` says for training.

Coordinates are continuous: the centre of the pixel in row i and column j is (j + 0.5, i + 0.5).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolact.data.samples import Pixels, by_fours
from yolact.data.segmentations import draw_masks, pixel_index_map
from yolact.data.transforms import Sample, map_boxes
from yolact.ops import masks as mask_ops
from yolact.structures import Resize, Target, View

SMALLEST_SIDE = 0.01  # pixels of the input; a thinner box is only rounding
FILL = (124, 117, 104)  # RGB of what the image does not cover: ImageNet's mean, for DarkNet too, as the authors have it
FILL_BAND = round(sum(FILL) / 3)  # of each channel, where these are no colours


def to_unit(images: Tensor) -> Tensor:
    """Turn uint8 images into float32 in [0, 1], as `Yolact.forward` takes them, on the device that they are on."""
    return images.to(torch.float32) / 255


def prepare_image(image: Pixels, resize: Resize) -> Tensor:
    """Resize an image, `Pixels` [H, W, C], to the network input, uint8 [C, H, W], RGB if C is 3, padded with `FILL`.

    This is the one way for inference and evaluation.
    """
    height, width = resize.window((image.shape[0], image.shape[1]))
    resized = by_fours(partial(cv2.resize, dsize=(width, height), interpolation=cv2.INTER_LINEAR), image)
    below, right = resize.size[0] - height, resize.size[1] - width
    if below or right:
        border = cv2.BORDER_CONSTANT, None, _fill(image)[::-1]
        resized = by_fours(lambda part: cv2.copyMakeBorder(part, 0, below, 0, right, *border), resized)
    return torch.from_numpy(np.stack(_planes(resized)))


def _fill(image: Pixels) -> tuple[int, ...]:
    """Return `FILL` for an image, RGB or of four channels at most."""
    return FILL if image.shape[2] == 3 else (FILL_BAND,) * 4


def _planes(image: Pixels) -> Sequence[Any]:
    """Return the channels [H, W] of an image in the order in which the network has them."""
    planes = cv2.split(image)
    return planes[::-1] if len(planes) == 3 else planes


def frame_of(sample: Sample) -> NDArray[np.float64]:
    """Return the part of the input within which the image is seen, xyxy [4]."""
    height, width = sample.image_size
    shown = np.array([0, 0, width, height], np.float64)
    if sample.resize.pad:  # what lies beyond the view would be seen on the padding
        shown = np.concatenate((np.maximum(shown[:2], sample.view[:2]), np.minimum(shown[2:], sample.view[2:])))
    frame: NDArray[np.float64] = map_boxes(shown[None], sample.matrix)[0]
    return frame.clip(0, (sample.size[1], sample.size[0], sample.size[1], sample.size[0]))


def largest_reduction(sample: Sample) -> int:
    """Return by how much, 1, 2, 4 or 8, an image may be decoded smaller and still not be enlarged afterwards."""
    scale = np.abs(sample.matrix[:, :2]).max()
    return next((reduction for reduction in (8, 4, 2) if reduction * scale <= 1), 1)


def render_image(image: Pixels, sample: Sample, reduction: int = 1) -> Tensor:
    """Warp the image into its frame and change its pixels there; the rest of the input is `FILL`.

    Args:
        image: `Pixels` [H, W, C], `reduction` times smaller than the one that the sample was made for.
        sample: where it goes.
        reduction: 1 or more.

    Returns:
        uint8 [C, H, W], RGB if C is 3.
    """
    height, width = sample.size
    channels = image.shape[2]
    result = np.empty((channels, height, width), np.uint8)
    x0, y0, x1, y1 = _pixels_in(frame_of(sample))  # nothing blends with the fill: the image's border is repeated
    if (x0, y0, x1, y1) != (0, 0, width, height):
        result[:] = np.array(FILL if channels == 3 else FILL_BAND, np.uint8).reshape(-1, 1, 1)
    if x1 > x0 and y1 > y0:
        matrix = sample.matrix
        matrix[:, :2] *= reduction
        patch = _stretch(image, matrix, sample.size) if (y1 - y0, x1 - x0) == sample.size else None
        if patch is None:
            patch = _warp(image, matrix, (x0, y0, x1, y1))
        for change in sample.pixel_changes:
            patch = change(patch)
        for channel, plane in zip(result, _planes(patch), strict=True):
            channel[y0:y1, x0:x1] = plane
    return torch.from_numpy(result)


def _pixels_in(frame: NDArray[np.float64]) -> View:
    """Return the pixels, xyxy, whose centre lies in a frame."""
    x0, y0, x1, y1 = (int(np.ceil(edge - 0.5)) for edge in frame)
    return x0, y0, x1, y1


def _warp(image: Pixels, matrix: NDArray[np.float64], frame: View) -> Pixels:
    x0, y0, x1, y1 = frame
    local = pixel_index_map(matrix)
    local[:, 2] -= (x0, y0)
    linear = matrix[:, :2]
    is_upright = not (linear.diagonal().any() and linear[[0, 1], [1, 0]].any())
    border = cv2.BORDER_REPLICATE if is_upright else cv2.BORDER_CONSTANT
    size, how = (x1 - x0, y1 - y0), {"borderMode": border, "borderValue": _fill(image)[::-1]}
    return by_fours(partial(cv2.warpAffine, M=local, dsize=size, flags=cv2.INTER_LINEAR, **how), image)


def _stretch(image: Pixels, matrix: NDArray[np.float64], size: tuple[int, int]) -> Pixels | None:
    """Resize the rectangle of whole pixels that fills the input (H, W): the same as a warp, in a fifth of the time.

    Returns None where the map turns, or where the rectangle's edges lie within pixels.
    """
    if matrix[0, 1] or matrix[1, 0]:
        return None
    scales = matrix.diagonal()
    edges = np.sort([-matrix[:, 2] / scales, (np.array(size[::-1]) - matrix[:, 2]) / scales], axis=0)
    whole = np.round(edges).astype(int)
    if (np.abs(edges - whole) > 1e-6).any():
        return None
    (x0, y0), (x1, y1) = whole
    patch = by_fours(partial(cv2.resize, dsize=size[::-1], interpolation=cv2.INTER_LINEAR), image[y0:y1, x0:x1])
    return np.asarray(patch[:: int(np.sign(scales[1])), :: int(np.sign(scales[0]))], np.uint8)


def build_target(sample: Sample, image_id: int) -> Target:
    """Map the objects that stay into the input; boxes are clipped to the visible part of the image.

    The target has masks uint8 [N, H, W] of 0 and 1; N may be 0.
    """
    frame, matrix = frame_of(sample), sample.matrix
    boxes = np.clip(map_boxes(sample.boxes, matrix), np.tile(frame[:2], 2), np.tile(frame[2:], 2))
    visible = sample.kept & (boxes[:, 2:] - boxes[:, :2] >= SMALLEST_SIDE).all(axis=1)
    chosen = [record for record, keep in zip(sample.objects, visible, strict=True) if keep]
    masks = draw_masks([record.segmentation for record in chosen], matrix, sample.size)
    x0, y0, x1, y1 = _pixels_in(frame)
    for outside in (masks[:, :y0], masks[:, y1:], masks[..., :x0], masks[..., x1:]):
        outside[:] = 0  # polygons may go on beyond the image, or beyond the tile that is shown
    return Target(
        boxes=torch.from_numpy(boxes[visible].astype(np.float32)),
        labels=torch.tensor([record.label for record in chosen], dtype=torch.int64),
        masks=torch.from_numpy(masks),
        iscrowd=torch.tensor([record.iscrowd for record in chosen], dtype=torch.bool),
        image_id=image_id,
    )


class MaskCrops(NamedTuple):
    """What a target has in place of whole masks, where the losses need no more: a hundredth of the memory.

    Attributes:
        size: side M of each object's grid; see `yolact.ops.masks.align`.
        map_sizes: (Hs, Ws) of the semantic maps by the (H, W) of the input.
    """

    size: int
    map_sizes: Mapping[tuple[int, int], tuple[int, int]]

    def of(self, target: Target) -> Target:
        """Return `target` with "mask_crops" and "semantic_masks" instead of "masks"."""
        small = target.copy()
        masks = small.pop("masks")
        small["mask_crops"] = mask_ops.align_masks(masks, target["boxes"], self.size)
        small["semantic_masks"] = mask_ops.shrink(masks, self.map_sizes[masks.shape[1], masks.shape[2]])
        return small
