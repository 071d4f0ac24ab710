import pytest
import torch

from yolact.config.checks import SMALLEST_FOR_MASK_IOU
from yolact.models.mask_iou import MaskIoUNet


def prototype_side(image_size):
    """Three halvings that round up lead to P3; the prototypes are twice its size."""
    for _ in range(3):
        image_size = -(-image_size // 2)
    return 2 * image_size


def test_the_smallest_image_gives_the_smallest_mask_that_fits():
    net = MaskIoUNet(num_classes=4)
    side = prototype_side(SMALLEST_FOR_MASK_IOU)
    assert net(torch.rand(2, 1, side, side)).shape == (2, 4)
    side = prototype_side(SMALLEST_FOR_MASK_IOU - 1)
    with pytest.raises(RuntimeError, match="Kernel size"):
        net(torch.rand(2, 1, side, side))
