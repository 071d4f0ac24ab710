"""OpenVINO's models, a folder each: the fast way on x86 and ARM CPUs."""

import json
import threading
from pathlib import Path
from typing import Any

import openvino
import torch
from torch import Tensor

from yolact.errors import UserError

MODEL = "model.xml"  # in the folder, beside its weights in model.bin
METADATA = "yolact"  # the entry of the model's runtime information that holds the metadata as JSON


class OpenVinoSession:
    """A `Session` of OpenVINO on the CPU.

    It computes in float32 or, where the file was exported so, in bfloat16: by itself OpenVINO would choose by the
    processor. The model is compiled for each number of images that comes, as fixed shapes are faster.
    """

    def __init__(self, path: Path, device: str | torch.device | None, num_callers: int) -> None:
        if str(device or "cpu") != "cpu":
            raise UserError(f"Device '{device}' was asked for, but OpenVINO files run on the CPU here; use cpu.")
        self.device, self._core = torch.device("cpu"), openvino.Core()
        self._model = self._core.read_model(path / MODEL)
        text = self._model.get_rt_info([METADATA]).astype(str) if self._model.has_rt_info([METADATA]) else "{}"
        self.metadata: dict[str, Any] = json.loads(text)
        if "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            # A processor without bfloat16 computes such a file in float32, and results should say so.
            self.metadata |= {"precision": "fp32"} if self.metadata.get("precision") == "bf16" else {}
        self._options = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.metadata.get("precision") == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": num_callers,
        }
        self._compiled: dict[int, Any] = {}
        self._lock, self._requests = threading.Lock(), threading.local()

    def run(self, images: Tensor) -> dict[str, Tensor]:
        outputs = self._request(len(images)).infer({0: images.numpy()}, share_inputs=True, share_outputs=False)
        return {output.any_name: torch.from_numpy(value) for output, value in outputs.items()}

    def _request(self, batch_size: int) -> Any:
        """Return the calling thread's request for so many images."""
        requests: dict[Any, Any] = self._requests.__dict__
        if batch_size not in requests:
            with self._lock:
                if batch_size not in self._compiled:
                    model = self._model.clone()
                    shape = model.inputs[0].get_partial_shape()
                    model.reshape([batch_size, *shape.get_min_shape()[1:]])
                    self._compiled[batch_size] = self._core.compile_model(model, "CPU", self._options)
                requests[batch_size] = self._compiled[batch_size].create_infer_request()
        return requests[batch_size]
