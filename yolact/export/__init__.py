"""Export to ONNX and torch.export, verified: what scripts/export.py does."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from yolact.errors import UserError
from yolact.export.checking import Comparison, compare
from yolact.export.files import SUFFIXES, Container, open_runner, require_packages, write
from yolact.export.graphs import Contents, Export, make_export
from yolact.predictor import LoadedModel

__all__ = ["FORMATS", "Exported", "Format", "export_model"]


class Format(NamedTuple):
    """What to put into which kind of file."""

    contents: Contents
    container: Container

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.container]


FORMATS = {
    "onnx": Format("complete", "onnx"),
    "onnx-raw": Format("raw", "onnx"),
    "torch": Format("complete", "torch"),
    "torch-raw": Format("raw", "torch"),
}


class Exported(NamedTuple):
    """A file that was written and compared."""

    export: Export
    comparison: Comparison


def export_model(loaded: LoadedModel, path: Path, form: Format, pictures: Sequence[np.ndarray]) -> Exported:
    """Write a model to `path` as other programs run it, run that file on pictures, and compare with PyTorch.

    Args:
        loaded: the model, which stays as it is; float32.
        path: in an existing folder, with the suffix of the format. The file stands there only if it agrees; an older
            one stays until then.
        pictures: uint8 [H, W, 3] BGR, with something to find in at least one of them.

    Raises:
        UserError: the file does not agree with PyTorch, nothing was found to compare, the model or its settings cannot
            be exported, or the file not be written.
    """
    require_packages(form.container)
    export = make_export(loaded, form.contents)
    temporary = path.with_name(f"{path.stem}.tmp{path.suffix}")
    try:
        write(export, temporary, form.container)
        comparison = compare(open_runner(temporary, form.container), export, loaded, pictures)
        _require_agreement(comparison, path, loaded)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(export, comparison)


def _require_agreement(comparison: Comparison, path: Path, loaded: LoadedModel) -> None:
    reason = comparison.disagreement()
    if reason:
        raise UserError(
            f"'{path}' was not kept, because it does not agree with PyTorch: {reason}; try another version of PyTorch "
            "or of the program that ran it."
        )
    if not comparison.detections:
        threshold = loaded.config.eval.score_threshold
        raise UserError(
            f"'{path}' was not kept, because nothing could be compared: the model finds no object in "
            f"{comparison.pictures} pictures with a score above {threshold:g}; give pictures with objects "
            "(--pictures FILE ...), or lower the threshold (--set eval.score_threshold=0)."
        )
