"""A training that is killed or signalled at any moment goes on each time, and comes out as if undisturbed.

A signal saves and gives the right exit code, twice leaves at once; no process is left over.
"""

import itertools
import random
import re
import time
from signal import SIGINT, SIGKILL, SIGTERM, SIGUSR1

import pytest

from tests.reliability.trainings import differences, last_step, of_session, wait_until
from yolact.engine.checkpoint import load_checkpoint

SETTINGS = ["train.max_steps=100_000", "train.lr_steps=[16]", "train.ema_decay=null"]
KINDS = list(itertools.product([(SIGINT,), (SIGTERM,), (SIGUSR1,), (SIGINT, SIGINT)], [False, True]))  # to the group?
FEW = [KINDS[0], KINDS[3], KINDS[7]]  # SIGINT; SIGTERM to the group; SIGINT twice to the group
RESUMED = re.compile(r"resumed (\S+) at step (\d+)\n")
MOST_SECONDS = 60.0  # aimed at: 5; here only what no pause of a busy machine reaches, and what a hang does


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
    time.sleep(rng.uniform(0, 0.2 if number % 2 else 1.0))


@pytest.fixture
def undisturbed(nursery, small, runs, tmp_path):
    """Return a function that stops a training, lets another do as many steps in peace, and names what differs."""

    def compare(training, folder, *settings):
        training.send(SIGTERM)
        assert training.wait() == 143
        assert not unfinished(folder)
        arguments = ["--config", small, "--runs", runs, "--name", "whole", "--set", *SETTINGS, *settings]
        assert nursery.complete(tmp_path / "said.txt", *arguments, stop=(last_step(folder), SIGTERM)) == 143
        return differences(folder, runs / "small/whole")

    return compare


@pytest.mark.parametrize("count", [2, pytest.param(100, marks=pytest.mark.long)])
def test_kills_with_a_checkpoint_at_every_step(nursery, small, runs, tmp_path, tell, undisturbed, count):
    rng, log, folder = random.Random(0), tmp_path / "said.txt", runs / "small/killed"
    own = [*SETTINGS, "train.save_every=1", "data.num_workers=1"]
    training = nursery.start(log, "--config", small, "--runs", runs, "--name", "killed", "--set", *own)
    step, while_writing = 0, 0
    for number in range(count):
        live(training, folder, number, rng)
        assert training.kill() == -SIGKILL
        wait_until(lambda dead=training: not of_session(dead.pid))
        left = unfinished(folder)
        while_writing += bool(left)
        training = nursery.start(log, "--resume", "--runs", runs)
        training.goes_on_until(lambda new=training: RESUMED.search(new.said()))  # the whole line
        said = training.said()
        resumed = RESUMED.search(said)
        assert resumed[1] == str(folder / "last.pth")
        assert "WARNING" not in said
        assert int(resumed[2]) > step  # every life saved at least one step more
        step = int(resumed[2])
        swept = re.search(r"removed what a killed run had not finished writing: (.*)\n", said)
        assert set(swept[1].split(", ") if swept else ()) == left
    live(training, folder, 0, rng)
    assert undisturbed(training, folder, "data.num_workers=1") == ["config"]  # save_every
    tell(f"T5: {count} of {count} kills resumed, {while_writing} of them in the middle of writing")


@pytest.mark.parametrize("kinds", [FEW, pytest.param(KINDS * 10, marks=pytest.mark.long)], ids=["few", "all"])
def test_signals_at_random_times(nursery, small, runs, tmp_path, tell, undisturbed, kinds):
    rng, log, folder = random.Random(0), tmp_path / "said.txt", runs / "small/stopped"
    own = ["train.save_every=2", "data.num_workers=2"]
    training = nursery.start(log, "--config", small, "--runs", runs, "--name", "stopped", "--set", *SETTINGS, *own)
    took, at_once, saved = [], 0, 0
    for numbers, to_group in kinds:
        training.goes_on_until(lambda first=saved: last_step(folder) > first + 2)
        time.sleep(rng.uniform(0, 0.5))
        assert len(of_session(training.pid)) == 3
        since = time.monotonic()
        for number in numbers:
            training.send(number, to_group)
            time.sleep(rng.uniform(0, 0.05))
        assert training.wait() == 128 + numbers[0], training.said()
        wait_until(lambda ended=training: not of_session(ended.pid))
        took.append(time.monotonic() - since)
        before, saved = saved, load_checkpoint(folder / "last.pth")["step"]
        assert saved > before
        if "SIGINT again: left at once" in training.said():
            at_once += 1
        else:
            assert last_step(folder) == saved
            assert f"stopped at step {saved}" in training.said()
        assert not unfinished(folder) or numbers == (SIGINT, SIGINT)
        training = nursery.start(log, "--resume", folder)
    assert max(took) < MOST_SECONDS
    training.goes_on_until(lambda: last_step(folder) > saved + 2)
    assert undisturbed(training, folder, *own) == []
    in_time = sum(seconds < 5 for seconds in took)
    tell(
        f"T9: {len(kinds)} of {len(kinds)} signals; {at_once} second ones left at once; {in_time} ended within 5 s, "
        f"the slowest within {max(took):.1f} s"
    )
