"""Checkpoints exported for a runtime once, and kept for the next time."""

import hashlib
import os
from pathlib import Path

from yolact.config import dump_config
from yolact.errors import UserError
from yolact.loaded import LoadedFile, LoadedModel, load_file
from yolact.output import output_folder
from yolact.runtimes.exported import KINDS
from yolact.tools.export import export_model, generated_images


def exported_for(loaded: LoadedModel, form: str, precision: str, weights: Path) -> LoadedFile:
    """Return a model in another runtime, from a file in the user's cache that is made if it is not there yet.

    The file has the raw outputs, so that all settings stay open; with a rescoring network it is a complete one. Its
    name follows from the bytes of the checkpoint and from what else the file depends on.

    Args:
        form: "onnx" or "openvino".
        weights: the checkpoint that the model was loaded from.

    Raises:
        UserError: the runtime is missing, the model cannot be exported, or the cache cannot be written.
    """
    from yolact import __version__

    is_raw = loaded.model.mask_iou is None
    parts = [__version__, form, precision, str(is_raw), dump_config(loaded.config)]
    digest = hashlib.sha256(weights.read_bytes() + "\n".join(parts).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolact"
    path = cache / f"{weights.stem}_{digest}{KINDS[form].ending}"
    if precision == "auto":
        raise UserError("--runtime takes --precision fp32, bf16 or fp16, got auto; name one of them.")
    if not path.exists():
        print(f"exporting {weights} for {KINDS[form].name} once, to {path}; this takes a minute or so")
        with output_folder(cache):
            images = generated_images(loaded.model.image_size)
            export_model(loaded, path, form + ("-raw" if is_raw else ""), images, precision)
    return load_file(path)
