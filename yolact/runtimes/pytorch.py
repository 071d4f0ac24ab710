"""The network in PyTorch, folded and in channels-last format, on any device, compiled if asked to."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from yolact.config import EvalConfig
from yolact.data.rendering import to_unit
from yolact.device import DTYPES, Precision, compile_options
from yolact.errors import UserError
from yolact.models import Yolact
from yolact.models.inference import for_inference
from yolact.postprocess import Detector
from yolact.structures import BoxCoder, Detections, Predictions, Resize


class PyTorchRuntime:
    """A `Runtime`: a copy of a model that only predicts.

    Attributes:
        network: the copy, see `for_inference`.
    """

    name = "PyTorch"

    def __init__(self, model: Yolact, precision: Precision = "fp32", compiled_for: EvalConfig | None = None) -> None:
        """Copy the model; `compiled_for` are the settings to compile it and its detection for, by torch.compile.

        On a GPU that is one graph, whose results the next call overwrites. All scores are kept, so that another
        threshold compiles nothing anew; low ones suppress none above them. Exact NMS has no fixed sizes: there the
        network alone is compiled.
        """
        if precision not in DTYPES:
            raise UserError(f"precision must be one of {', '.join(DTYPES)}, got {precision!r}; correct it.")
        self.network = for_inference(model, DTYPES[precision])
        self.precision, self.device = precision, model.device
        self.mask_iou: nn.Module | None = model.mask_iou
        self._compiled: Callable[[Tensor], Predictions | Detections] | None = None
        if compiled_for is None:
            return
        options = compile_options(self.device)
        if compiled_for.nms == "exact":
            self.network.compile(**options)
        else:
            detector = Detector.of(model, replace(compiled_for, score_threshold=0.0))
            self._compiled = torch.compile(partial(self._detect, detector), **options)

    @property
    def coder(self) -> BoxCoder:
        return self.network.coder

    @property
    def resize(self) -> Resize:
        return self.network.resize

    def __call__(self, images: Tensor) -> Predictions | Detections:
        return self._predict(images) if self._compiled is None else self._compiled(images)

    def _predict(self, images: Tensor) -> Predictions:
        predictions: Predictions = self.network(to_unit(images).contiguous(memory_format=torch.channels_last))
        return Predictions(*(value.float() for value in predictions))

    def _detect(self, detector: Detector, images: Tensor) -> Detections:
        return detector.detect(self._predict(images))
