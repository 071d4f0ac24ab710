"""The prediction head that all pyramid levels share (YOLACT section 3.2, figure 4)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PredictionHead(nn.Module):
    """Class logits, box deltas and mask coefficients of every anchor."""

    def __init__(self, channels: int, num_anchors: int, num_classes: int, num_prototypes: int):
        super().__init__()
        self.widths = (1 + num_classes, 4, num_prototypes)
        self.shared = nn.Conv2d(channels, channels, 3, padding=1)
        self.class_logits = nn.Conv2d(channels, num_anchors * (1 + num_classes), 3, padding=1)
        self.box_deltas = nn.Conv2d(channels, num_anchors * 4, 3, padding=1)
        self.mask_coefficients = nn.Conv2d(channels, num_anchors * num_prototypes, 3, padding=1)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Map levels [B, C, H, W] to [B, A, 1+C], [B, A, 4] and [B, A, K], anchors in the order of `make_anchors`."""
        outputs = []
        for level in levels:
            x = F.relu(self.shared(level), inplace=True)
            convs = (self.class_logits, self.box_deltas, self.mask_coefficients)
            outputs.append([_per_anchor(conv(x), width) for conv, width in zip(convs, self.widths, strict=True)])
        classes, deltas, coefficients = (torch.cat(parts, 1) for parts in zip(*outputs, strict=True))
        return classes, deltas, coefficients.tanh()


def _per_anchor(x: Tensor, width: int) -> Tensor:
    """Rearrange [B, anchors * width, H, W] to [B, H * W * anchors, width]."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)  # len(x) would fix the batch size in an export
