"""ONNX files, by ONNX Runtime: on CPUs, NVIDIA GPUs and Apple's CoreML, as the installed package has providers."""

import json
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from yolact.errors import UserError

PROVIDERS = {"cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider", "cpu": "CPUExecutionProvider"}
QUIET = 3  # errors only


class OnnxSession:
    """A `Session` of ONNX Runtime. Inputs and outputs are on the CPU, wherever it computes."""

    def __init__(self, path: Path, device: str | torch.device | None, num_callers: int) -> None:
        available = onnxruntime.get_available_providers()
        wanted = "cuda" if device is None and PROVIDERS["cuda"] in available else str(device or "cpu").partition(":")[0]
        if PROVIDERS.get(wanted) not in available:
            raise UserError(
                f"Device '{device}' was asked for, but ONNX Runtime has only {', '.join(available)} here; use cpu, or "
                "install the package for that device, such as onnxruntime-gpu."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = max(torch.get_num_threads() // num_callers, 1)
        options.log_severity_level = QUIET
        # Threads that wait for the next image by spinning take the cores from what follows the network.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = list(dict.fromkeys([PROVIDERS[wanted], PROVIDERS["cpu"]]))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        self.device = torch.device("cpu")
        self._input = self._session.get_inputs()[0].name
        self._names = [output.name for output in self._session.get_outputs()]
        texts = self._session.get_modelmeta().custom_metadata_map
        self.metadata = {key: json.loads(text) for key, text in texts.items()} if "yolact_export" in texts else {}

    def run(self, images: Tensor) -> dict[str, Tensor]:
        outputs = self._session.run(self._names, {self._input: images.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(self._names, outputs, strict=True)}
