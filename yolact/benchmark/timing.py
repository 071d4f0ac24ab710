"""Timing by turns: every candidate once, then every candidate again, so that a busy machine is unfair to none."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from yolact.evaluation.speed import synchronize

Stage = Callable[[int], object]  # does its work for the input of this number


class TakenElsewhere(NamedTuple):
    """What a stage returns that works in another process, and is timed there."""

    milliseconds: float


class Times(NamedTuple):
    """Milliseconds of the calls of one stage."""

    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        return sorted(self.values)[round(0.95 * (len(self.values) - 1))]

    @property
    def per_second(self) -> float:
        """Calls per second one after another, which follows the mean and not the median."""
        return 1000 / statistics.fmean(self.values)

    def summary(self) -> dict[str, Any]:
        """Return the figures for a JSON file."""
        return {
            "median_ms": self.median,
            "p95_ms": self.p95,
            "min_ms": min(self.values),
            "mean_ms": statistics.fmean(self.values),
            "per_second": self.per_second,
            "calls": len(self.values),
        }


def take_turns(
    stages: Mapping[str, Stage], repeats: int, warmup: int, device: torch.device, title: str = ""
) -> dict[str, Times]:
    """Call every stage `repeats` times by turns, after `warmup` untimed turns, and return the time of each call.

    The order within a turn changes from one to the next. Turn i hands every stage the number i.
    """
    names = list(stages)
    times: dict[str, list[float]] = {name: [] for name in names}
    with tqdm(total=warmup + repeats, desc=title, unit="turn", leave=False, dynamic_ncols=True) as bar:
        for turn in range(warmup + repeats):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                synchronize(device)
                start = time.perf_counter()
                result = stages[name](turn)
                elsewhere = result.milliseconds if isinstance(result, TakenElsewhere) else None
                del result  # to give its memory back is part of the work
                synchronize(device)
                here = (time.perf_counter() - start) * 1000
                if turn >= warmup:
                    times[name].append(here if elsewhere is None else elsewhere)
            bar.update()
    return {name: Times(values) for name, values in times.items()}


def over(work: Callable[..., object], inputs: Sequence[object]) -> Stage:
    """Return a stage that takes one input after the other."""
    return lambda number: work(inputs[number % len(inputs)])


def always(work: Callable[..., object], *arguments: object) -> Stage:
    """Return a stage that does the same in every call."""
    return lambda number: work(*arguments)
