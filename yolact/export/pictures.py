"""Pictures to compare an exported file with PyTorch on: a user's, or generated ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolact.data.images import SUFFIXES, read_image
from yolact.errors import UserError
from yolact.tools.shapes import draw_shapes

MAX_OF_A_FOLDER = 10  # every picture goes through the network twice
GENERATED = 6  # half of them drawings of shapes, half noise


def read_pictures(sources: Sequence[Path]) -> list[np.ndarray]:
    """Read files, and of each folder its first ten pictures by name, as uint8 [H, W, 3] BGR.

    Raises:
        UserError: there is no such file or folder, no picture in the folder, or a file is not a picture.
    """
    files: list[Path] = []
    for source in sources:
        inside = [source]
        if source.is_dir():
            inside = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)[:MAX_OF_A_FOLDER]
        if not inside:
            raise UserError(f"The folder '{source}' given with --pictures holds no pictures; name another one.")
        files += inside
    return [read_image(path) for path in files]


def generated_pictures(size: int) -> list[np.ndarray]:
    """Draw pictures of about `size` pixels, always the same, uint8 [H, W, 3] BGR.

    Noise comes in blocks: a network finds far more in them than in noise of single pixels, which looks gray to it.
    """
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(GENERATED):
        if number % 2:
            picture, _ = draw_shapes(rng, max(size, 64))
            pictures.append(picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2))
        else:
            pictures.append(_noise(rng, size))
    return pictures


def _noise(rng: np.random.Generator, size: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (12, 12, 3))
    fine = rng.integers(-60, 61, (60, 60, 3))
    picture = np.kron(coarse, np.ones((5, 5, 1))) + fine
    block = -(-size // 60)
    return np.kron(picture, np.ones((block, block, 1))).clip(0, 255).astype(np.uint8)
