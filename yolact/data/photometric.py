"""The authors' colour changes, drawn once for an image and applied to it by lookup tables."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray


class Photometric(NamedTuple):
    """One draw of the colour changes; the defaults change nothing."""

    brightness: float = 0.0  # added, on the 0..255 scale
    contrast: float = 1.0  # factor
    contrast_first: bool = True  # before saturation and hue, or after
    saturation: float = 1.0  # factor
    hue: float = 0.0  # degrees of 360, added


def sample_photometric(rng: np.random.Generator) -> Photometric:
    """Draw the colour changes: each with probability 1/2, contrast before or after the others by a coin."""
    brightness, contrast, saturation, hue, contrast_first = rng.random(5) < 0.5
    amounts = rng.random(4)
    return Photometric(
        brightness=-32 + 64 * amounts[0] if brightness else 0.0,
        contrast=0.5 + amounts[1] if contrast else 1.0,
        contrast_first=bool(contrast_first),
        saturation=0.5 + amounts[2] if saturation else 1.0,
        hue=-18 + 36 * amounts[3] if hue else 0.0,
    )


def apply_photometric(image: NDArray[np.uint8], change: Photometric) -> NDArray[np.uint8]:
    """Change the colours of an image, uint8 [H, W, 3] BGR, by lookup tables; values are clipped to 0..255."""
    changes_colour = change.saturation != 1 or change.hue != 0
    first = change.contrast if change.contrast_first or not changes_colour else 1.0
    last = change.contrast / first
    image = _linear(image, first, change.brightness * first)
    if changes_colour:
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)  # all three channels span 0..255
        values = np.arange(256, dtype=np.float64)
        turned = np.round(values + change.hue * 256 / 360) % 256
        table = np.stack((turned, np.round(values * change.saturation).clip(0, 255), values), axis=1)
        image = np.asarray(
            cv2.cvtColor(cv2.LUT(hsv, table.astype(np.uint8)[:, None]), cv2.COLOR_HSV2BGR_FULL), np.uint8
        )
    return _linear(image, last, 0.0)


def _linear(image: NDArray[np.uint8], factor: float, offset: float) -> NDArray[np.uint8]:
    if factor == 1 and offset == 0:
        return image
    table = np.round(np.arange(256) * factor + offset).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table), np.uint8)
