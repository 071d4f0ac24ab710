import json

import pytest

from yolact.engine.log import MetricsFile


def steps(folder):
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_resumed_run_leaves_no_gap_and_repeats_nothing(tmp_path):
    with MetricsFile(tmp_path, step=0) as log:
        for step in (1, 2, 3):
            log.write({"step": step})
    with MetricsFile(tmp_path, step=2) as log:  # the checkpoint was saved before step 3
        log.write({"step": 3})
        log.write({"step": 4})
    assert steps(tmp_path) == [1, 2, 3, 4]


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo')
    with MetricsFile(tmp_path, step=5) as log:
        log.write({"step": 6})
    assert steps(tmp_path) == [1, 6]


def test_figures_also_go_to_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with MetricsFile(tmp_path, step=0, tensorboard=True) as log:
        log.write({"step": 5, "lr": 0.5, "losses": {"box": 2.0}})
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("losses/box")] == [(5, 2.0)]
