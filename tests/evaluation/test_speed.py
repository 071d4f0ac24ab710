import time

import pytest
import torch

from yolact.evaluation.speed import SpeedEvaluator


@pytest.fixture
def run(monkeypatch):
    """Return a function that times a batch of so many images whose stages take so many milliseconds."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])  # real durations cannot be asserted

    def run_batch(speed, num_images, *stages):
        for name, milliseconds in stages:
            with speed.stage(name):
                now[0] += milliseconds / 1000
        speed.end_batch(num_images)

    return run_batch


def evaluator(warmup=0):
    return SpeedEvaluator(torch.device("cpu"), warmup)


def test_medians_are_per_image_and_leave_the_first_batches_out(run) -> None:
    speed = evaluator(warmup=2)
    for slow in (900, 800):
        run(speed, 1, ("load", slow), ("network", slow))
    for network in (20, 40, 90):
        run(speed, 2, ("load", 2), ("network", network))
    assert speed.compute()["milliseconds"] == pytest.approx({"load": 1, "network": 20})


def test_fps_counts_network_detection_and_masks_only(run) -> None:
    speed = evaluator(warmup=5)  # a single batch is not taken for warmup
    run(speed, 1, ("load", 500), ("network", 10), ("detect", 4), ("masks", 3), ("encode", 300), ("masks", 3))
    assert speed.compute()["fps"] == pytest.approx(1000 / 20)
    assert speed.compute()["milliseconds"]["masks"] == pytest.approx(6)
    assert evaluator().compute() == {"fps": None, "milliseconds": {}}


def test_a_stage_may_be_shared() -> None:
    speed, other = evaluator(), evaluator()
    with speed.stage("network", other):
        pass
    for one in (speed, other):
        one.end_batch(1)
    assert speed.compute()["milliseconds"] == other.compute()["milliseconds"]
    assert speed.compute()["milliseconds"]["network"] > 0
