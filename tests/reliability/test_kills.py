"""A training that is killed at any moment, again and again, goes on each time, and comes out as if undisturbed."""

import random
import re
import signal
import time

import pytest

from tests.reliability.trainings import differences, last_step, of_session, wait_until

SETTINGS = [
    "train.max_steps=100_000", "train.lr_steps=[16]", "train.save_every=1", "train.ema_decay=null",
    "data.num_workers=1",
]  # fmt: skip


def unfinished(folder):
    return {file.name for file in folder.glob("*.tmp")}


def saved_at(folder):
    return (folder / "last.pth").stat().st_mtime_ns if (folder / "last.pth").exists() else 0


def live(training, folder, number, rng):
    """Let a training save and live on to a random moment: every other time while it writes a checkpoint."""
    before = saved_at(folder)
    training.goes_on_until(lambda: saved_at(folder) > before)
    if number % 2:
        training.goes_on_until(lambda: unfinished(folder))
        time.sleep(rng.uniform(0, 0.2))
    else:
        time.sleep(rng.uniform(0, 1.0))


@pytest.mark.parametrize("count", [4, pytest.param(100, marks=pytest.mark.long)])
def test_kills_at_random_times_with_a_checkpoint_at_every_step(nursery, small, runs, tmp_path, tell, count):
    rng, log, folder = random.Random(0), tmp_path / "said.txt", runs / "small/killed"
    training = nursery.start(log, "--config", small, "--runs", runs, "--name", "killed", "--set", *SETTINGS)
    step, while_writing = 0, 0
    for number in range(count):
        live(training, folder, number, rng)
        assert training.kill() == -signal.SIGKILL
        wait_until(lambda dead=training: not of_session(dead.pid))
        left = unfinished(folder)
        while_writing += bool(left)
        training = nursery.start(log, "--resume", "--runs", runs)
        training.goes_on_until(lambda new=training: " at step " in new.said())
        said = training.said()
        resumed = re.search(r"resumed (\S+) at step (\d+)\n", said)
        assert resumed, said
        assert resumed[1] == str(folder / "last.pth")
        assert "WARNING" not in said
        assert int(resumed[2]) > step  # every life saved at least one step more
        step = int(resumed[2])
        swept = re.search(r"removed what a killed run had not finished writing: (.*)\n", said)
        assert set(swept[1].split(", ") if swept else ()) == left
    live(training, folder, 0, rng)
    training.send(signal.SIGTERM)
    assert training.wait() == 143
    assert not unfinished(folder)
    stopped = last_step(folder)
    whole = ["--config", small, "--runs", runs, "--name", "whole", "--set", *SETTINGS, "train.save_every=100_000"]
    assert nursery.complete(log, *whole, stop=(stopped, signal.SIGTERM)) == 143
    assert differences(folder, runs / "small/whole") == ["config"]  # save_every
    tell(f"T5: {count} of {count} kills resumed, {while_writing} of them in the middle of writing; {stopped} steps")
