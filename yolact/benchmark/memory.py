"""How much memory work takes, measured in a process of its own."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from yolact.benchmark.timing import Stage


class Memory(NamedTuple):
    """Bytes of a process; None where the system does not tell."""

    peak: int | None  # in all
    grown: int | None  # the peak beyond what it held before the work began: libraries, weights, index of a data set


def measure_memory(build: Callable[..., Stage], *arguments: object, repeats: int) -> Memory:
    """Return what `repeats` calls of the stage that `build(*arguments)` returns take in a new process.

    `build` is a function of a module, and the arguments can be sent to another process.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, build, arguments, repeats))
    process.start()
    sender.close()
    try:
        memory: Memory = receiver.recv()
    finally:
        process.join()
    return memory


def _measure(sender: Connection, build: Callable[..., Stage], arguments: tuple[object, ...], repeats: int) -> None:
    stage = build(*arguments)
    before = _read("VmRSS") if _forget_peak() else None
    for number in range(repeats):
        stage(number)
    peak = _read("VmHWM")
    sender.send(Memory(peak, None if before is None or peak is None else peak - before))


def _forget_peak() -> bool:
    """Let the kernel's peak begin anew, where it can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _read(field: str) -> int | None:
    """Return a memory figure of this process in bytes: VmRSS now, VmHWM at its peak; None where Linux is not."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)
