"""Masks from prototypes: linear assembly, cropping and resizing (YOLACT section 3.2, Eq. 1)."""

import torch
import torch.nn.functional as F
from torch import Tensor


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
    return resize(masks.float(), size) > 0.5
