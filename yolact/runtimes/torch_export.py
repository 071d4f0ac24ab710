"""Programs of torch.export, run by PyTorch without the code of the model."""

import json
from pathlib import Path

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass

from yolact.device import pick_device

METADATA_FILE = "metadata.json"


class TorchExportSession:
    """A `Session` of PyTorch."""

    def __init__(self, path: Path, device: str | torch.device | None, num_callers: int) -> None:
        self.device = pick_device(device)
        texts = {METADATA_FILE: ""}
        program = torch.export.load(path, extra_files=texts)
        self.metadata = json.loads(texts[METADATA_FILE] or "{}")
        if self.device.type != "cpu":
            program = move_to_device_pass(program, self.device)
        self._module = program.module()

    def run(self, images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            outputs: dict[str, Tensor] = self._module(images)
        return outputs
