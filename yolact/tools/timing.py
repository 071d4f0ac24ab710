"""Timing by turns, and memory of a process of its own."""

import multiprocessing
import re
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch

from yolact.evaluation.speed import synchronize

T = TypeVar("T")
Stage = Callable[[int], object]  # does its work for the input of this number
Row = tuple[str, dict[str, Any]]  # a name and what the JSON file holds; nothing where this machine cannot measure it
WARMUP = 3  # untimed turns


def timed(values: Sequence[float], num_images: int = 1, processor: Sequence[float] = ()) -> dict[str, Any]:
    """Return what the JSON file holds of calls, each for so many images, that took `values` milliseconds.

    `processor` are those that the threads of this process spent computing.
    """
    mean = statistics.fmean(values)
    return {
        "median_ms": statistics.median(values),
        "p95_ms": sorted(values)[round(0.95 * (len(values) - 1))],
        "min_ms": min(values),
        "mean_ms": mean,
        "per_second": 1000 * num_images / mean,  # images one after another follow the mean and not the median
        "calls": len(values),
        **({"cpu_ms": statistics.median(processor)} if processor else {}),
    }


def take_turns(stages: Mapping[str, Stage], repeats: int, device: torch.device, num_images: int = 1) -> Iterator[Row]:
    """Call every stage `repeats` times by turns, after untimed ones, each turn in another order and with its number."""
    order = deque(stages)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in stages}
    for turn in range(WARMUP + repeats):
        for name in order:
            synchronize(device)
            start = time.perf_counter(), time.process_time()
            stages[name](turn)
            synchronize(device)
            times[name].append((1000 * (time.perf_counter() - start[0]), 1000 * (time.process_time() - start[1])))
        order.rotate(-1)
    for name, values in times.items():
        wall, processor = zip(*values[WARMUP:], strict=True)
        yield name, timed(wall, num_images, processor)


def peak_memory() -> int | None:
    """Return the most bytes that this process has held, None where the system does not tell."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.is_file() else None
    return int(found[1]) * 1024 if found else None


def in_a_process(function: Callable[..., T], *arguments: Any) -> T:
    """Return what a function returns in a new process, in which nothing was computed before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
