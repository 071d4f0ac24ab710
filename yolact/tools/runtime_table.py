"""One model in every runtime and precision that is installed: accuracy, time, memory and size side by side."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from yolact.data.dataset import CocoDataset
from yolact.device import Precision, resolve_precision
from yolact.errors import UserError
from yolact.evaluation.run import evaluate
from yolact.loaded import LoadedModel, load_file
from yolact.predictor import Predictor
from yolact.runtimes.exported import KINDS
from yolact.tools.export import export_int8
from yolact.tools.export.files import make_export, require, write_file
from yolact.tools.export.quantise import calibration_batches, quantiser
from yolact.tools.timing import Row, Stage, in_a_process, peak_memory, take_turns

if TYPE_CHECKING:
    from yolact.tools.benchmark import Benchmark

# Column, key of the row, and digits behind the point.
COLUMNS = (
    ("mask AP", "mask_ap", 3), ("network", "network_ms", 1), ("detect", "detection_ms", 1), ("masks", "masks_ms", 1),
    ("FPS", "fps", 1), ("file ms", "file_ms", 1), ("cpu ms", "file_cpu_ms", 1), ("peak MB", "peak_mb", 0),
    ("size MB", "size_mb", 1),
)  # fmt: skip
STEPS = ("network", "detection", "masks", "file")


@dataclass(frozen=True)
class Entry:
    """A model in one runtime and precision, or why it is not there."""

    label: str
    predictor: Predictor | None
    path: Path | None = None  # of its file; PyTorch has the checkpoint
    missing: str = ""


def runtime_entries(benchmark: "Benchmark") -> Iterator[Entry]:
    """Make the model's predictors: PyTorch's, on a GPU compiled too, and one for each file that can be made here.

    Files have the raw outputs, so that detection is timed by itself; with a rescoring network they are complete.
    """
    on_gpu, lower = benchmark.device.type == "cuda", resolve_precision("auto", benchmark.device)
    model = replace(benchmark.loaded, model=benchmark.model)
    for precision in benchmark.precisions:
        yield Entry(f"PyTorch, {precision}", Predictor(model, precision))
    if on_gpu:
        yield Entry(f"PyTorch, {lower}, compiled", Predictor(model, lower, compiled=True))
    wanted = {"onnx": ["fp32", "int8"], "torch": ["fp32"], "openvino": ["fp32", "int8"]}
    if on_gpu:
        wanted = {"tensorrt": ["fp16", "int8"], "torch": [lower]}
    elif lower == "bf16":
        wanted["openvino"].insert(1, "bf16")
    for form, precisions in wanted.items():
        for chosen in precisions:
            label = f"{KINDS[form].name}, {chosen}"
            try:
                require(form, chosen)
                print(f"exporting: {label}", file=sys.stderr)
                path = _made_file(benchmark, form, chosen)
                yield Entry(label, Predictor(load_file(path, str(benchmark.device))), path)
            except UserError as error:
                yield Entry(label, None, missing=str(error))


def _made_file(benchmark: "Benchmark", form: str, precision: str) -> Path:
    loaded, data = benchmark.loaded, benchmark.config.data
    path = benchmark.folder / f"{form}_{precision}{KINDS[form].ending}"
    form += "-raw" if loaded.model.mask_iou is None else ""
    if precision == "int8" and benchmark.val_data is not None and Path(data.train_annotations).is_file():
        train_data = CocoDataset(data.train_annotations, data.train_images, colours=benchmark.colours)
        export_int8(loaded, path, form, train_data, benchmark.val_data, partial(print, file=sys.stderr))
        return path
    export = make_export(loaded, form, precision)
    quantise = None
    if precision == "int8":
        quantise = quantiser(calibration_batches(benchmark.pixels, loaded.model.resize), ())
    write_file(export, form, path, quantise)
    return path


def runtime_table(benchmark: "Benchmark") -> Iterator[Row]:
    """Time all entries by turns, measure memory and accuracy, and print the table."""
    present = {entry.label: entry for entry in benchmark.entries if entry.predictor}
    stages: dict[str, Stage] = {}
    for label, entry in present.items():
        steps = _steps(benchmark, entry.predictor)  # type: ignore[arg-type]
        stages |= {f"{label}|{step}": work for step, work in zip(STEPS, steps, strict=True)}
    times = dict(take_turns(stages, benchmark.repeats, benchmark.device))
    print(f"  {'':28}" + "".join(f"{head:>9}" for head, _, _ in COLUMNS))
    for entry in benchmark.entries:
        row = {} if entry.predictor is None else _row(benchmark, entry, times)
        texts = ["-" if row.get(key) is None else f"{row[key]:,.{digits}f}" for _, key, digits in COLUMNS]
        line = "".join(f"{text:>9}" for text in texts)
        print(f"  {entry.label:28}{line if row else ' not measured: ' + entry.missing}", flush=True)
        yield entry.label, row


def _steps(benchmark: "Benchmark", predictor: Predictor) -> tuple[Stage, ...]:
    """Return the network, detection and masks of an image's inputs, and all of it from a file."""
    detector, files, runtime = benchmark.detector(), benchmark.images, predictor.runtime
    names, ids = predictor.class_names, predictor.category_ids
    sizes = [image.shape[:2] for image in benchmark.pixels]
    inputs = [image.to(runtime.device) for image in benchmark.inputs]
    last: dict[str, Any] = {}

    def network(i: int) -> None:
        last["output"] = runtime(inputs[i % len(inputs)])

    def detection(_: int) -> None:
        last["detections"] = detector.detect(last["output"])

    def masks(i: int) -> None:
        detector.instances(last["detections"], 0, sizes[i % len(sizes)], names, ids)

    return network, detection, masks, lambda i: predictor(files[i % len(files)], benchmark.config.eval.score_threshold)


def _row(benchmark: "Benchmark", entry: Entry, times: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found = {step: times[f"{entry.label}|{step}"] for step in STEPS}
    row = {f"{step}_ms": one["median_ms"] for step, one in found.items()}
    row["fps"] = 1000 / sum(row[f"{step}_ms"] for step in STEPS[:3])
    row |= {"file_cpu_ms": found["file"]["cpu_ms"], "file_p95_ms": found["file"]["p95_ms"]}
    row["network_cpu_ms"] = found["network"]["cpu_ms"]
    if entry.path:
        files = [entry.path] if entry.path.is_file() else list(entry.path.iterdir())
        row["size_mb"] = sum(file.stat().st_size for file in files) / 1e6
    else:
        state = benchmark.model.state_dict().values()
        row["size_mb"] = sum(value.numel() * value.element_size() for value in state) / 1e6
    own = None if entry.path else benchmark.loaded
    precision = entry.label.split(", ")[1]
    peak = in_a_process(_peak_of_a_call, own, precision, entry.path, benchmark.images[0], str(benchmark.device))
    row["peak_mb"] = None if peak is None else peak / 2**20
    if benchmark.val_data is not None:
        assert entry.predictor is not None
        metrics = evaluate(entry.predictor.runtime, benchmark.val_data, entry.predictor.settings).metrics
        row["mask_ap"] = metrics["segm"]["AP"]
    return row


def _peak_of_a_call(
    loaded: LoadedModel | None, precision: Precision, path: Path | None, image: Path, device: str
) -> int | None:
    if loaded is None:
        assert path is not None
        predictor = Predictor(load_file(path, device))
    else:
        predictor = Predictor(replace(loaded, model=loaded.model.to(device)), precision)
    for _ in range(3):
        predictor(image)
    return torch.cuda.max_memory_allocated() if device.startswith("cuda") else peak_memory()
