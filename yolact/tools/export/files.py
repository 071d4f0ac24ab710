"""Exported files: made through torch.export, in the form that each runtime reads."""

import ast
import errno
import io
import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.onnx import OnnxExporterError

from yolact.device import DTYPES
from yolact.errors import UserError
from yolact.loaded import LoadedModel
from yolact.runtimes.exported import INPUT, require_packages
from yolact.tools.export.graph import MEANINGS, Export

OPSET = 20  # DeformConv came with 19; ONNX Runtime knows 20 since its version 1.17
LARGEST_FILTER = 2**24  # numbers
MAX_BATCH = 32  # images at once that an engine of TensorRT is built for
# What each form can hold. CPUs have no convolution in fp16 worth the name, and ONNX Runtime none in bf16.
PRECISIONS = {
    "onnx": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "tensorrt": ("fp32", "bf16", "fp16", "int8"),
    "torch": ("fp32", "bf16"),
}
# What must be installed beside onnx and onnxscript, which write the file that all but torch.export begin with.
PACKAGES = {"onnx": ("onnxruntime",), "openvino": ("openvino",), "tensorrt": ("tensorrt",)}

Change = Callable[[Any, dict[str, str]], Any]  # of a model of ONNX or OpenVINO; see `write_file`


def require(form: str, precision: str) -> None:
    """See, before any work is done, that a form holds a precision, and that what it takes is installed.

    Raises:
        UserError: it does not, or a package is missing.
    """
    form = form.removesuffix("-raw")
    if precision not in PRECISIONS[form]:
        known = ", ".join(PRECISIONS[form])
        raise UserError(f"--format {form} has no {precision}, expected one of {known}; choose another --precision.")
    if form == "torch":
        return
    names = ("onnx", "onnxscript", *PACKAGES[form])
    require_packages(*names, install=" ".join(names), purpose=f"--format {form}")
    if precision == "int8":
        require_packages("nncf", install="nncf", purpose="--precision int8")
    if form == "tensorrt" and not torch.cuda.is_available():
        raise UserError("--format tensorrt builds an engine on the GPU that it is for, and none is found here.")


def make_export(loaded: LoadedModel, form: str, precision: str) -> Export:
    """Return what a file computes, of a form that holds the precision: see `require`.

    OpenVINO takes float32, and computes or stores in less by itself.
    """
    require(form, precision)
    lower = precision in DTYPES and not form.startswith("openvino")
    dtype = DTYPES[precision] if lower else torch.float32  # type: ignore[index]
    return Export(loaded, form.endswith("-raw"), precision, dtype)


def write_file(export: Export, form: str, path: Path, quantise: Change | None = None) -> None:
    """Write what `export` computes, for any number of images.

    Args:
        form: that `export` was made for.
        path: with its ending; a folder for OpenVINO.
        quantise: turns the model of ONNX or OpenVINO into another; it gets also the part of the network that each
            node of ONNX is of, by the node's name.

    Raises:
        UserError: the model has an operation that has no form there.
        OSError: the disk is full, or the like.
    """
    form = form.removesuffix("-raw")
    images = export.image.repeat(2, 1, 1, 1)  # torch.export takes a batch of one for a fixed number
    program = torch.export.export(export, (images,), dynamic_shapes=({0: Dim("batch")},))
    if form == "torch":
        from yolact.runtimes.torch_export import METADATA_FILE

        content = io.BytesIO()  # as PyTorch's own writer ends the process where the disk is full
        torch.export.save(program, content, extra_files={METADATA_FILE: json.dumps(export.metadata)})
        path.write_bytes(content.getbuffer())
        return
    model, parts = _onnx_model(program, export)
    if form == "openvino":
        _write_openvino(model, parts, export, path, quantise)
        return
    model = quantise(model, parts) if quantise else model
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in export.metadata.items()}
    import_module("onnx.helper").set_model_props(model, texts)
    serialised: bytes = model.SerializeToString()
    path.write_bytes(serialised if form == "onnx" else _engine(serialised, export))


def _onnx_model(program: ExportedProgram, export: Export) -> tuple[Any, dict[str, str]]:
    """Return an onnx.ModelProto, and the part of the network, such as "model.head", that each of its nodes is of."""
    try:
        written = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=list(export.outputs),
            dynamic_shapes=({0: "batch"},), verbose=False,
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort()},
        )  # fmt: skip
    except OnnxExporterError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"torch.onnx cannot export this model ({reason}); try --format torch.") from error
    assert written is not None
    optimizer = import_module("onnxscript.optimizer")
    # Filters that are made of weights become constants, without which nncf takes them for no filters.
    optimizer.fold_constants(written.model, input_size_limit=LARGEST_FILTER, output_size_limit=LARGEST_FILTER)
    optimizer.remove_unused_nodes(written.model)
    graph = written.model.graph
    for value in (*graph.inputs, *graph.outputs):
        value.doc_string = MEANINGS[str(value.name)]
    model, parts = written.model_proto, {}
    for node in model.graph.node:
        about = {entry.key: entry.value for entry in node.metadata_props}
        scopes = ast.literal_eval(about.get("pkg.torch.onnx.name_scopes", "[]"))
        parts[node.name] = next((scope for scope in reversed(scopes) if scope.startswith("model")), "")
        del node.metadata_props[:]  # they tell the folders of this machine
    return model, parts


def _stable_sort() -> Callable[..., Any]:
    """Return a descending stable sort in ONNX's terms, which torch.onnx lacks: TopK keeps the order of equal values."""
    operations = getattr(import_module("onnxscript"), f"opset{OPSET}")

    def stable_sort(values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
        assert dim == -1
        assert descending
        length = operations.Gather(operations.Shape(values), operations.Constant(value_ints=[-1]))
        return operations.TopK(values, length, axis=-1, largest=1, sorted=1)

    return stable_sort


def _write_openvino(
    onnx_model: Any, parts: dict[str, str], export: Export, path: Path, quantise: Change | None
) -> None:
    import openvino

    from yolact.runtimes.openvino import METADATA, MODEL

    try:
        model = openvino.Core().read_model(io.BytesIO(onnx_model.SerializeToString()))
    except RuntimeError as error:
        missing = re.search("No conversion rule found for operations: (.+)", str(error))
        reason = f"it has no {missing[1]}" if missing else str(error).strip().splitlines()[0]
        raise UserError(f"OpenVINO cannot take this model ({reason}); use --format onnx.") from error
    model = quantise(model, parts) if quantise else model
    model.set_rt_info(json.dumps(export.metadata, ensure_ascii=False), [METADATA])
    path.mkdir()
    try:
        openvino.save_model(model, path / MODEL, compress_to_fp16=export.metadata["precision"] == "fp16")
    except RuntimeError as error:  # its own for a full disk
        raise OSError(errno.EIO, f"OpenVINO says: {str(error).strip().splitlines()[-1]}") from error


def _engine(content: bytes, export: Export) -> bytes:
    """Build an engine of TensorRT, in the types that the ONNX model names, behind its metadata."""
    import tensorrt

    from yolact.runtimes.tensorrt import LENGTH_BYTES

    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(content):
        reason = parser.get_error(0).desc()
        raise UserError(f"TensorRT cannot take this model ({reason}); use --format tensorrt-raw, or onnx.")
    settings, profile = builder.create_builder_config(), builder.create_optimization_profile()
    size = export.image.shape[1:]
    profile.set_shape(INPUT, (1, *size), (1, *size), (MAX_BATCH, *size))
    settings.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, settings)
    if engine is None:
        raise UserError("TensorRT cannot build this model, as it says above; use --format tensorrt-raw, or onnx.")
    about = json.dumps(export.metadata).encode()
    return len(about).to_bytes(LENGTH_BYTES, "little") + about + bytes(engine)
