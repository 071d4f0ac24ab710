"""int8 files: post-training quantisation by nncf, calibrated on training images and measured on validation images."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolact.data.dataset import CocoDataset
from yolact.data.rendering import prepare_image
from yolact.runtimes.exported import INPUT
from yolact.structures import Resize

CALIBRATION = 128  # training images: nncf's figures of merit hardly change beyond
LARGEST_LOSS = 0.01  # of mask AP; a file that loses more is not called good
AIM = 0.005  # of mask AP: more layers stay float until no more than this is lost
# Parts of the network that stay float, from none to all but the backbone. The last layers come first: their errors are
# not averaged by any layer after them.
LAST = ("model.head.class_logits", "model.head.box_deltas", "model.head.mask_coefficients", "model.protonet.output")
FLOAT_PARTS: tuple[tuple[str, ...], ...] = (
    (), LAST, ("model.head", "model.protonet.output"), ("model.head", "model.protonet", "model.fpn"),
)  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """An int8 file that was measured."""

    float_parts: tuple[str, ...]  # of the network, that stay float
    mask_ap: float
    loss: float  # of mask AP against the float model


def calibration_images(dataset: CocoDataset) -> Iterator[np.ndarray]:
    """Yield images of all parts of a data set, `Pixels` [H, W, C]."""
    for index in np.linspace(0, len(dataset) - 1, min(CALIBRATION, len(dataset))).round():
        yield dataset.load_image(int(index))


def calibration_batches(images: Iterable[np.ndarray], resize: Resize) -> list[np.ndarray]:
    """Return images, `Pixels` [H, W, C], as a file takes them: uint8 [1, H, W, C]."""
    return [prepare_image(image, resize).permute(1, 2, 0).contiguous().numpy()[None] for image in images]


def quantiser(images: Sequence[np.ndarray], float_parts: Sequence[str]) -> Callable[[Any, dict[str, str]], Any]:
    """Return the change of a float model, of ONNX or OpenVINO, into one whose network computes in int8.

    What follows the network, and the parts of it that are named, stay float.
    """

    def quantise(model: Any, parts: dict[str, str]) -> Any:
        os.environ.setdefault("NNCF_CI", "1")  # else nncf tells its authors how it is used
        import nncf

        logging.getLogger("nncf").setLevel(logging.ERROR)  # its own function sets handlers of other programs too
        # OpenVINO makes several operations of a node, and adds to its name behind a slash.
        is_onnx = hasattr(model, "graph")
        names = [node.name for node in model.graph.node] if is_onnx else _operations(model)
        kept = [name for name in names if _is_float(parts.get(name.partition("/")[0], ""), float_parts)]
        return nncf.quantize(
            model,
            nncf.Dataset([{INPUT: image} for image in images] if is_onnx else list(images)),
            # Symmetric, as TensorRT has no other.
            preset=nncf.QuantizationPreset.PERFORMANCE,
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=kept, validate=False),
            # Processors without VNNI add up products in 16 bits, which overflow unless weights take seven bits.
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )

    return quantise


def _operations(model: Any) -> list[str]:
    """Return the names of what a model of OpenVINO computes."""
    others = ("Constant", "Parameter", "Result")
    return [node.get_friendly_name() for node in model.get_ordered_ops() if node.get_type_name() not in others]


def _is_float(part: str, float_parts: Sequence[str]) -> bool:
    return not part.startswith("model.") or any(part == one or part.startswith(f"{one}.") for one in float_parts)
