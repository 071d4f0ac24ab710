"""The content of exported files: made through torch.export, and run by ONNX Runtime or by torch.export's own reader."""

import io
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch.export import Dim, ExportedProgram
from torch.onnx import OnnxExporterError

from yolact.errors import UserError
from yolact.tools.export.agreement import Run
from yolact.tools.export.graph import INPUT, MEANINGS, Export

OPSET = 20  # DeformConv came with 19; ONNX Runtime knows 20 since its version 1.17
METADATA_FILE = "metadata.json"


def require_packages(container: str) -> None:
    """See, before any work is done, that what the container needs is installed; a UserError names what is missing."""
    for name in ("onnx", "onnxscript", "onnxruntime") if container == "onnx" else ():
        try:
            import_module(name)
        except ImportError as error:
            raise UserError(
                f"Exporting to ONNX needs the package {name}, which is not installed; run `pip install onnx onnxscript "
                "onnxruntime`, or use --format torch."
            ) from error


def make_file(export: Export, container: str) -> bytes:
    """Return a file for any number of images; a UserError says that the model has an operation that has no form there.

    The container is "onnx" or "torch".
    """
    images = export.image.repeat(2, 1, 1, 1)  # torch.export takes a batch of one for a fixed number
    program = torch.export.export(export, (images,), dynamic_shapes=({0: Dim("batch")},))
    if container == "onnx":
        return _onnx_content(program, export)
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA_FILE: json.dumps(export.metadata)})
    return content.getvalue()


def open_runner(content: bytes, container: str) -> Run:
    """Load what `make_file` returned; the result maps uint8 images to the outputs by their names."""
    if container == "torch":
        module = torch.export.load(io.BytesIO(content)).module()

        def run(images: np.ndarray) -> dict[str, np.ndarray]:
            with torch.no_grad():
                return {name: value.numpy() for name, value in module(torch.from_numpy(images)).items()}

        return run
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {INPUT: images}), strict=True))


def _onnx_content(program: ExportedProgram, export: Export) -> bytes:
    try:
        written = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=list(export.outputs),
            dynamic_shapes=({0: "batch"},),
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort()},
            verbose=False,
        )
    except OnnxExporterError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"torch.onnx cannot export this model ({reason}); try --format torch.") from error
    assert written is not None
    graph = written.model.graph
    for value in (*graph.inputs, *graph.outputs):
        value.doc_string = MEANINGS[str(value.name)]
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in export.metadata.items()}
    written.model.metadata_props.update(texts)
    content: bytes = written.model_proto.SerializeToString()
    return content


def _stable_sort() -> Callable[..., Any]:
    """Return a descending stable sort in ONNX's terms, which torch.onnx lacks: TopK keeps the order of equal values."""
    operations = getattr(import_module("onnxscript"), f"opset{OPSET}")

    def stable_sort(values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        assert dim == -1
        assert descending
        length = operations.Gather(operations.Shape(values), operations.Constant(value_ints=[-1]))
        return operations.TopK(values, length, axis=-1, largest=1, sorted=1)

    return stable_sort
