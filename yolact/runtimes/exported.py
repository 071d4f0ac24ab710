"""Exported files: what they say of themselves, and how their outputs become predictions or detections."""

import importlib
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from yolact.config import Config, config_from_dict
from yolact.errors import CheckpointError, UserError
from yolact.models.heads import AnchorCoder
from yolact.models.points import PointCoder
from yolact.structures import BoxCoder, Detections, Predictions, Resize
from yolact.text import printable

FORM = 3  # of inputs, outputs and metadata; a higher number means that programs which read them must change
INPUT = "images"  # uint8 [B, H, W, C], RGB if C is 3
RAW = ("class_logits", "box_deltas", "mask_coefficients", "prototypes")  # and the constants of the box coder
COMPLETE = ("boxes", "scores", "labels", "mask_coefficients", "counts", "prototypes")  # beside what other programs use
CODERS: dict[str, Callable[[Tensor, tuple[int, int]], BoxCoder]] = {"anchors": AnchorCoder, "points": PointCoder}


class Session(Protocol):
    """A file that is open in its runtime. It is opened with a path, a device, and how many callers share the cores."""

    metadata: Mapping[str, Any]  # empty where the file has none
    device: torch.device  # of the inputs and outputs

    def run(self, images: Tensor) -> dict[str, Tensor]:
        """Map uint8 [B, H, W, C], RGB if C is 3, on `device` to the outputs by name; several threads may call."""


class Kind(NamedTuple):
    """How files of a runtime are called, where its class is, and what must be installed for it."""

    name: str
    ending: str
    home: str
    package: str


KINDS = {
    "onnx": Kind("ONNX Runtime", ".onnx", "onnx.OnnxSession", "onnxruntime"),
    "openvino": Kind("OpenVINO", "_openvino", "openvino.OpenVinoSession", "openvino"),
    "tensorrt": Kind("TensorRT", ".engine", "tensorrt.TensorRtSession", "tensorrt"),
    "torch": Kind("torch.export", ".pt2", "torch_export.TorchExportSession", "torch"),
}
# Keys of the metadata that reading a file needs, and their types.
NEEDED: dict[str, type] = {
    "yolact_export": int, "contents": str, "precision": str, "config": dict, "class_names": list, "category_ids": list,
    "names_known": bool,
}  # fmt: skip


def kind_of(path: str | Path) -> str | None:
    """Return the key of `KINDS` that a path belongs to by its ending, or None: then it is a checkpoint."""
    name = Path(path).name
    return next((key for key, kind in KINDS.items() if name.endswith(kind.ending)), None)


def require_packages(*names: str, install: str, purpose: str) -> None:
    """Raise a UserError that names the first package which is not installed, and how to install it."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(f"{purpose} needs the package {name}, which is not installed; run `pip install {install}`.")


def open_session(path: str | Path, device: str | torch.device | None = None, num_callers: int = 1) -> Session:
    """Open a file in its runtime.

    Args:
        path: with one of the endings of `KINDS`.
        device: "cpu", "cuda", "mps" as far as the runtime has it; None takes what it has.
        num_callers: threads that call it at the same time, between which the cores are divided.

    Raises:
        CheckpointError: there is no such file, or the runtime cannot read it.
        UserError: the runtime is not installed, or has no such device.
    """
    kind = KINDS[kind_of(path) or "onnx"]
    if not Path(path).exists():
        raise CheckpointError(f"{path}: there is no such file; check the path.")
    require_packages(kind.package, install=kind.package, purpose=f"'{path}'")
    module, _, name = kind.home.partition(".")
    make = getattr(importlib.import_module(f"yolact.runtimes.{module}"), name)
    try:
        session: Session = make(Path(path), device, num_callers)
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of many kinds: each runtime has its own
        raise CheckpointError(
            f"{path}: {kind.name} cannot read it ({_reason(error)}); it is damaged, incomplete or of another kind: "
            "copy it again, or export the model again."
        ) from error
    return session


class ExportedRuntime:
    """A `Runtime`: an exported file in the runtime that it is for.

    Attributes:
        session: the open file.
        metadata: what it says of itself.
        config: the configuration of the model, with the settings that a complete file has inside.
        is_complete: whether it suppresses and rescores itself.
    """

    mask_iou: nn.Module | None = None

    def __init__(self, path: str | Path, device: str | torch.device | None = None, num_callers: int = 1) -> None:
        """Open a file, see that it is of this project, and run it once.

        Raises:
            CheckpointError: it cannot be read, was not made by `yolact export`, or by a version of another form.
            UserError: its runtime is not installed or has no such device.
        """
        self.path, self._given = Path(path), device
        self.session = open_session(path, device, num_callers)
        self.metadata = _checked(self.session.metadata, path)
        self.name, self.device = KINDS[kind_of(path) or "onnx"].name, self.session.device
        self.precision, self.is_complete = self.metadata["precision"], self.metadata["contents"] == "complete"
        self.config: Config = config_from_dict(self.metadata["config"], str(path))
        self.resize = Resize.of(self.config.model)
        size = self.resize.size
        image = torch.zeros(1, *size, self.config.model.channels, dtype=torch.uint8, device=self.device)
        try:
            outputs = self.session.run(image)
        except Exception as error:
            raise CheckpointError(f"{path}: it does not run ({_reason(error)}); export the model again.") from error
        wanted = COMPLETE if self.is_complete else RAW
        if missing := [name for name in wanted if name not in outputs]:
            raise CheckpointError(f"{path}: it has no outputs {', '.join(missing)}; export the model again.")
        # Boxes of a complete file are decoded; only the size of the input is still asked for.
        decoded: BoxCoder = PointCoder(torch.zeros(0, 3), size)
        coders = [make(outputs[name][0], size) for name, make in CODERS.items() if name in outputs]
        self.coder: BoxCoder = next(iter(coders), decoded)

    def for_callers(self, count: int) -> "ExportedRuntime":
        """Return the same file, opened for so many threads that call it at the same time."""
        return ExportedRuntime(self.path, self._given, count)

    def __call__(self, images: Tensor) -> Predictions | Detections:
        outputs = self.session.run(images.permute(0, 2, 3, 1).contiguous())
        if self.is_complete:
            fields = {name: outputs[name] for name in COMPLETE}
            return Detections(**fields, mask_scores=outputs.get("mask_scores"))
        # The semantic logits, which only training needs, are not in a file.
        fields = {name: outputs[name].float() for name in RAW}
        return Predictions(**fields, semantic_logits=torch.empty(0))


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = next((line for line in reversed(lines) if re.search("[a-z]", line)), type(error).__name__)
    return printable(text)[-200:].rstrip(". ")


def _checked(metadata: Mapping[str, Any], path: str | Path) -> Mapping[str, Any]:
    missing = [key for key, kind in NEEDED.items() if not isinstance(metadata.get(key), kind)]
    form = metadata.get("yolact_export")
    if isinstance(form, int) and form != FORM:
        age, cure = ("a newer", "update this program") if form > FORM else ("an older", "export the model again")
        raise CheckpointError(f"{path}: exported by {age} version (form {form}, expected {FORM}); {cure}.")
    if missing:
        raise CheckpointError(
            f"{path}: not a file of `yolact export`: it does not say what its outputs mean ({', '.join(missing)} "
            "missing from its metadata); export the model with this program."
        )
    return metadata
