"""Masks from prototypes: linear assembly, cropping and resizing (YOLACT section 3.2, Eq. 1)."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from yolact.ops.boxes import resize_boxes, unit_boxes

ROI_SCALE = 1.2  # side of an object's grid over its box: what is just outside must be learned too
CHUNK = 32  # masks that are turned into floats at once


def assemble(prototypes: Tensor, mask_coefficients: Tensor) -> Tensor:
    """Combine prototypes [..., K, H, W] by coefficients [..., N, K] into logits [..., N, H, W]: Eq. 1, no sigmoid."""
    return (mask_coefficients @ prototypes.flatten(-2)).unflatten(-1, prototypes.shape[-2:])


def box_window(boxes: Tensor, height: int, width: int, padding: float = 1.0) -> Tensor:
    """Return bool [N, height, width], true inside xyxy `boxes` [N, 4] (pixels of the map) widened by `padding` pixels.

    A pixel belongs to the window by its index: x1 - padding <= index < x2 + padding, as the published weights expect.
    """
    x1, y1, x2, y2 = (edge[:, None] for edge in boxes.unbind(-1))
    columns = torch.arange(width, device=boxes.device, dtype=boxes.dtype)
    rows = torch.arange(height, device=boxes.device, dtype=boxes.dtype)
    in_columns = (columns >= x1 - padding) & (columns < x2 + padding)
    in_rows = (rows >= y1 - padding) & (rows < y2 + padding)
    return in_rows[:, :, None] & in_columns[:, None, :]


def crop(masks: Tensor, boxes: Tensor, padding: float = 1.0) -> Tensor:
    """Set masks [N, H, W] to zero outside their xyxy `boxes` [N, 4], in pixels of the masks, widened by `padding`."""
    return masks * box_window(boxes, masks.shape[1], masks.shape[2], padding)


def resize(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize float masks [N, H, W] bilinearly to `size` (height, width)."""
    if tuple(masks.shape[-2:]) == size:
        return masks
    return F.interpolate(masks[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def shrink(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize 0/1 ground-truth masks [N, H, W] to bool [N, height, width] as the authors do: bilinear, over one half."""
    return torch.cat([resize(part.float(), size) > 0.5 for part in masks.split(CHUNK)])


def align(maps: Tensor, index: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Sample maps on each object's own grid by RoIAlign (He et al. 2017): its box enlarged by `ROI_SCALE`.

    Linear, as the assembly of masks is, so that either may come first.

    Args:
        maps: float [N, K, H, W], of N images.
        index: int64 [T], the image of each object.
        boxes: float [T, 4] xyxy as shares of the image's width and height.
        size: side M of the grids.

    Returns:
        float [T, K, M, M].
    """
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2 * ROI_SCALE
    corners = resize_boxes(torch.cat([centre - half, centre + half], 1), (1, 1), maps.shape[-2:])
    rois = torch.cat([index[:, None].to(boxes.dtype), corners], 1)
    aligned: Tensor = roi_align(maps, rois, size, aligned=True)
    return aligned


def align_masks(masks: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return each of the 0/1 masks [N, H, W] on its object's grid, uint8 [N, M, M] up to 255; see `align`."""
    crops = [masks.new_zeros(0, size, size)]
    shares = unit_boxes(boxes, (masks.shape[1], masks.shape[2]))
    for part, own in zip(masks.split(CHUNK), shares.split(CHUNK), strict=True):
        aligned = align(part[:, None].float(), torch.arange(len(part), device=own.device), own, size)[:, 0]
        crops.append((aligned * 255).round().to(torch.uint8))
    return torch.cat(crops)
