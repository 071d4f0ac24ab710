"""TensorRT's engines, for the kind of NVIDIA GPU and the version of TensorRT that they were built with."""

import json
import threading
from pathlib import Path
from typing import Any

import tensorrt
import torch
from torch import Tensor

from yolact.device import pick_device

LENGTH_BYTES = 4  # of the number of bytes of metadata, at the start of the file; JSON follows, then the engine
DTYPES = {
    tensorrt.DataType.FLOAT: torch.float32,
    tensorrt.DataType.HALF: torch.float16,
    tensorrt.DataType.BF16: torch.bfloat16,
    tensorrt.DataType.INT32: torch.int32,
    tensorrt.DataType.INT64: torch.int64,
    tensorrt.DataType.UINT8: torch.uint8,
    tensorrt.DataType.BOOL: torch.bool,
}


class TensorRtSession:
    """A `Session` of TensorRT. Calls of several threads take turns, as its context knows one set of addresses."""

    def __init__(self, path: Path, device: str | torch.device | None, num_callers: int) -> None:
        self.device = pick_device(device or "cuda")
        content = path.read_bytes()
        length = int.from_bytes(content[:LENGTH_BYTES], "little")
        start = LENGTH_BYTES + length
        is_ours = content[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{" and start < len(content)
        self.metadata: dict[str, Any] = json.loads(content[LENGTH_BYTES:start]) if is_ours else {}
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        self._engine = runtime.deserialize_cuda_engine(content[start:] if is_ours else content)
        if self._engine is None:
            raise ValueError("built by another version of TensorRT or for another GPU")
        self._context, self._lock = self._engine.create_execution_context(), threading.Lock()
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        outputs = tensorrt.TensorIOMode.OUTPUT
        self._outputs = [name for name in names if self._engine.get_tensor_mode(name) == outputs]
        (self._input,) = (name for name in names if name not in self._outputs)

    def run(self, images: Tensor) -> dict[str, Tensor]:
        with self._lock:
            return self._run(images)

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        context = self._context
        context.set_input_shape(self._input, tuple(images.shape))
        context.set_tensor_address(self._input, images.data_ptr())
        found = {}
        for name in self._outputs:
            dtype = DTYPES[self._engine.get_tensor_dtype(name)]
            found[name] = torch.empty(tuple(context.get_tensor_shape(name)), dtype=dtype, device=self.device)
            context.set_tensor_address(name, found[name].data_ptr())
        if not context.execute_async_v3(torch.cuda.current_stream(self.device).cuda_stream):
            raise RuntimeError("TensorRT could not run the engine")
        return found
