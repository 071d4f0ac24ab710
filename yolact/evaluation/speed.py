"""Time of the stages of inference, measured with the device synchronised at every border."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# The paper counts the network, detection (decoding and NMS) and the masks at the size of the image, one image at a
# time, after the first images; loading and writing results are outside.
PAPER_STAGES = ("network", "detect", "masks")
PAPER_DEFINITION = (
    "network + detection + masks at full image size, {} at a time, without loading and writing results "
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
    def stage(self, name: str, *others: "SpeedEvaluator") -> Iterator[None]:
        """Add the time of this block to stage `name` of the current batch, and to that of others that share it.

        A stage may have several blocks.
        """
        synchronize(self.device)
        start = time.perf_counter()
        yield
        synchronize(self.device)
        milliseconds = (time.perf_counter() - start) * 1000
        for evaluator in (self, *others):
            evaluator._current[name] += milliseconds

    def end_batch(self, num_images: int) -> None:
        """Close the current batch of `num_images` images, to which its times are divided."""
        self._batches.append({name: value / num_images for name, value in self._current.items()})
        self._current.clear()

    def compute(self) -> dict[str, Any]:
        """Return "milliseconds", each stage's median per image in the order in which they first ran, and "fps".

        That is over `PAPER_STAGES`, None where none of them ran.
        """
        counted = self._batches[min(self.warmup, len(self._batches) // 2) :]
        names = dict.fromkeys(name for batch in counted for name in batch)
        milliseconds = {name: statistics.median(batch.get(name, 0.0) for batch in counted) for name in names}
        total = sum(milliseconds.get(name, 0.0) for name in PAPER_STAGES)
        return {"fps": 1000 / total if total > 0 else None, "milliseconds": milliseconds}
