"""A DataLoader whose processes fail in one sentence, and never outlive the program.

torch's own raises the death of a process wherever the program happens to be, buries errors under the traceback of the
process, waits for ever for a process that hangs or has no shared memory left, and lets a signal that the whole process
group gets end the processes while the main one still needs them.
"""

import atexit
import ctypes
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from yolact.errors import DatasetError, LoaderError

WORKER_TIMEOUT = 300.0  # seconds without a batch after which the processes count as hung
# What stops a training; the main process decides when, so the loader's processes leave it alone.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
SHARED_MEMORY = Path("/dev/shm")
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux


class _Failure(NamedTuple):
    """An error on its way from a process to the main one, in place of a sample or a batch."""

    error: DatasetError | LoaderError


class Samples(Protocol):
    """What a `Loader` loads: a Dataset of known length that can name its samples."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: Any) -> Any: ...

    def name_of(self, place: Any) -> str:
        """Return what the user knows the sample by, such as a file's name."""


class _FailuresAsSamples(Dataset[Any]):
    """Return a `_Failure` in place of a sample that cannot be made: DataLoader would bury the error."""

    def __init__(self, dataset: Samples) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: Any) -> Any:
        try:
            return self.dataset[place]
        except DatasetError as error:
            return _Failure(error)
        except Exception as error:
            print(traceback.format_exc(), file=sys.stderr)  # the one thing that tells where the fault is
            reason = str(error).splitlines()[0] if str(error) else "no reason given"
            sentence = (
                f"No sample could be made of {self.dataset.name_of(place)}: {type(error).__name__} ({reason}); look at "
                "that picture and its annotations, or report this with the traceback above."
            )
            return _Failure(DatasetError(sentence))


class _Collate:
    """Join samples to a batch whose tensors lie in shared memory already, if this is a loader's process.

    Otherwise a background thread would move them there, and where there is no room its error is lost: the main process
    waits for ever.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        failure = next((sample for sample in samples if isinstance(sample, _Failure)), None)
        if failure is not None:
            return failure
        batch = self.collate(samples)
        if get_worker_info() is not None:
            try:
                _share(batch)
            except RuntimeError as error:
                return _Failure(_no_shared_memory(str(error)))
        return batch


def _share(value: Any) -> None:
    if isinstance(value, Tensor):
        value.share_memory_()
    elif isinstance(value, dict):
        for item in value.values():
            _share(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _share(item)


def _no_shared_memory(reason: str) -> LoaderError:
    size = f" of {shutil.disk_usage(SHARED_MEMORY).total // 2**20} MB" if SHARED_MEMORY.is_dir() else ""
    return LoaderError(
        f"The loader's processes have no room left in shared memory ({SHARED_MEMORY}{size}: "
        f"{reason.splitlines()[0].rstrip('. ')}): enlarge it (docker run --shm-size=8g, or --ipc=host), or lower "
        "data.num_workers (eval.num_workers while evaluating); 0 needs none."
    )


class Loader(DataLoader[Any]):
    """A DataLoader that ends with a `DatasetError` or a `LoaderError` where something fails."""

    def __init__(
        self,
        dataset: Samples,
        collate: Callable[[list[Any]], Any],
        num_workers: int,
        timeout: float = WORKER_TIMEOUT,
        **options: Any,
    ) -> None:
        """Hold what is loaded and how.

        Args:
            dataset: the samples.
            collate: joins samples to a batch.
            num_workers: processes; 0 loads in the main process.
            timeout: seconds without a batch after which the processes count as hung; 0 waits for ever.
            options: further ones of DataLoader.
        """
        super().__init__(
            _FailuresAsSamples(dataset),
            collate_fn=_Collate(collate),
            num_workers=num_workers,
            timeout=timeout if num_workers else 0,
            worker_init_fn=_start_worker,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches: Iterator[Any] = iter(())
        workers: list[BaseProcess] = []
        end_workers = partial(_kill, workers)
        atexit.register(end_workers)  # they ignore what multiprocessing itself ends them with
        try:
            with _signals_held_back():
                others = set(multiprocessing.active_children())
                batches = super().__iter__()
                workers += [process for process in multiprocessing.active_children() if process not in others]
                _take_over_deaths()
            while (batch := self._next(batches, workers)) is not None:
                if isinstance(batch, _Failure):
                    raise batch.error
                yield batch
        finally:
            del batches  # asks the processes to end ...
            end_workers()  # ... and those that do not hear it are killed
            atexit.unregister(end_workers)

    def _next(self, batches: Iterator[Any], workers: list[BaseProcess]) -> Any:
        """Return the next batch or failure, or None after the last."""
        try:
            with _waiting_for(workers):
                return next(batches, None)
        except (LoaderError, RuntimeError, EOFError, OSError) as error:
            if isinstance(error, EOFError | OSError):  # a process that is ending no longer hands its batches over
                ended = wait([worker.sentinel for worker in workers], timeout=5)
                for worker in workers:
                    if worker.sentinel in ended:
                        worker.join()  # its end is seen a moment before the system has its exit code
            dead = _death_among(workers)
            _kill(workers)  # or else each that hangs would be waited for
            if dead is not None:
                raise dead from error
            if "timed out" not in str(error):
                raise
            raise LoaderError(
                f"The loader's processes gave no batch for {self.timeout:g} seconds: see whether the storage of the "
                "pictures still answers; if it is only slow, raise data.worker_timeout, or while evaluating set "
                "eval.num_workers to 0, which waits for ever."
            ) from error


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Deliver signals after the block, so that none comes between starting a process and knowing it.

    A process that is forked in the block never gets any: they stay blocked in it. To ignore them when it has started
    would be too late, because before that torch lets SIGTERM end it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread
        return
    caught: list[int] = []
    try:
        with stop_signals_handled(lambda number, _: caught.append(number)):
            # Blocked in this thread alone: another one may still take a signal, so that handler is needed as well.
            mask = (
                signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS) if hasattr(signal, "pthread_sigmask") else None
            )
            try:
                yield
            finally:
                if mask is not None:
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    finally:
        for number in caught:
            signal.raise_signal(number)


@contextmanager
def stop_signals_handled(handle: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Have `handle` called for the signals that stop a training, until the end of the block; in the main thread."""
    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            if handler is not None:  # one that was not set by Python cannot be set again
                signal.signal(number, handler)


def start_pool(num_workers: int) -> ProcessPoolExecutor:
    """Return a pool whose processes are started, leave signals to the main process, and end with it."""
    pool = ProcessPoolExecutor(num_workers, initializer=_start_worker)
    with _signals_held_back():
        for _ in range(num_workers):  # the first task starts all processes or one, as the system does it
            pool.submit(int)
    return pool


def _kill(workers: list[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


_waited_for: list[BaseProcess] = []  # the processes that must live now


@contextmanager
def _waiting_for(workers: list[BaseProcess]) -> Iterator[None]:
    """Raise a LoaderError if one of `workers` is dead, or dies meanwhile."""
    _waited_for[:] = workers
    try:
        _raise_death()
        yield
    finally:
        _waited_for.clear()


def _raise_death(*_: int | FrameType | None) -> None:
    """Handle SIGCHLD: raise only while a batch is waited for, not in the middle of a step or of a checkpoint."""
    error = _death_among(_waited_for)
    if error is not None:
        raise error


def _death_among(workers: list[BaseProcess]) -> LoaderError | None:
    code = next((worker.exitcode for worker in workers if worker.exitcode), None)
    if code is None:
        return None
    if hasattr(signal, "SIGBUS") and code == -signal.SIGBUS:
        return _no_shared_memory("bus error")
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    return LoaderError(
        f"A process of the loader {how}, which mostly means that memory ran out: lower data.num_workers "
        "(eval.num_workers while evaluating), or load without processes by 0."
    )


def _take_over_deaths() -> None:
    """Replace the handler that a DataLoader sets, which raises wherever the program happens to be."""
    # Elsewhere torch sets none either, and a death is found when the time of waiting is up.
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, _raise_death)


def _start_worker(_: int = 0) -> None:
    """Keep a process to one thread, leave signals to the main process, and end with it."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # Otherwise torch looks every five seconds whether the main process still lives, and between two samples only. The
    # parent of a process that a fork server starts is that server.
    if sys.platform == "linux" and multiprocessing.get_start_method() != "forkserver":
        ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and parent.pid != os.getppid():
            os._exit(1)  # the main process died before it was asked
