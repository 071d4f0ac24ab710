"""From the samples of image files, of any depth and with or without alpha, to the bytes that the network sees."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from yolact.text import percent

if TYPE_CHECKING:
    from yolact.config import Config

Pixels = NDArray[np.uint8]  # [H, W, 3] BGR, [H, W, 1] gray, or [H, W, C] in the order of the file
AT_ONCE = 4  # channels that all of OpenCV's functions take
NARROWEST = 8  # bits of the range of samples that are deeper than a byte
LIKE_RANGES = 8  # times that the ranges of images which share a white may differ: a dark image uses less of its own


class Colours(NamedTuple):
    """How samples become colours: fields of `DataConfig`, and the channels of `ModelConfig`."""

    white: float | Literal["image"] | None = None
    background: tuple[int, int, int] = (255, 255, 255)  # RGB
    channels: int = 3

    @property
    def has_colours(self) -> bool:
        """Whether the channels are colours, or gray as these are seen; else they are the bands of the files."""
        return self.channels in (1, 3)

    @property
    def shown(self) -> str:
        """The background and its setting, in words."""
        return f"data.background={list(self.background)}"

    @classmethod
    def of(cls, config: "Config") -> "Colours":
        """Return those of a configuration."""
        return cls(config.data.white, config.data.background, config.model.channels)


PLAIN = Colours()


def white_of(samples: NDArray[Any], colours: Colours) -> float:
    """Return the value that is white in an image of those samples, without alpha."""
    if samples.dtype == np.int8:
        return 127.0  # all that it can hold, as with bytes
    return colours.white if isinstance(colours.white, float) else own_white(samples)


def own_white(samples: NDArray[Any]) -> float:
    """Return the value that is white in an image by itself, of its samples without alpha.

    Of whole numbers it is the smallest 2^n - 1, n at least 8, that no sample exceeds; of fractions 1 where none exceeds
    it, else the largest.
    """
    if samples.dtype.kind != "f":
        bits = max(NARROWEST, int(samples.max()).bit_length())
        return float(2**bits - 1)
    largest = float(np.max(samples, where=np.isfinite(samples), initial=1.0))
    return max(1.0, largest)


def shared_white(whites: list[float]) -> float | Literal["image"]:
    """Return the white of a data set, of those of its images: "image" where these have different ranges."""
    return max(whites) if max(whites) <= LIKE_RANGES * min(whites) else "image"


def odd_samples(samples: NDArray[Any]) -> str:
    """Return which samples have no colour of their own and become black, or ""."""
    negative = int(np.count_nonzero(samples < 0)) if samples.dtype.kind in "if" else 0
    unknown = int(np.count_nonzero(np.isnan(samples))) if samples.dtype.kind == "f" else 0
    counts = [f"{count:,} {what}" for count, what in ((negative, "below 0"), (unknown, "not a number")) if count]
    return " and ".join(counts)


def to_bytes(samples: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Scale samples so that `white` becomes 255, rounded; what is beyond is cut off, and NaN is black."""
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype == np.uint16:
        table = (np.arange(1 << 16) * (255 / white)).round().clip(0, 255).astype(np.uint8)
        return np.asarray(table[samples])
    scaled = np.multiply(samples, 255 / white, dtype=np.float64 if samples.dtype.itemsize > 4 else np.float32)
    return np.nan_to_num(np.rint(scaled, out=scaled), copy=False, nan=0.0).clip(0, 255).astype(np.uint8)


def flatten(colours: Pixels, alpha: NDArray[np.uint8], background: tuple[int, int, int], premultiplied: bool) -> Pixels:
    """Lay colours, uint8 [H, W, 3] BGR, with an alpha [H, W] over a background (RGB)."""
    result: Pixels = np.empty_like(colours)
    clear = 255 - alpha.astype(np.uint16)
    for channel, value in enumerate(reversed(background)):
        above = colours[..., channel] * np.uint16(255) if premultiplied else colours[..., channel] * (255 - clear)
        result[..., channel] = np.minimum((above.astype(np.uint32) + clear * np.uint32(value) + 127) // 255, 255)
    return result


def to_gray(image: Pixels) -> Pixels:
    """Return the luminance, uint8 [H, W, 1], of an image in BGR; equal channels stay as they are."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)[..., None]


def by_fours(change: Callable[[Pixels], Any], image: Pixels) -> Pixels:
    """Return what a function of OpenCV makes of an image of any number of channels, four of them at a time."""
    channels = image.shape[2]
    if channels in (3, AT_ONCE):
        return np.asarray(change(image), np.uint8)
    parts = [change(np.ascontiguousarray(image[..., at : at + AT_ONCE])) for at in range(0, channels, AT_ONCE)]
    # OpenCV leaves the axis of a single channel out.
    return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=2)


def to_pixels(
    samples: NDArray[Any], alpha: str, colours: Colours, inverted: bool = False, white: float | None = None
) -> tuple[Pixels, dict[str, str]]:
    """Turn samples of any type into bytes; bytes without alpha stay as they are.

    Args:
        samples: [H, W] gray, or [H, W, bands]: gray, gray and alpha, BGR, or BGR and alpha; or all bands of a file.
        alpha: "" where there is none, "straight" or "premultiplied".
        colours: what becomes white, what is seen where alpha is 0, and how many channels are wanted.
        inverted: 0 is white.
        white: of the whole image, of which the samples are a part; None finds it.

    Returns:
        `Pixels` of `colours.channels`, and what is remarkable: kind of finding of `yolact check` -> note.
    """
    samples, remarks = samples[..., None] if samples.ndim == 2 else samples, dict[str, str]()
    values = samples[..., : samples.shape[2] - bool(alpha)]
    if values.dtype != np.uint8:
        white = white or white_of(values, colours)
        most = np.fmax.reduce(values, axis=None)  # but for NaN
        remarks["deep-samples"] = f"{values.dtype} up to {most:.10g}, of which {white:.10g} becomes white"
        if odd := odd_samples(values):
            remarks["odd-samples"] = f"{odd}, which become black"
    pixels = to_bytes(values, white or 255)
    pixels = ~pixels if inverted else pixels
    repeats = pixels.shape[2] == 1 and (colours.channels == 3 or bool(alpha))
    pixels = np.repeat(pixels, 3, 2) if repeats else np.ascontiguousarray(pixels)
    is_gray = colours.channels == 1
    if not alpha:
        return to_gray(pixels) if is_gray and pixels.shape[2] == 3 else pixels, remarks
    opacity = to_bytes(samples[..., -1], 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max))
    if clear := np.count_nonzero(opacity < 255):
        remarks["transparent-picture"] = (
            f"{percent(clear / opacity.size)} of its pixels are transparent, over {colours.shown}"
        )
        pixels = flatten(pixels, opacity, colours.background, alpha == "premultiplied")
    return to_gray(pixels) if is_gray else pixels, remarks
