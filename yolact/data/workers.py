"""A DataLoader that fails in one sentence, and pools of processes that leave signals to the main one."""

import multiprocessing
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from yolact.errors import DatasetError, LoaderError

WORKER_TIMEOUT = 300.0  # seconds without a batch after which the workers count as hung
# Seconds between two looks at whether the workers live: torch's own handler of their deaths raises wherever the program
# happens to be, in the middle of a step or of a checkpoint.
LOOK_EVERY = 5.0
# Signals that a terminal or a scheduler sends to the whole group, and that the main process answers alone.
GROUP_SIGNALS = {getattr(signal, name) for name in ("SIGINT", "SIGUSR1") if hasattr(signal, name)}


@contextmanager
def blaming(file_name: str) -> Iterator[None]:
    """Turn any error of a sample into a DatasetError that names its image; the traceback is printed."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:
        print(traceback.format_exc(), file=sys.stderr)  # the one thing that tells where the fault is
        reason = str(error).splitlines()[0] if str(error) else "no reason given"
        raise DatasetError(
            f"No sample could be made of '{file_name}': {type(error).__name__} ({reason}); look at that image and its "
            "annotations, or report this with the traceback above."
        ) from error


class _Batches(Dataset[Any]):
    """Batches, or in their place the error that prevents them: DataLoader would bury it."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make

    def __getitem__(self, places: Any) -> Any:
        try:
            return self.make(places)
        except DatasetError as error:
            return error


class Loader(DataLoader[Any]):
    """A DataLoader that ends with a `DatasetError` or a `LoaderError` where something fails.

    Args:
        make_batch: gets one of `places` and returns a batch.
        places: what each batch is made of.
        num_workers: processes; 0 loads in the main process.
        timeout: seconds without a batch after which the workers count as hung; 0 waits for ever.
    """

    def __init__(
        self, make_batch: Callable[[Any], Any], places: Iterable[Any], num_workers: int, timeout: float = WORKER_TIMEOUT
    ) -> None:
        super().__init__(
            _Batches(make_batch),
            batch_size=None,  # the samples of a batch are joined already
            sampler=places,
            num_workers=num_workers,
            timeout=LOOK_EVERY if num_workers else 0,
            worker_init_fn=start_worker,
            pin_memory=torch.cuda.is_available(),
        )
        self.worker_timeout = timeout

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
        with _held_signals():
            batches = super().__iter__()
        workers = getattr(batches, "_workers", [])
        if handler is not None and workers and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)  # torch replaces it for good
        try:
            while (batch := self._next(batches, workers)) is not None:
                if isinstance(batch, DatasetError):
                    raise batch
                yield batch
        except LoaderError:
            for worker in workers:  # torch would wait for each that hangs
                worker.kill()
            raise
        finally:
            del batches  # which ends the workers, also where the traceback of an error keeps this frame

    def _next(self, batches: Iterator[Any], workers: list[multiprocessing.Process]) -> Any:
        """Return the next batch or error, or None after the last."""
        start = time.monotonic()
        while True:
            try:
                return next(batches, None)
            except (RuntimeError, EOFError, OSError) as error:
                # A worker's pipe closes just before it ends.
                if death := _death_among(workers, wait=isinstance(error, EOFError | OSError)):
                    raise death from error
                if "timed out" not in str(error):
                    raise
                if 0 < self.worker_timeout < time.monotonic() - start + LOOK_EVERY / 2:
                    raise LoaderError(
                        f"The loader's workers gave no batch for {self.worker_timeout:g} seconds: see whether the "
                        "storage of the images still answers; if it is only slow, raise data.worker_timeout, or while "
                        "evaluating set eval.num_workers to 0, which waits for ever."
                    ) from error


def _death_among(workers: list[multiprocessing.Process], wait: bool) -> LoaderError | None:
    """Return the error of a worker that ended; `wait` where one is about to."""
    deadline = time.monotonic() + (LOOK_EVERY if wait else 0)
    while not (codes := [worker.exitcode for worker in workers if worker.exitcode is not None]):
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.05)
    code = codes[0]
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
    cause = "memory ran out"
    if hasattr(signal, "SIGBUS") and code == -signal.SIGBUS:
        cause = "shared memory ran out (docker run --shm-size=8g, or --ipc=host)"
    return LoaderError(
        f"A worker of the loader {how}, which mostly means that {cause}: lower data.num_workers "
        "(eval.num_workers while evaluating), or load without workers by 0."
    )


def start_pool(num_workers: int) -> ProcessPoolExecutor:
    """Return a pool of processes that leave signals to the main process."""
    pool = ProcessPoolExecutor(num_workers, initializer=start_worker)
    with _held_signals():
        pool.submit(int)  # a pool starts its processes with its first job
    return pool


@contextmanager
def _held_signals() -> Iterator[None]:
    """Hold back the group's signals while workers start: one that came before `start_worker` would end its process."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(_: int = 0) -> None:
    """Keep a worker to one thread; the main process decides what a signal to the whole group means."""
    for number in GROUP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
