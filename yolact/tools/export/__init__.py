"""Export to ONNX and torch.export, compared with PyTorch before a file is written."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from yolact.data.images import image_files, read_image
from yolact.errors import UserError
from yolact.output import write_bytes
from yolact.predictor import LoadedModel
from yolact.tools.export.agreement import Comparison, compare
from yolact.tools.export.files import make_file, open_runner, require_packages
from yolact.tools.export.graph import Export
from yolact.tools.shapes import draw_shapes

MAX_OF_A_FOLDER = 10  # every image goes through the network twice


def export_model(loaded: LoadedModel, path: Path, form: str, images: Sequence[np.ndarray]) -> tuple[Export, Comparison]:
    """Make a file as other programs run it, run it on images, compare with PyTorch, and write it if it agrees.

    Args:
        loaded: the model, which stays as it is; float32.
        path: in an existing folder. An older file stays there until the new one agrees.
        form: "onnx" or "torch" with detections and masks, "onnx-raw" or "torch-raw" with the outputs of the network.
        images: uint8 [H, W, 3] BGR, with something to find in at least one of them.

    Raises:
        UserError: the file does not agree with PyTorch, nothing was found to compare, the model or its settings cannot
            be exported, or the file not be written.
    """
    container, _, raw = form.partition("-")
    require_packages(container)
    export = Export(loaded, bool(raw))
    content = make_file(export, container)
    comparison = compare(open_runner(content, container), export, loaded, images)
    if reason := comparison.disagreement():
        raise UserError(
            f"'{path}' was not written, because it does not agree with PyTorch: {reason}; try another version of "
            "PyTorch or of the program that ran it."
        )
    if not comparison.detections:
        raise UserError(
            f"'{path}' was not written, because nothing could be compared: the model finds no object in {len(images)} "
            f"images with a score above {loaded.config.eval.score_threshold:g}; give images with objects "
            "(--images FILE ...), or lower the threshold (--set eval.score_threshold=0)."
        )
    write_bytes(content, path)
    return export, comparison


def read_images(sources: Sequence[Path]) -> list[np.ndarray]:
    """Read files, and of each folder its first ten images by name, as uint8 [H, W, 3] BGR.

    Raises:
        UserError: there is no such file or folder, no image in the folder, or a file is not an image.
    """
    files: list[Path] = []
    for source in sources:
        inside = image_files(source.glob("*"))
        if source.is_dir() and not inside:
            raise UserError(f"The folder '{source}' given with --images holds no images; name another one.")
        files += inside[:MAX_OF_A_FOLDER] or [source]
    return [read_image(file) for file in files]


def generated_images(size: int) -> list[np.ndarray]:
    """Make six images of about `size` pixels, always the same, uint8 [H, W, 3] BGR: noise and drawings of shapes.

    Noise comes in blocks: a network finds far more in them than in noise of single pixels, which looks gray to it.
    """
    rng, images = np.random.default_rng(0), []
    for _ in range(3):
        noise = rng.integers(0, 256, (12, 12, 3)).repeat(5, 0).repeat(5, 1) + rng.integers(-60, 61, (60, 60, 3))
        images.append(cv2.resize(noise.clip(0, 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST))
        drawing, _ = draw_shapes(rng, max(size, 64))
        images.append(drawing if drawing.ndim == 3 else cv2.cvtColor(drawing, cv2.COLOR_GRAY2BGR))
    return images
