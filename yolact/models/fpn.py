"""Feature pyramid network (Lin et al. 2017) with YOLACT's two extra levels."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class FeaturePyramid(nn.Module):
    """C3, C4, C5 to P3 .. P7, each [B, channels, H, W]; P6 and P7 are strided convolutions of P5 (section 4)."""

    def __init__(self, in_channels: Sequence[int], channels: int = 256):
        super().__init__()
        self.channels = channels
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.downsample = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(2))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        merged = [lateral(c) for lateral, c in zip(self.lateral, features, strict=True)]
        for i in range(len(merged) - 1, 0, -1):
            size = merged[i - 1].shape[-2:]
            merged[i - 1] = merged[i - 1] + F.interpolate(merged[i], size, mode="bilinear", align_corners=False)
        levels = [F.relu(output(x), inplace=True) for output, x in zip(self.output, merged, strict=True)]
        for downsample in self.downsample:  # no ReLU here: the published weights were trained without
            levels.append(downsample(levels[-1]))
        return levels
