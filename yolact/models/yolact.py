"""YOLACT: backbone, feature pyramid, protonet and prediction head (arXiv 1904.02689, figure 2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from yolact.models.fpn import FeaturePyramid
from yolact.models.heads import AnchorHead
from yolact.models.mask_iou import MaskIoUNet
from yolact.models.protonet import Protonet
from yolact.structures import Predictions


class Yolact(nn.Module):
    """The whole network; the same forward for training, evaluation and export.

    Args:
        backbone: images to feature maps, with `channels` naming their widths.
        head: pyramid levels to class logits, box deltas and mask coefficients; its `coder` says what they mean.
        mask_iou: the rescoring network of YOLACT++.
        image_size: side of the input in pixels.
        training_sizes: further sides that a multi-scale training has.
        pixel_mean, pixel_std: per channel, RGB, on the 0..255 scale.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FeaturePyramid,
        protonet: Protonet,
        head: AnchorHead,
        mask_iou: MaskIoUNet | None,
        *,
        num_classes: int,
        image_size: int,
        training_sizes: Sequence[int] = (),
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.image_size, self.num_classes, self.training_sizes = image_size, num_classes, frozenset(training_sizes)
        self.backbone, self.fpn, self.protonet, self.head = backbone, fpn, protonet, head
        self.semantic = nn.Conv2d(fpn.channels, num_classes, 1)  # an extra loss on P3 while training (section 5)
        self.mask_iou = mask_iou
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1) / 255, persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1) / 255, persistent=False)
        for part in (self.fpn, self.protonet, self.head, self.semantic, self.mask_iou):
            if part is not None:
                part.apply(_xavier)

    @property
    def anchors(self) -> Tensor:
        """The anchors of the head, float32 [A, 4] xyxy, pixels of the network input."""
        return self.head.coder(self.image_size).anchors

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.pixel_mean.device

    def forward(self, images: Tensor) -> Predictions:
        """Predict from `images`, float32 [B, 3, S, S], RGB in [0, 1], S the `image_size` of the configuration.

        In training mode S may also be one of the sizes of a multi-scale training.

        Raises:
            ValueError: the images have another size or number of channels.
        """
        side = images.shape[-1]
        if not (self.training and side in self.training_sizes):
            side = self.image_size
        size = (3, side, side)
        if images.shape[1:] != size:
            raise ValueError(f"Yolact expects images [B, {', '.join(map(str, size))}], got {list(images.shape)}.")
        normalised = (images - self.pixel_mean) / self.pixel_std
        features = self.backbone(normalised.to(self.semantic.weight.dtype))
        levels = self.fpn(features)
        class_logits, box_deltas, mask_coefficients = self.head(levels)
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
            nn.init.zeros_(module.bias)
