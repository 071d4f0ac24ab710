"""Time of the stages of inference, measured with the device synchronised at every border."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

# The paper counts the network, detection (decoding and NMS) and the masks at the size of the picture, one picture at a
# time, after the first pictures; loading and writing results are outside.
PAPER_STAGES = ("network", "detect", "masks")
PAPER_DEFINITION = (
    "network + detection + masks at full picture size, one picture at a time, without loading and writing results "
    "(the definition of the YOLACT paper)"
)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class StageTimer:
    """Collects the milliseconds per picture of each stage of each batch.

        timer = StageTimer(device)
        for images in loader:
            with timer.stage("network"):
                ...
            timer.end_batch(len(images))

    The first batches are slow (allocation, choice of kernels) and are left out of the figures: `warmup` of them, or
    half where there are fewer than twice as many.
    """

    def __init__(self, device: torch.device, warmup: int = 5) -> None:
        self.device = device
        self.warmup = warmup
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
        """Close the current batch of `num_images` pictures, to which its times are divided."""
        self._batches.append({name: value / num_images for name, value in self._current.items()})
        self._current.clear()

    def milliseconds(self) -> dict[str, float]:
        """Return each stage's median milliseconds per picture, in the order in which the stages first ran."""
        counted = self._batches[min(self.warmup, len(self._batches) // 2) :]
        names = dict.fromkeys(name for batch in counted for name in batch)
        return {name: statistics.median(batch.get(name, 0.0) for batch in counted) for name in names}


def frames_per_second(milliseconds: Mapping[str, float]) -> float | None:
    """Return pictures per second over `PAPER_STAGES` of the milliseconds by stage; None where none of them ran."""
    total = sum(milliseconds.get(name, 0.0) for name in PAPER_STAGES)
    return 1000 / total if total > 0 else None


def conditions(metrics: Mapping[str, Any]) -> str:
    """Say what the times in `metrics`, as an evaluation writes them, were measured on.

    One of several processes measures them, on its share of the pictures while the others work on theirs.

    Raises:
        KeyError: the metrics do not say; a mapping may have values of its own for what is missing.
    """
    said = "{device}, {dtype}, batch {batch_size}".format_map(metrics)
    count = metrics.get("processes", 1)  # older files have none
    return said if count == 1 else f"{said}, one of {count} processes"
