"""Choosing what becomes white in a data set's images of more than 8 bits, by a look at some of them."""

import logging
import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from yolact.data.dataset import CocoDataset
from yolact.data.decoders import alpha_of, decode_samples
from yolact.data.headers import BYTE_SUFFIXES, MAX_PIXELS, Layout
from yolact.data.samples import Colours, own_white, shared_white
from yolact.data.windows import WindowedImage, layout_of_file
from yolact.errors import UserError
from yolact.text import counted

T = TypeVar("T")
logger = logging.getLogger(__name__)

MAX_HEADERS, MAX_IMAGES = 2000, 200  # that are looked at, spread evenly
MIDDLE = 4096  # pixels of the side of what is looked at of an image that is too large to be decoded whole
MAX_THREADS = 8


def choose_white(dataset: CocoDataset) -> float | Literal["image"] | None:
    """Return `data.white` for a data set: None where no image of more than 8 bits is met.

    Where these have different ranges, as 12 bits and 16, it is "image"; else the white of the widest.
    """
    named = [dataset.image_folder / image.file_name for image in dataset.images]
    paths = _spread([path for path in named if path.suffix.lower() not in BYTE_SUFFIXES], MAX_HEADERS)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:
        layouts = pool.map(layout_of_file, paths)
        deep = [(path, one) for path, one in zip(paths, layouts, strict=True) if one and one.is_deep]
        looked_at = _spread(deep, MAX_IMAGES)
        whites = [white for white in pool.map(partial(_white_of, dataset.colours), looked_at) if white]
    if not whites:
        return None
    white = shared_white(whites)
    least, most = (f"{value:.10g}" for value in (min(whites), max(whites)))
    found = f"{counted(len(whites), 'image')} of more than 8 bits, whose white would be {least} to {most}"
    logger.warning("data.white=%s, by a look at %s", white if white == "image" else f"{white:.10g}", found)
    return white


def _spread(items: list[T], most: int) -> list[T]:
    step = max(1, -(-len(items) // most))
    return items[::step]


def _white_of(colours: Colours, image: tuple[Path, Layout]) -> float | None:
    """Return the white of an image by itself; None of bytes, and of what cannot be read, as a training will say."""
    path, layout = image
    try:
        if math.prod(layout.room) > MAX_PIXELS:
            (height, width), side = layout.image_size, MIDDLE
            top, left = max(0, height - side) // 2, max(0, width - side) // 2
            view = left, top, min(width, left + side), min(height, top + side)
            values = WindowedImage(path, layout, colours=colours).samples(view)
        else:
            samples = decode_samples(path.read_bytes(), layout, str(path), colours.channels)
            if samples is None:
                return None
            values = samples.values
    except (UserError, OSError):
        return None
    has_alpha = values.ndim == 3 and bool(alpha_of(layout, colours.channels))
    return None if values.dtype.itemsize == 1 else own_white(values[..., :-1] if has_alpha else values)
