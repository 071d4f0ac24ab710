"""YOLACT: backbone, feature pyramid, protonet and prediction head (arXiv 1904.02689, figure 2)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from yolact.models.fpn import FeaturePyramid
from yolact.models.heads import PredictionHead
from yolact.models.mask_iou import MaskIoUNet
from yolact.models.protonet import Protonet
from yolact.structures import Predictions


class Yolact(nn.Module):
    """The whole network; the same forward for training, evaluation and export.

    Args:
        backbone: images to three feature maps, with `channels` naming their widths.
        unit_anchors: for each side of the input that occurs, in pixels, float32 [A, 4] xyxy as shares of it, as many as
            the head predicts. Sides other than `image_size` are for multi-scale training alone.
        pixel_mean, pixel_std: per channel, RGB, on the 0..255 scale.
    """

    anchors: Tensor  # float32 [A, 4] xyxy, pixels of the network input
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        unit_anchors: Mapping[int, Tensor],
        *,
        image_size: int,
        num_classes: int,
        anchors_per_cell: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        fpn_channels: int = 256,
        protonet_channels: int = 256,
        num_prototypes: int = 32,
        mask_iou: bool = False,
    ):
        super().__init__()
        self.image_size, self.num_classes = image_size, num_classes
        self.backbone = backbone
        self.fpn = FeaturePyramid(backbone.channels, fpn_channels)  # type: ignore[arg-type]
        self.protonet = Protonet(fpn_channels, protonet_channels, num_prototypes)
        self.head = PredictionHead(fpn_channels, anchors_per_cell, num_classes, num_prototypes)
        self.semantic = nn.Conv2d(fpn_channels, num_classes, 1)  # an extra loss on P3 while training (section 5)
        self.mask_iou = MaskIoUNet(num_classes) if mask_iou else None
        self.training_sizes = frozenset(unit_anchors)
        for size, anchors in unit_anchors.items():
            self.register_buffer(f"unit_anchors_{size}", anchors, persistent=False)
        self.register_buffer("anchors", unit_anchors[image_size] * image_size, persistent=False)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(3, 1, 1) / 255, persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(3, 1, 1) / 255, persistent=False)
        for part in (self.fpn, self.protonet, self.head, self.semantic, self.mask_iou):
            if part is not None:
                part.apply(_xavier)

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

    def unit_anchors_of(self, image_size: int) -> Tensor:
        """Return the anchors of inputs of side `image_size`, float32 [A, 4] xyxy as shares of it."""
        return self.get_buffer(f"unit_anchors_{image_size}")


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
