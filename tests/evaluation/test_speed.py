import time
from collections.abc import Callable

import pytest
import torch

from yolact.evaluation.speed import StageTimer, conditions, frames_per_second


@pytest.fixture
def tick(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Replace the clock, in seconds, by one that the test moves: real durations cannot be asserted."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def run_batch(timer: StageTimer, tick: Callable[[float], None], num_images: int, **milliseconds: float) -> None:
    for name, value in milliseconds.items():
        with timer.stage(name):
            tick(value / 1000)
    timer.end_batch(num_images)


def test_medians_are_per_picture_and_leave_the_first_batches_out(tick: Callable[[float], None]) -> None:
    timer = StageTimer(torch.device("cpu"), warmup=2)
    for slow in (900, 800):
        run_batch(timer, tick, 1, load=slow, network=slow)
    for network in (20, 40, 90):
        run_batch(timer, tick, 2, load=2, network=network)
    assert timer.milliseconds() == pytest.approx({"load": 1, "network": 20})


def test_fps_counts_network_detection_and_masks_only(tick: Callable[[float], None]) -> None:
    timer = StageTimer(torch.device("cpu"), warmup=0)
    run_batch(timer, tick, 1, load=500, network=10, detect=4, masks=6, encode=300)
    assert frames_per_second(timer.milliseconds()) == pytest.approx(1000 / 20)


def test_blocks_of_one_stage_add_up(tick: Callable[[float], None]) -> None:
    timer = StageTimer(torch.device("cpu"), warmup=0)
    for _ in range(2):
        with timer.stage("masks"):
            tick(0.003)
    timer.end_batch(1)
    assert timer.milliseconds() == pytest.approx({"masks": 6})


def test_a_batch_without_a_stage_counts_as_zero(tick: Callable[[float], None]) -> None:
    timer = StageTimer(torch.device("cpu"), warmup=0)
    run_batch(timer, tick, 1, network=10, masks=8)
    run_batch(timer, tick, 1, network=10)
    run_batch(timer, tick, 1, network=10)
    assert timer.milliseconds() == pytest.approx({"network": 10, "masks": 0})


def test_a_single_batch_is_not_taken_for_warmup(tick: Callable[[float], None]) -> None:
    timer = StageTimer(torch.device("cpu"), warmup=5)
    run_batch(timer, tick, 1, network=10)
    assert frames_per_second(timer.milliseconds()) == pytest.approx(100)


def test_no_batches_have_no_speed() -> None:
    timer = StageTimer(torch.device("cpu"))
    assert frames_per_second(timer.milliseconds()) is None
    assert timer.milliseconds() == {}


def test_times_of_one_of_several_processes_are_called_so() -> None:
    metrics = {"device": "cpu (X, 1 thread)", "dtype": "float32", "batch_size": 2}
    assert conditions(metrics) == conditions({**metrics, "processes": 1}) == "cpu (X, 1 thread), float32, batch 2"
    assert conditions({**metrics, "processes": 4}) == "cpu (X, 1 thread), float32, batch 2, one of 4 processes"
