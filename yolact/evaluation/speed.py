"""Time of the stages of inference, measured with the device synchronised at every border."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

# The paper counts the network, detection (decoding and NMS) and the masks at the size of the image, one image at a
# time, after the first images; loading and writing results are outside.
PAPER_STAGES = ("network", "detect", "masks")
PAPER_DEFINITION = (
    "network + detection + masks at full image size, one image at a time, without loading and writing results "
    "(the definition of the YOLACT paper)"
)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class SpeedEvaluator:
    """Collects the milliseconds per image of each stage of each batch.

        speed = SpeedEvaluator(device)
        for images in loader:
            with speed.stage("network"):
                ...
            speed.end_batch(len(images))

    The first batches are slow (allocation, choice of kernels) and do not count: `warmup` of them, or half where there
    are fewer than twice as many.
    """

    def __init__(self, device: torch.device, warmup: int = 5) -> None:
        self.device, self.warmup = device, warmup
        self._current: defaultdict[str, float] = defaultdict(float)
        self._batches: list[dict[str, float]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of this block to stage `name` of the current batch; a stage may have several blocks."""
        synchronize(self.device)
        start = time.perf_counter()
        yield
        synchronize(self.device)
        self._current[name] += (time.perf_counter() - start) * 1000

    def end_batch(self, num_images: int) -> None:
        """Close the current batch of `num_images` images, to which its times are divided."""
        self._batches.append({name: value / num_images for name, value in self._current.items()})
        self._current.clear()

    def merge(self, others: Sequence["SpeedEvaluator"]) -> None:
        """Put the stages of evaluators that timed the same batches before those of this one."""
        for other in others:
            self._batches = [{**first, **own} for first, own in zip(other._batches, self._batches, strict=True)]

    def milliseconds(self) -> dict[str, float]:
        """Return each stage's median milliseconds per image, in the order in which the stages first ran."""
        counted = self._batches[min(self.warmup, len(self._batches) // 2) :]
        names = dict.fromkeys(name for batch in counted for name in batch)
        return {name: statistics.median(batch.get(name, 0.0) for batch in counted) for name in names}

    def compute(self) -> dict[str, Any]:
        """Return "fps" over `PAPER_STAGES`, None where none of them ran, and "milliseconds" of each stage."""
        milliseconds = self.milliseconds()
        total = sum(milliseconds.get(name, 0.0) for name in PAPER_STAGES)
        return {"fps": 1000 / total if total > 0 else None, "milliseconds": milliseconds}


def conditions(metrics: Mapping[str, Any]) -> str:
    """Say what the times in `metrics`, as an evaluation writes them, were measured on.

    One of several ranks measures them, on its share of the images while the others work on theirs.

    Raises:
        KeyError: the metrics do not say; a mapping may have values of its own for what is missing.
    """
    said = "{device}, {dtype}, batch {batch_size}".format_map(metrics)
    count = metrics.get("processes", 1)  # older files have none
    return said if count == 1 else f"{said}, one of {count} processes"
