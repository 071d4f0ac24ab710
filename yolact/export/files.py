"""Exported files: written through torch.export, and run by ONNX Runtime or by torch.export's own reader."""

import io
import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch.export import Dim, ExportedProgram
from torch.onnx import OnnxExporterError

from yolact.errors import UserError
from yolact.export.graphs import INPUT, Export, Port

Container = Literal["onnx", "torch"]
Run = Callable[[np.ndarray], dict[str, np.ndarray]]

SUFFIXES: dict[Container, str] = {"onnx": ".onnx", "torch": ".pt2"}
OPSET = 20  # DeformConv came with 19; ONNX Runtime knows 20 since its version 1.17
METADATA_FILE = "metadata.json"


def require_packages(container: Container) -> None:
    """See that what the container needs is installed, before any work is done.

    Raises:
        UserError: a package is missing.
    """
    if container == "onnx":
        for name in ("onnx", "onnxscript", "onnxruntime"):
            _optional(name)


def write(export: Export, path: Path, container: Container) -> None:
    """Write the export to `path`, whose file is not complete until this returns.

    Raises:
        UserError: the model has an operation that cannot be exported, or the disk is full.
    """
    program = trace(export)
    write_file = _write_onnx if container == "onnx" else _write_torch
    try:
        write_file(program, export, path)
    except OSError as error:
        raise UserError(
            f"'{path}' could not be written ({error.strerror}); make room or give another --output."
        ) from error


def trace(export: Export) -> ExportedProgram:
    """Turn the graph into a program of fixed steps for any number of pictures."""
    side = export.metadata["image_size"]
    # Two pictures, because torch.export takes a batch of one for a fixed number.
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    return torch.export.export(export.graph, (example,), dynamic_shapes=({0: Dim("batch")},))


def open_runner(path: Path, container: Container) -> Run:
    """Load a file that `write` wrote, from the disk; the result maps uint8 images to the outputs by their names."""
    return _onnx_runner(path) if container == "onnx" else _torch_runner(path)


def _write_onnx(program: ExportedProgram, export: Export, path: Path) -> None:
    try:
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[port.name for port in export.inputs],
            output_names=[port.name for port in export.outputs],
            dynamic_shapes=({0: "batch"},),
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort()},
            verbose=False,
        )
    except OnnxExporterError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"torch.onnx cannot export this model ({reason}); try --format torch.") from error
    assert written is not None
    graph = written.model.graph
    for value, port in zip([*graph.inputs, *graph.outputs], [*export.inputs, *export.outputs], strict=True):
        value.doc_string = port.meaning
    written.model.metadata_props.update(export.metadata_texts())
    written.save(path, external_data=False)


def _stable_sort() -> Callable[..., Any]:
    """Return a descending stable sort in ONNX's terms, which torch.onnx lacks: TopK keeps the order of equal values."""
    operations = getattr(_optional("onnxscript"), f"opset{OPSET}")

    def stable_sort(values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        assert dim == -1
        assert descending
        length = operations.Gather(operations.Shape(values), operations.Constant(value_ints=[-1]))
        return operations.TopK(values, length, axis=-1, largest=1, sorted=1)

    return stable_sort


def _write_torch(program: ExportedProgram, export: Export, path: Path) -> None:
    # Through memory, because torch.export.save reports a full disk in its own way.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA_FILE: json.dumps(export.metadata)})
    path.write_bytes(content.getbuffer())


def _onnx_runner(path: Path) -> Run:
    onnxruntime = _optional("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {INPUT: images}), strict=True))

    return run


def _torch_runner(path: Path) -> Run:
    module = torch.export.load(path).module()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            return {name: value.numpy() for name, value in module(torch.from_numpy(images)).items()}

    return run


def ran_with(container: Container) -> str:
    """Name what `open_runner` runs files with, and its version."""
    if container == "onnx":
        return f"ONNX Runtime {_optional('onnxruntime').__version__} on the CPU"
    return f"torch.export of PyTorch {torch.__version__} on the CPU"


def port_line(port: Port) -> str:
    """Describe an input or output in one line."""
    shape = ", ".join(map(str, port.shape))
    return f"{port.name:18}{port.dtype:8} {f'[{shape}]':24} {port.meaning}"


def _optional(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"Exporting to ONNX needs the package {name}, which is not installed; run `pip install onnx onnxscript "
            "onnxruntime`, or use --format torch."
        ) from error
