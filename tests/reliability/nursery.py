"""Forks trainings from a process that has imported what train.py imports and has run nothing of it.

Each is a new process, first of a session of its own, that runs train.py from its first line; importing torch anew
would take most of its time. Reads a line of JSON for each training; the answers are its pid and, when it has ended, its
exit code, which is negative where a signal ended it.
"""

import ctypes
import json
import os
import runpy
import signal
import sys
from pathlib import Path

import tests.configurations  # noqa: F401  # for its backbone
import yolact.api  # noqa: F401  # for what it imports
from yolact.engine import trainer as trainers
from yolact.tools.report.curves import DrawCurves

PROGRAM = Path(__file__).resolve().parents[2] / "train.py"
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux: nobody else would end a training whose test was killed


def stop_after(step: int, number: int) -> None:
    """Let the training get a signal when it has done so many steps."""
    do_step = trainers.train_step

    def train_step(trainer, batches):
        do_step(trainer, batches)
        if trainer.step == step:
            signal.raise_signal(number)

    trainers.train_step = train_step


def be_training(order: dict) -> None:
    """Become train.py with the arguments of an order."""
    os.setsid()
    print(os.getpid(), flush=True)  # from now on it can be found by its session
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if order["stop"]:
        stop_after(*order["stop"])
    if not order["curves"]:
        DrawCurves.on_evaluate = DrawCurves.on_end = lambda callback, trainer: None
    sys.argv = [str(PROGRAM), *order["arguments"]]
    runpy.run_path(str(PROGRAM), run_name="__main__")


def main() -> None:
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
    while line := sys.stdin.buffer.raw.readline():
        pid = os.fork()
        if pid == 0:
            return be_training(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    return None


if __name__ == "__main__":
    main()
