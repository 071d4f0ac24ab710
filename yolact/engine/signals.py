"""Stopping on request: a signal asks for a checkpoint and an end; a second one ends the program at once."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from yolact.distributed import launched

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
# A scheduler that ends a job signals all its processes, and torchrun then passes its own signal on to those that it
# started, as it does when the first of them has stopped. That repeats the request, and nobody is in a hurry yet.
SECONDS_OF_ECHO = 5.0


class Interrupted(BaseException):
    """A signal arrived where nothing is lost by leaving; not an Exception, so that nobody takes it for a failure."""


class Stop:
    """Whether a signal has asked the training to end; true from then on.

    Attributes:
        number: of the signal, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._since = 0.0  # when it came
        self._may_interrupt = False

    def __bool__(self) -> bool:
        return self.number is not None

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Leave the block with `Interrupted` as soon as a signal arrives, or at once if one has arrived before."""
        self._may_interrupt = True
        try:
            if self:
                raise Interrupted
            yield
        finally:
            self._may_interrupt = False

    def note(self, number: int, _: object) -> None:
        """Handle a signal."""
        if self.number is not None:
            if launched() and time.monotonic() - self._since < SECONDS_OF_ECHO:
                return
            _leave_at_once(number)
        self.number, self._since = number, time.monotonic()
        _say(f"{signal.Signals(number).name}: stopping after this step; a second signal stops at once, without saving")
        if self._may_interrupt:
            raise Interrupted


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Collect the signals that ask a program to end instead of dying of them; in the main thread."""
    stop = Stop()
    previous = {number: signal.signal(number, stop.note) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            if handler is not None:  # one that was not set by Python cannot be set again
                signal.signal(number, handler)


def _leave_at_once(number: int) -> None:
    """End this process and the loader's, with the exit code of a process that died of the signal."""
    _say(f"{signal.Signals(number).name} again: left at once, without saving")
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(128 + number)


def _say(text: str) -> None:
    """Write to stderr directly: a handler may have come in the middle of a `print`, which cannot be entered twice."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())
