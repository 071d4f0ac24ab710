"""A training that is stopped after any of its steps comes out bit by bit as if it had not been.

Each part is a process of its own, forked from one that has imported torch and run nothing (nursery.py).
"""

import shutil
import signal

import pytest
from trainings import differences, equal, steps

from yolact.engine.checkpoint import load_checkpoint

MAX_STEPS = 24
# Seven pictures in batches of two: passes over them end in the middle of every other batch. The warm-up ends at step 6,
# the learning rate falls at 16, and the evaluation at 12 is stopped before it begins.
SETTINGS = {
    0: ["train.optimizer=sgd", "train.eval_every=12", "data.num_workers=0"],
    1: ["train.optimizer=adamw", "train.eval_every=12", "data.num_workers=1"],
    2: ["train.optimizer=sgd", "train.eval_every=12", "data.num_workers=2"],
}
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.fixture(scope="module")
def whole(nursery, small, tmp_path_factory):
    """Return a function that gives the folder of an undisturbed run with so many loader processes."""
    runs = tmp_path_factory.mktemp("whole")

    def folder(workers):
        run = runs / "small" / str(workers)
        if not run.exists():
            arguments = ["--config", small, "--runs", runs, "--name", workers, "--set", *SETTINGS[workers]]
            assert nursery.complete(runs / "said.txt", *arguments) == 0
        return run

    yield folder
    shutil.rmtree(runs)


@pytest.mark.long
def test_the_number_of_loader_processes_makes_no_difference(whole):
    assert (whole(0) / "metrics.jsonl").read_text() == (whole(2) / "metrics.jsonl").read_text()
    assert differences(whole(0), whole(2)) == ["config"]


@pytest.mark.long
@pytest.mark.parametrize("step", range(1, MAX_STEPS))
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stop_after_any_step(nursery, small, whole, runs, tmp_path, workers, step):
    number, log, folder = SIGNALS[step % 3], tmp_path / "said.txt", runs / "small/cut"
    arguments = ["--config", small, "--runs", runs, "--name", "cut", "--set", *SETTINGS[workers]]
    assert nursery.complete(log, *arguments, stop=(step, number)) == 128 + number
    assert load_checkpoint(folder / "last.pth")["step"] == step
    assert nursery.complete(log, "--resume", folder) == 0
    assert f"resumed {folder}/last.pth at step {step}\n" in log.read_text()
    assert differences(folder, whole(workers)) == []
    best, other = (load_checkpoint(run / "best.pth") for run in (folder, whole(workers)))
    assert equal(best, other)
    assert sorted(steps(folder)) == sorted([*range(1, MAX_STEPS + 1), 12, 24])
