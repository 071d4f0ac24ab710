"""A signal during training: saved, the right exit code, no process left over, within seconds; twice: at once."""

import itertools
import random
import signal
import time

import pytest

from tests.reliability.trainings import differences, last_step, of_session, wait_until
from yolact.engine.checkpoint import load_checkpoint

SETTINGS = [
    "train.max_steps=100_000", "train.lr_steps=[16]", "train.save_every=2", "train.ema_decay=null",
    "data.num_workers=2",
]  # fmt: skip
INT, TERM, USR1 = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1
KINDS = list(itertools.product([(INT,), (TERM,), (USR1,), (INT, INT)], [False, True]))  # signals; to the whole group
FEW = [KINDS[0], KINDS[3], KINDS[7]]  # SIGINT; SIGTERM to the group; SIGINT twice to the group
MOST_SECONDS = 60.0  # aimed at: 5; here only what no pause of a busy machine reaches, and what a hang does


def stop(training, numbers, to_group, rng):
    """Send one signal, or two shortly after one another; return the exit code and the seconds until the end."""
    training.send(numbers[0], to_group)
    since = time.monotonic()
    for number in numbers[1:]:
        time.sleep(rng.uniform(0, 0.05))
        training.send(number, to_group)
    code = training.wait()
    wait_until(lambda: not of_session(training.pid))
    return code, time.monotonic() - since


@pytest.mark.parametrize("kinds", [FEW, pytest.param(KINDS * 10, marks=pytest.mark.long)], ids=["few", "all"])
def test_signals_at_random_times(nursery, small, runs, tmp_path, tell, kinds):
    rng, log, folder = random.Random(0), tmp_path / "said.txt", runs / "small/stopped"
    training = nursery.start(log, "--config", small, "--runs", runs, "--name", "stopped", "--set", *SETTINGS)
    took, at_once, saved = [], 0, 0
    for numbers, to_group in kinds:
        training.goes_on_until(lambda first=saved: last_step(folder) > first + 2)
        time.sleep(rng.uniform(0, 0.5))
        assert len(of_session(training.pid)) == 3
        code, seconds = stop(training, numbers, to_group, rng)
        took.append(seconds)
        assert code == 128 + numbers[0], training.said()
        assert seconds < MOST_SECONDS
        before, saved = saved, load_checkpoint(folder / "last.pth")["step"]
        assert saved > before
        if "SIGINT again: left at once" in training.said():
            at_once += 1
        else:
            assert last_step(folder) == saved
            assert f"stopped at step {saved}" in training.said()
        assert not list(folder.glob("*.tmp")) or numbers == (INT, INT)
        training = nursery.start(log, "--resume", folder)
    training.goes_on_until(lambda: last_step(folder) > saved + 2)
    training.send(TERM)
    assert training.wait() == 143
    whole = ["--config", small, "--runs", runs, "--name", "whole", "--set", *SETTINGS]
    assert nursery.complete(log, *whole, stop=(last_step(folder), TERM)) == 143
    assert differences(folder, runs / "small/whole") == []
    in_time = sum(seconds < 5 for seconds in took)
    tell(
        f"T9: {len(kinds)} of {len(kinds)} signals; {at_once} second ones left at once; {in_time} ended within 5 s, "
        f"the slowest within {max(took):.1f} s"
    )
