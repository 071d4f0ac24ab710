"""A training that is stopped after any of its steps comes out bit by bit as if it had not been.

Each part is a process of its own, forked from one that has imported torch and run nothing (nursery.py). Curves are not
drawn, to save time.
"""

import signal

import pytest

from tests.reliability.trainings import differences, steps

MAX_STEPS = 24
EVALUATED = 12  # and at the end
# Seven images in batches of two: passes over them end in the middle of every other batch. The warm-up ends at step 6,
# the learning rate falls at 16, and the evaluation is stopped before it begins.
SETTINGS = {
    workers: [f"data.num_workers={workers}", f"train.optimizer={optimizer}", f"train.eval_every={EVALUATED}"]
    for workers, optimizer in ((0, "sgd"), (1, "adamw"), (2, "sgd"))
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stop_after_every_step(nursery, small, runs, tmp_path, tell, workers):
    """One run in 24 processes: each goes on with what the one before saved, and does a step."""
    log, folder, whole = tmp_path / "said.txt", runs / "small/cut", runs / "small/whole"
    arguments = ["--config", small, "--runs", runs, "--set", *SETTINGS[workers], "--name"]
    assert nursery.complete(log, *arguments, "whole", curves=False) == 0
    arguments.append("cut")
    for step in range(1, MAX_STEPS):
        number = SIGNALS[step % 3]
        assert nursery.complete(log, *arguments, stop=(step, number), curves=False) == 128 + number
        assert (whole / "metrics.jsonl").read_text().startswith((folder / "metrics.jsonl").read_text())
        assert steps(folder) == sorted([*range(1, step + 1), *[EVALUATED] * (step > EVALUATED)])
        arguments = ["--resume", folder]
    assert nursery.complete(log, *arguments, curves=False) == 0
    assert all(f"resumed {folder}/last.pth at step {step}\n" in log.read_text() for step in range(1, MAX_STEPS))
    assert differences(folder, whole) == []
    tell(f"T6: {MAX_STEPS - 1} of {MAX_STEPS - 1} stops with {workers} workers equal bit by bit")
