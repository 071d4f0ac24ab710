"""Fast mask re-scoring (YOLACT++ section 3.3): predict the IoU of a mask with its object from the mask alone."""

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (1, 8, 16, 32, 64, 128)


class MaskIoUNet(nn.Module):
    """Cropped mask probabilities [N, 1, Hp, Wp] to the predicted IoU [N, C] for each class, not negative."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2) for a, b in itertools.pairwise(WIDTHS))
        self.output = nn.Conv2d(WIDTHS[-1], num_classes, 1)

    def forward(self, masks: Tensor) -> Tensor:
        x = masks
        for conv in self.convs:
            x = F.relu(conv(x))
        return F.relu(self.output(x)).amax((2, 3))
