"""YOLACT: backbone, feature pyramid, protonet and prediction head (arXiv 1904.02689, figure 2)."""

import itertools
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolact.models.heads import AnchorHead
from yolact.models.points import PointHead
from yolact.models.upsampling import UpsampledConv2d
from yolact.structures import BoxCoder, Predictions, Resize

MASK_IOU_WIDTHS = (1, 8, 16, 32, 64, 128)


class FeaturePyramid(nn.Module):
    """C3, C4, C5 to P3 .. P7, each [B, channels, H, W] (Lin et al. 2017).

    P6 and P7, YOLACT's extra levels, are strided convolutions of P5 (section 4).

    Args:
        in_channels: of the backbone's maps, from the finest.
        channels: of each level.
        num_extra: levels beyond the last map.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256, num_extra: int = 2):
        super().__init__()
        self.channels = channels
        self.lateral = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.output = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.downsample = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(num_extra))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        merged = [lateral(c) for lateral, c in zip(self.lateral, features, strict=True)]
        for i in range(len(merged) - 1, 0, -1):
            size = merged[i - 1].shape[-2:]
            merged[i - 1] = merged[i - 1] + F.interpolate(merged[i], size, mode="bilinear", align_corners=False)
        levels = [F.relu(output(x), inplace=True) for output, x in zip(self.output, merged, strict=True)]
        for downsample in self.downsample:  # no ReLU here: the published weights were trained without
            levels.append(downsample(_at_least_two_wide(levels[-1])))
        return levels


def _at_least_two_wide(x: Tensor) -> Tensor:
    """Append a column of zeros, which a strided convolution pads anyway, to a map [B, C, H, 1].

    PyTorch's bf16 convolutions on CPUs return uninitialised memory as gradient of the weight where a map is one wide
    (seen in 2.14).
    """
    return F.pad(x, (0, 1)) if x.shape[-1] == 1 else x


class Protonet(nn.Module):
    """P3 [B, C, H, W] to the prototype masks [B, K, 2H, 2W], not negative (section 3.1, figure 3)."""

    def __init__(self, in_channels: int, channels: int, num_prototypes: int):
        super().__init__()
        widths = [in_channels, channels, channels]
        self.before = nn.ModuleList(nn.Conv2d(width, channels, 3, padding=1) for width in widths)
        self.after = UpsampledConv2d(channels, channels)
        self.output = nn.Conv2d(channels, num_prototypes, 1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.before:
            x = F.relu(conv(x), inplace=True)
        # The ReLU on the output leaves the prototypes unbounded above: strong ones are easy to express (section 3.3).
        x = F.relu(self.after(x), inplace=True)
        return F.relu(self.output(x), inplace=True)


class MaskIoUNet(nn.Module):
    """Rescoring (YOLACT++ section 3.3): cropped mask probabilities [N, 1, Hp, Wp] to each class's predicted IoU [N, C].

    The IoU is not negative.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2) for a, b in itertools.pairwise(MASK_IOU_WIDTHS))
        self.output = nn.Conv2d(MASK_IOU_WIDTHS[-1], num_classes, 1)

    def forward(self, masks: Tensor) -> Tensor:
        x = masks
        for conv in self.convs:
            x = F.relu(conv(x))
        return F.relu(self.output(x)).amax((2, 3))


class Yolact(nn.Module):
    """The whole network; the same forward for training, evaluation and export.

    Args:
        backbone: images to feature maps, with `channels` naming their widths.
        head: pyramid levels to class logits, box deltas and mask coefficients; its `coder` says what they mean.
        mask_iou: the rescoring network of YOLACT++.
        num_mask_only: how many of the finest levels the prototypes see and the head does not.
        resize: how images become the input.
        map_sizes: (Hs, Ws) of the semantic maps by the (H, W) of the input, for all that a training may have; the
            prototypes are twice as large.
        pixel_mean, pixel_std: of each of the C channels of an image, RGB if C is 3, on the 0..255 scale.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FeaturePyramid,
        protonet: Protonet,
        head: AnchorHead | PointHead,
        mask_iou: MaskIoUNet | None,
        *,
        num_mask_only: int = 0,
        num_classes: int,
        resize: Resize,
        map_sizes: Mapping[tuple[int, int], tuple[int, int]],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.resize, self.num_classes, self.map_sizes = resize, num_classes, dict(map_sizes)
        self.num_mask_only = num_mask_only
        self.backbone, self.fpn, self.protonet, self.head = backbone, fpn, protonet, head
        self.semantic = nn.Conv2d(fpn.channels, num_classes, 1)  # an extra loss on P3 while training (section 5)
        self.mask_iou = mask_iou
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1) / 255, persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1) / 255, persistent=False)
        for part in (self.fpn, self.protonet, self.head, self.semantic, self.mask_iou):
            if part is not None:
                part.apply(_xavier)

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the input in pixels."""
        return self.resize.size

    @property
    def channels(self) -> int:
        """C, of the images."""
        return len(self.pixel_mean)

    @property
    def coder(self) -> BoxCoder:
        """The code of the head's boxes, for inputs of `image_size`."""
        return self.head.coder(self.image_size)

    @property
    def anchors(self) -> Tensor:
        """The anchors of an anchor head, float32 [A, 4] xyxy, pixels of the network input."""
        return self.coder.anchors  # type: ignore[attr-defined]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.pixel_mean.device

    def forward(self, images: Tensor) -> Predictions:
        """Predict from `images`, float32 [B, C, H, W] in [0, 1], RGB if C is 3, of the configuration's `image_size`.

        In training mode they may also have one of the sizes of a multi-scale training.

        Raises:
            ValueError: the images have another size or number of channels.
        """
        size = (images.shape[-2], images.shape[-1])
        if not (self.training and size in self.map_sizes):
            size = self.image_size
        expected = self.channels, *size
        if images.shape[1:] != expected:
            raise ValueError(f"Yolact expects images [B, {str([*expected])[1:]}, got {list(images.shape)}.")
        normalised = (images - self.pixel_mean) / self.pixel_std
        features = self.backbone(normalised.to(self.semantic.weight.dtype))
        levels = self.fpn(features[-len(self.fpn.lateral) :])  # a backbone may have finer maps than are asked for
        class_logits, box_deltas, mask_coefficients = self.head(levels[self.num_mask_only :])
        return Predictions(
            class_logits=class_logits,
            box_deltas=box_deltas,
            mask_coefficients=mask_coefficients,
            prototypes=self.protonet(levels[0]),
            semantic_logits=self.semantic(levels[0]),
        )


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.constant_(module.bias, getattr(module, "first_bias", 0.0))
