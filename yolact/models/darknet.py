"""DarkNet-53 (YOLOv3) as a feature extractor."""

from torch import Tensor, nn

BLOCKS_PER_STAGE = (1, 2, 8, 8, 4)


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(0.1, inplace=True),
    )


class DarkNetBlock(nn.Module):
    """1x1 then 3x3 convolution, added to the input [B, C, H, W]."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = _conv(channels, channels // 2, 1)
        self.conv2 = _conv(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x))


class DarkNetFeatures(nn.Module):
    """DarkNet-53 without its classifier: images [B, 3, S, S] to C3, C4, C5 at strides 8, 16 and 32."""

    channels, strides = (256, 512, 1024), (8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 32, 3)
        self.stages = nn.ModuleList()
        for i, blocks in enumerate(BLOCKS_PER_STAGE):
            channels = 64 * 2**i
            down = _conv(channels // 2, channels, 3, stride=2)
            self.stages.append(nn.Sequential(down, *(DarkNetBlock(channels) for _ in range(blocks))))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stem(images)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[2], features[3], features[4]
