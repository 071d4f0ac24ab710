"""What crosses the boundaries between the rooms: targets, predictions, detections, and the code of a head's boxes.

Everywhere inside, boxes are float32 xyxy in pixels of the network input, labels are 0..C-1 and sizes are (height,
width). NamedTuples hold tensors because they pass `torch.compile`, `torch.export` and DistributedDataParallel.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NotRequired, Protocol, TypedDict

import torch
from torch import Tensor, nn

from yolact.errors import ConfigError

if TYPE_CHECKING:
    from yolact.config import EvalConfig, ModelConfig

View = tuple[int, int, int, int]  # xyxy, whole pixels of an image: a rectangle of it, x1 and y1 excluded


class Resize(NamedTuple):
    """How images become the network input: stretched to its shape, or in their own, at its top left corner."""

    size: tuple[int, int]  # (H, W) of the input
    pad: bool = False

    @classmethod
    def of(cls, model: "ModelConfig") -> "Resize":
        """Return what a configuration says."""
        return cls(model.input_size, model.resize == "pad")

    def window(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return (h, w), the part of the input that an image of (H, W) fills, in pixels from the top left corner.

        Padded, these are multiples of 4, so that whole pixels of the prototypes show the image.
        """
        if not self.pad:
            return self.size
        scale = min(side / length for side, length in zip(self.size, image_size, strict=True))
        height, width = (
            min(max(4 * round(length * scale / 4), 4), side) for side, length in zip(self.size, image_size, strict=True)
        )
        return height, width

    def part(self, maps: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Return that part of maps [..., Hm, Wm] of the whole input."""
        height, width = (
            round(length * share / side)
            for length, share, side in zip(maps.shape[-2:], self.window(image_size), self.size, strict=True)
        )
        return maps[..., :height, :width]


class Tiles(NamedTuple):
    """How a large image is cut into parts that overlap, each of which the network sees as an image of its own."""

    size: tuple[int, int]  # (H, W) of a part, in pixels of the image
    overlap: int  # pixels that neighbours share at least, fewer than a side has

    @classmethod
    def of(cls, settings: "EvalConfig") -> "Tiles | None":
        """Return what a configuration says; by itself a quarter of a side is shared, and at most a half can be."""
        size, overlap = settings.tile_size, settings.tile_overlap
        if size is not None and 2 * (overlap or 0) > min(size):
            raise ConfigError(f"eval.tile_overlap must be at most half of eval.tiles, {settings.tiles}, got {overlap}.")
        return None if size is None else cls(size, min(size) // 4 if overlap is None else overlap)

    def views(self, image_size: tuple[int, int]) -> list[View]:
        """Return the parts of an image row by row, evenly spread; one that is no larger than a part stays whole."""
        (height, width), (tops, lefts) = (
            [min(pair) for pair in zip(self.size, image_size, strict=True)],
            [self._starts(*pair) for pair in zip(image_size, self.size, strict=True)],
        )
        return [(left, top, left + width, top + height) for top in tops for left in lefts]

    def _starts(self, length: int, side: int) -> list[int]:
        more = max(math.ceil((length - side) / (side - self.overlap)), 0)
        return [round(number * (length - side) / more) for number in range(more + 1)] if more else [0]


class Target(TypedDict):
    """Ground truth of one training image; the keys are torchvision's. Crowd regions are marked, not removed."""

    boxes: Tensor  # float32 [N, 4] xyxy, pixels of the network input
    labels: Tensor  # int64 [N], 0..C-1
    masks: NotRequired[Tensor]  # uint8 or bool [N, H, W] at the size of the network input, nonzero on the object
    # In place of masks, where the losses need no more: see `yolact.data.rendering.MaskCrops`.
    mask_crops: NotRequired[Tensor]  # uint8 [N, M, M], 255 on the object, of the box and a margin
    semantic_masks: NotRequired[Tensor]  # bool [N, Hs, Ws]
    iscrowd: Tensor  # bool [N]
    image_id: int


class Objects(NamedTuple):
    """The T objects of a batch of B images, image after image, crowd regions among them."""

    boxes: Tensor  # float32 [T, 4] xyxy
    labels: Tensor  # int64 [T]
    iscrowd: Tensor  # bool [T]
    image_index: Tensor  # int64 [T], ascending
    counts: list[int]  # B numbers that add up to T


def join_targets(targets: Sequence[Target]) -> Objects:
    """Put the objects of all images into one list, so that the losses need no loop; the device is not waited for."""
    counts = [len(target["labels"]) for target in targets]
    image_index = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return Objects(
        boxes=torch.cat([target["boxes"] for target in targets]),
        labels=torch.cat([target["labels"] for target in targets]),
        iscrowd=torch.cat([target["iscrowd"] for target in targets]),
        image_index=image_index.to(targets[0]["labels"].device, non_blocking=True),
        counts=counts,
    )


class Predictions(NamedTuple):
    """Output of `Yolact.forward`.

    A: anchors or points, C: classes, K: prototypes, (Hp, Wp): input / 4, (Hs, Ws): input / 8, with pyramid from P3.
    """

    class_logits: Tensor  # [B, A, 1+C], column 0 is background; points: [B, A, C]
    box_deltas: Tensor  # [B, A, 4], encoded as the head's `BoxCoder` says
    mask_coefficients: Tensor  # [B, A, K] in (-1, 1)
    prototypes: Tensor  # [B, K, Hp, Wp], not negative
    semantic_logits: Tensor  # [B, C, Hs, Ws]


class BoxCoder(Protocol):
    """How a head's outputs mean scores and boxes, at one size of the input. Nothing else knows the kind of head."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the network input in pixels."""

    @property
    def constants(self) -> dict[str, Tensor]:
        """By name, what a program needs beside the outputs to decode them, each [A, ...]."""

    def scores(self, class_logits: Tensor) -> Tensor:
        """Return class probabilities [B, A, C], without background."""

    def decode(self, box_deltas: Tensor) -> Tensor:
        """Return boxes [B, A, 4] xyxy, pixels of the network input, not clipped."""

    def encode(self, boxes: Tensor) -> Tensor:
        """Return what `box_deltas` should be for each candidate's box [B, A, 4] xyxy."""


class Detections(NamedTuple):
    """What NMS keeps, padded to D detections an image; rows from `counts` on are zero. Descending score.

    Masks are made of the prototypes later, at the size of the image.
    """

    boxes: Tensor  # float32 [B, D, 4] xyxy, pixels of the network input, not clipped
    scores: Tensor  # float32 [B, D]
    labels: Tensor  # int64 [B, D]
    mask_coefficients: Tensor  # float32 [B, D, K]
    counts: Tensor  # int64 [B]
    prototypes: Tensor  # [B, K, Hp, Wp]
    mask_scores: Tensor | None = None  # float32 [B, D], of an exported file that rescores (YOLACT++)


class Runtime(Protocol):
    """Something that runs the network: PyTorch, or what an exported file is for."""

    @property
    def name(self) -> str:
        """What it is called, such as "ONNX Runtime"."""

    @property
    def precision(self) -> str:
        """One of "fp32", "bf16", "fp16", "int8"."""

    @property
    def device(self) -> torch.device:
        """Where inputs and outputs are."""

    @property
    def coder(self) -> BoxCoder:
        """The code of the boxes of predictions."""

    @property
    def resize(self) -> Resize:
        """How images become its input."""

    @property
    def mask_iou(self) -> nn.Module | None:
        """The rescoring network of YOLACT++, where masks are to be rescored in PyTorch."""

    def __call__(self, images: Tensor) -> Predictions | Detections:
        """Take uint8 images [B, C, H, W], RGB if C is 3; a file that suppresses itself gives Detections, in float32."""
