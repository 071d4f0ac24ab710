"""Checkpoints exported for a runtime once, and kept for the next time."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

from yolact.errors import UserError
from yolact.loaded import LoadedFile, LoadedModel, load_file
from yolact.output import output_folder
from yolact.runtimes.exported import KINDS


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

    if precision == "auto":
        raise UserError("--runtime takes --precision fp32, bf16 or fp16, got auto; name one of them.")
    is_raw = loaded.model.mask_iou is None
    parts = [__version__, form, precision, repr(loaded.config.model), "" if is_raw else repr(loaded.config.eval)]
    digest = hashlib.sha256(weights.read_bytes() + "\n".join(parts).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolact"
    path = cache / f"{weights.stem}_{digest}{KINDS[form].ending}"
    if not path.exists():
        print(f"exporting {weights} for {KINDS[form].name} once, to {path}; this takes a minute or so")
        from yolact.tools.export import export_model, generated_images  # which takes seconds

        with output_folder(cache):
            images = generated_images(max(loaded.model.image_size), loaded.model.channels)
            export_model(loaded, path, form + ("-raw" if is_raw else ""), images, precision)
    return replace(load_file(path), config=loaded.config, score_threshold=loaded.score_threshold)
