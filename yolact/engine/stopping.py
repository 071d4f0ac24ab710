"""What ends a training early: signals that ask it to save and stop, and failures of the machine."""

import math
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch

from yolact.config import as_size
from yolact.distributed import how_lost, launched
from yolact.errors import UserError
from yolact.text import size_text

if TYPE_CHECKING:
    from yolact.engine.trainer import Trainer

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
# A scheduler that ends a job signals all its processes, and torchrun then passes its own signal on to those that it
# started, as it does when the first of them has stopped. That repeats the request, and nobody is in a hurry yet.
SECONDS_OF_ECHO = 5.0
# What the allocators of CPU, CUDA, cuBLAS and cuDNN say.
NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|_ALLOC_FAILED", re.IGNORECASE)
NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")


class Interrupted(BaseException):
    """A signal arrived where nothing is lost by leaving; not an Exception, so that nobody takes it for a failure."""


class Stop:
    """Within its block, signals that ask a program to end are noted instead of ending it; true once one has come.

    To be entered in the main thread. Attributes:
        number: of the signal, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._since = 0.0  # when it came
        self._may_interrupt = False

    def __enter__(self) -> "Stop":
        self._previous = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            if handler is not None:  # one that was not set by Python cannot be set again
                signal.signal(number, handler)

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

    def _note(self, number: int, _: object) -> None:
        """Handle a signal; the second one ends this process and the loader's, as if they had died of it."""
        name = signal.Signals(number).name
        if self:
            if launched() and time.monotonic() - self._since < SECONDS_OF_ECHO:
                return
            _say(f"{name} again: left at once, without saving")
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)
        self.number, self._since = number, time.monotonic()
        _say(f"{name}: stopping after this step; a second signal stops at once, without saving")
        if self._may_interrupt:
            raise Interrupted


def _say(text: str) -> None:
    """Write to stderr directly: a handler may have come in the middle of a `print`, which cannot be entered twice."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())


@contextmanager
def explained(trainer: "Trainer") -> Iterator[None]:
    """Turn errors that a user can do something about into a `UserError` that says where to go on; others pass."""
    try:
        yield
    except (RuntimeError, MemoryError, ValueError) as error:
        sentence = _explanation(trainer, error)
        if sentence is None:
            raise
        raise UserError(f"{sentence}; {trainer.last_checkpoint()}.") from error


def _explanation(trainer: "Trainer", error: Exception) -> str | None:
    text, config = str(error), trainer.config
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or NO_MEMORY.search(text):
        detail = text.splitlines()[0].rstrip(". ") if text else "no details given"
        sizes = [*map(as_size, config.train.image_sizes)] or [config.model.input_size]
        images = f"{config.train.batch_size} images of {size_text(max(sizes, key=math.prod))} pixels"
        return (
            f"Out of memory on {trainer.device} at step {trainer.step + 1}, with batches of {images} ({detail}): lower "
            "train.batch_size (train.accumulate can make up for it) or model.image_size, or set train.precision=bf16"
        )
    operation = NOT_DETERMINISTIC.search(text)
    if operation is not None:
        return (
            f"train.deterministic is true, but {operation[1]} has no deterministic form on {trainer.device}: set it "
            "to false, or leave out of the model what needs it"
        )
    if "more than 1 value per channel" in text:
        return (
            "A batch norm that learns saw one image, and of that one cell: raise train.batch_size or model.image_size, "
            "or set train.freeze_batch_norm=always"
        )
    return how_lost(error)
