"""Functions called in another process, so that a test notices when one hangs, dies or fills the memory."""

import ctypes
import multiprocessing
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TOO_MUCH = "took too much memory"


def free_port() -> int:
    """Return a port of this machine that nobody listens on; torchrun's own is one for all programs."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


class Ended(NamedTuple):
    """How one case in a child process came out."""

    value: Any = None  # what the function returned
    fault: str = ""  # what went wrong instead: an exception that got out, a hang, a death, too much memory


class Child:
    """Calls a function in a forked process, for one case after the other, and says how each came out.

    A case has 10 seconds of the processor's time, six times as long in all, and a gigabyte more than the tests take.
    After one that takes more, or dies, the next goes on in another process. Skips the test where this is not Linux.
    """

    def __init__(self, function: Callable[[Any], Any], seconds: float = 10, memory: int = 2**30) -> None:
        if not Path("/proc/self/statm").exists():
            pytest.skip("needs Linux")
        self.function, self.seconds, self.memory = function, seconds, memory
        self.process: Any = None

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
            self.process = None

    def __call__(self, case: Any) -> Ended:
        ended = self._call(case)
        # A fork may copy a lock that another thread holds, for which the new process waits for ever; hardly ever twice.
        return self._call(case) if ended.fault == "hung" else ended

    def _call(self, case: Any) -> Ended:
        if self.process is None:
            with suppress(AttributeError):  # another C library than glibc
                ctypes.CDLL(None).malloc_trim(0)  # what the tests freed would otherwise be the process's to fill
            context = multiprocessing.get_context("fork")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=self._serve, args=(theirs,), daemon=True)
            self.process.start()
            theirs.close()
        try:
            self.pipe.send(case)
            ended: Ended = self.pipe.recv()
            if ended.fault != TOO_MUCH:  # that peak stays, so the next case begins in another process
                return ended
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode
            hung = code in (-signal.SIGPROF, -signal.SIGALRM)
            ended = Ended(fault="hung" if hung else f"the process died: {code}")
        self.__exit__()
        return ended

    def _serve(self, cases: Connection) -> None:
        self.pipe.close()  # so that the end of the other process is the end of the pipe
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + 3 * self.memory, most))  # for the sake of the machine
        with suppress(EOFError):  # nobody asks any more
            while True:
                case = cases.recv()
                self._set_alarms(self.seconds)
                try:
                    ended = Ended(self.function(case))
                except BaseException as error:  # also SystemExit, which would end the process
                    ended = Ended(fault="".join(traceback.format_exception(error)))
                self._set_alarms(0)
                if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > self.memory:
                    ended = Ended(fault=TOO_MUCH)
                cases.send(ended)

    def _set_alarms(self, seconds: float) -> None:
        signal.setitimer(signal.ITIMER_PROF, seconds)  # either signal ends the process
        signal.setitimer(signal.ITIMER_REAL, 6 * seconds)


def run_in_child(function: Callable[[Any], Any], cases: Sequence[Any], **limits: Any) -> list[Ended]:
    """Call a function for each case in a `Child`, and say how each one came out."""
    with Child(lambda number: function(cases[number]), **limits) as child:  # the cases need not be sent
        return [child(number) for number in range(len(cases))]
