"""Export a model, and see what the file finds before it gets its name: as PyTorch does, or in int8 as many objects."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from yolact.data.dataset import CocoDataset
from yolact.data.headers import image_files
from yolact.data.images import read_image
from yolact.data.samples import PLAIN, Colours
from yolact.errors import UserError
from yolact.evaluation.run import evaluate
from yolact.loaded import LoadedModel
from yolact.output import finished_path
from yolact.runtimes.exported import ExportedRuntime
from yolact.runtimes.pytorch import PyTorchRuntime
from yolact.structures import Runtime
from yolact.tools.export.agreement import Comparison, compare
from yolact.tools.export.files import make_export, write_file
from yolact.tools.export.graph import Export
from yolact.tools.export.quantise import (
    AIM,
    FLOAT_PARTS,
    LARGEST_LOSS,
    Attempt,
    calibration_batches,
    calibration_images,
    quantiser,
)
from yolact.tools.shapes import draw_shapes

MAX_OF_A_FOLDER = 10  # every image goes through the network twice


def export_model(
    loaded: LoadedModel, path: Path, form: str, images: Sequence[np.ndarray], precision: str = "fp32"
) -> tuple[Export, Comparison]:
    """Make a file as other programs run it, run it on images, compare with PyTorch, and write it if it agrees.

    Args:
        loaded: the model, which stays as it is; float32.
        path: in an existing folder. An older file stays there until the new one agrees.
        form: "onnx", "openvino", "tensorrt" or "torch" with detections and masks; with "-raw" behind it, such as
            "onnx-raw", the outputs of the network.
        images: `Pixels` [H, W, C], with something to find in at least one of them.
        precision: "fp32", "bf16" or "fp16"; for int8 see `export_int8`.

    Raises:
        UserError: the file does not agree with PyTorch, nothing was found to compare, the model or its settings cannot
            be exported, or the file not be written.
    """
    export = make_export(loaded, form, precision)
    with finished_path(path) as temporary:
        write_file(export, form, temporary)
        comparison = compare(ExportedRuntime(temporary).session.run, export, loaded, images)
        if reason := comparison.disagreement():
            raise UserError(
                f"'{path}' was not written, because it does not agree with PyTorch: {reason}; try another version of "
                "PyTorch or of the program that ran it."
            )
        if not comparison.detections:
            raise UserError(
                f"'{path}' was not written, because nothing could be compared: the model finds no object in "
                f"{len(images)} images with a score above {loaded.config.eval.score_threshold:g}; give images with "
                "objects (--images FILE ...), or lower the threshold (--set eval.score_threshold=0)."
            )
    return export, comparison


def export_int8(
    loaded: LoadedModel, path: Path, form: str, train_data: CocoDataset, val_data: CocoDataset,
    tell: Callable[[str], None] = print,
) -> tuple[Export, Attempt]:  # fmt: skip
    """Make an int8 file, measure it beside the float model, and write it if it is nearly as good.

    Where all of the network in int8 loses more than half an AP, more and more of its parts stay float.

    Args:
        loaded, path, form: as for `export_model`, but no "torch".
        train_data: images of it set the ranges.
        val_data: what AP is measured on, with eval.max_images.
        tell: gets a line for each attempt.

    Raises:
        UserError: the best attempt loses more than one AP, or the float model has none; nothing is written.
    """
    export = make_export(loaded, form, "int8")
    images = calibration_batches(calibration_images(train_data), loaded.model.resize)

    def mask_ap(runtime: Runtime) -> float:
        metrics = evaluate(runtime, val_data, loaded.config.eval).metrics
        return metrics["segm"]["AP"] or 0.0

    expected = mask_ap(PyTorchRuntime(loaded.model))
    tell(f"PyTorch, fp32: mask AP {expected:.4f} on {len(val_data)} images")
    if not expected:
        raise UserError(
            f"'{path}' was not written, because the float model has no mask AP on '{val_data.annotation_file}' that an "
            "int8 file could be measured against: give images with objects that it finds (--set "
            "data.val_annotations=... data.val_images=...)."
        )
    attempts: dict[Path, Attempt] = {}
    with TemporaryDirectory() as folder:
        for number, float_parts in enumerate(FLOAT_PARTS):
            file = Path(folder) / f"{number}_{path.name}"
            with finished_path(file) as temporary:
                write_file(export, form, temporary, quantiser(images, float_parts))
            found = mask_ap(ExportedRuntime(file))
            attempts[file] = Attempt(float_parts, found, expected - found)
            tell(f"int8 ({', '.join(float_parts) or 'nothing'} in float): mask AP {found:.4f}")
            if attempts[file].loss <= AIM:
                break
        file, best = min(attempts.items(), key=lambda item: item[1].loss)
        if best.loss > LARGEST_LOSS:
            raise UserError(
                f"'{path}' was not written, because it loses {100 * best.loss:.1f} AP against the float model, more "
                f"than {100 * LARGEST_LOSS:g}: export in fp16 or fp32, or give more training images to calibrate on."
            )
        with finished_path(path) as temporary:
            shutil.move(file, temporary)
    return export, best


def read_images(sources: Sequence[Path], colours: Colours = PLAIN) -> list[np.ndarray]:
    """Read files, and of each folder its first ten images by name, as `Pixels`.

    Raises:
        UserError: there is no such file or folder, no image in the folder, or a file is not an image.
    """
    files: list[Path] = []
    for source in sources:
        inside, _ = image_files(source.glob("*"))
        if source.is_dir() and not inside:
            raise UserError(f"The folder '{source}' given with --images holds no images; name another one.")
        files += inside[:MAX_OF_A_FOLDER] or [source]
    return [read_image(file, colours=colours) for file in files]


def generated_images(size: int, channels: int = 3) -> list[np.ndarray]:
    """Make six images, their sides about `size` pixels, always the same, `Pixels` [H, W, C]: noise and drawn shapes.

    Of more than three channels the first ones come again. Noise comes in blocks: a network finds far more in them than
    in noise of single pixels, which looks gray to it.
    """
    rng, images = np.random.default_rng(0), []
    for _ in range(3):
        noise = rng.integers(0, 256, (12, 12, 3)).repeat(5, 0).repeat(5, 1) + rng.integers(-60, 61, (60, 60, 3))
        images.append(cv2.resize(noise.clip(0, 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST))
        drawing, _ = draw_shapes(rng, max(size, 64))
        images.append(drawing if drawing.ndim == 3 else cv2.cvtColor(drawing, cv2.COLOR_GRAY2BGR))
    return [image[..., np.arange(channels) % 3] for image in images]
