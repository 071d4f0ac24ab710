"""Protonet: the prototype masks of an image (YOLACT section 3.1, figure 3)."""

import torch.nn.functional as F
from torch import Tensor, nn

from yolact.models.upsampling import UpsampledConv2d


class Protonet(nn.Module):
    """P3 [B, C, H, W] to prototypes [B, K, 2H, 2W], not negative."""

    def __init__(self, in_channels: int, channels: int, num_prototypes: int):
        super().__init__()
        widths = [in_channels, channels, channels]
        self.before = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1) for width in widths)
        self.after = UpsampledConv2d(channels, channels)
        self.output = nn.Conv2d(channels, num_prototypes, 1)

    def forward(self, p3: Tensor) -> Tensor:
        x = p3
        for conv in self.before:
            x = F.relu(conv(x), inplace=True)
        # The ReLU on the output leaves the prototypes unbounded above: strong ones are easy to express (section 3.3).
        x = F.relu(self.after(x), inplace=True)
        return F.relu(self.output(x), inplace=True)
