"""Trainings in processes of their own, for the tests that interrupt them; Linux only, as they look into /proc."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tests.configurations import EVAL, MODEL, TRAIN
from yolact.engine.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
PATIENCE = 300.0  # seconds that anything may take on a busy machine
NUM_IMAGES = 7  # odd, so that passes over the images end in the middle of batches of two

# With everything that has a state: momentum, a moving average, batch norm, a warm-up.
SMALL = {
    "name": "small",
    "model": MODEL,
    "train": {**TRAIN, "max_steps": 24, "warmup_steps": 6, "lr_steps": [16]},
    "eval": EVAL,
}


def whole_lines(folder: Path) -> list[bytes]:
    """Return the lines of metrics.jsonl that a kill has not cut short."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith(b"\n")]


def steps(folder: Path) -> list[int]:
    """Return the steps of the whole lines of metrics.jsonl."""
    return [json.loads(line)["step"] for line in whole_lines(folder)]


def last_step(folder: Path) -> int:
    """Return the step of the last whole line of metrics.jsonl, 0 without one."""
    lines = whole_lines(folder)
    return json.loads(lines[-1])["step"] if lines else 0


def wait_until(condition: Callable[[], Any], pause: float = 0.02) -> None:
    """Return as soon as `condition` holds.

    Raises:
        TimeoutError: it does not, for all our patience.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {PATIENCE:g} seconds")
        time.sleep(pause)


def of_session(session: int) -> list[int]:
    """Return the processes of a session that live; one that only waits to be collected does not."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:  # it has ended meanwhile
                continue
            if int(own) == session and state != "Z":
                found.append(int(entry.name))
    return found


def differences(folder: Path, whole: Path) -> list[str]:
    """Name what differs between two runs: metrics.jsonl, and every tensor and number of last.pth but those of speed."""
    same = (folder / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    ours, theirs = (load_checkpoint(run / "last.pth") for run in (folder, whole))
    for state in (ours, theirs):
        for name in ("fps", "milliseconds"):
            (state["metrics"] or {}).pop(name, None)
    different = [key for key in sorted(ours.keys() | theirs.keys()) if not equal(ours.get(key), theirs.get(key))]
    return ([] if same else ["metrics.jsonl"]) + different


def equal(one: Any, other: Any) -> bool:
    """Compare nested dicts and lists with tensors, these bit by bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


class Nursery:
    """The running nursery.py, which starts one training after the other."""

    def __init__(self) -> None:
        self.training: Training | None = None
        environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def start(
        self, log: Path, *arguments: object, stop: tuple[int, int] | None = None, curves: bool = True
    ) -> "Training":
        """Start train.py with these arguments.

        Args:
            log: a file for what it says.
            arguments: of its command line.
            stop: a step, and the signal that it gets after it.
            curves: draw the curves, which takes as long as many steps.
        """
        command = ["--device", "cpu", *map(str, arguments)]
        order = {"log": str(log), "arguments": command, "stop": stop, "curves": curves}
        if self.training is not None and not self.training.ended:  # a test that failed has left it
            self.training.kill()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.training = Training(self, log)
        return self.training

    def complete(self, log: Path, *arguments: object, **options: Any) -> int:
        """Run train.py to its end, with the options of `start`, and return its exit code."""
        return self.start(log, *arguments, **options).wait()

    def answer(self) -> int:
        """Return the next number that nursery.py says."""
        output = self.process.stdout
        assert output is not None
        if not select.select([output], [], [], PATIENCE)[0]:
            raise TimeoutError(f"waited {PATIENCE:g} seconds")
        return int(output.readline())

    def close(self) -> None:
        """End the nursery and, with it, the training that may still run."""
        self.process.kill()
        self.process.communicate()


class Training:
    """A training of its own process and session."""

    def __init__(self, nursery: Nursery, log: Path) -> None:
        self.nursery, self.log, self.ended = nursery, log, False
        self.pid = nursery.answer()
        self.said_before = log.stat().st_size if log.exists() else 0

    def send(self, number: int, to_group: bool = False) -> None:
        """Send a signal to the main process or to it and the loader's."""
        with suppress(ProcessLookupError):  # it has just ended
            os.killpg(self.pid, number) if to_group else os.kill(self.pid, number)

    def wait(self) -> int:
        """Return the exit code, negative for a signal, as soon as the main process has ended."""
        code = self.nursery.answer()
        self.ended = True
        return code

    def goes_on_until(self, condition: Callable[[], Any]) -> None:
        """Wait for a condition while the training runs.

        Raises:
            AssertionError: it ended first.
        """
        wait_until(lambda: condition() or not Path(f"/proc/{self.pid}").exists())
        assert condition(), self.said()[-3000:]

    def said(self) -> str:
        """Return what it has said so far."""
        with self.log.open("rb") as file:
            file.seek(self.said_before)
            return file.read().decode()

    def kill(self) -> int:
        """Kill the main process; the workers end when they see, within five seconds, that it is gone."""
        self.send(signal.SIGKILL)
        return self.wait()
