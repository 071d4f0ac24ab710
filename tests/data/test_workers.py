"""What can befall the workers that load images: each ends in one sentence, and none is left behind."""

import multiprocessing
import os
import signal
import subprocess
import time
from functools import partial

import pytest
import torch

from yolact.data import workers
from yolact.data.workers import Loader, blaming, start_pool, start_worker
from yolact.errors import DatasetError, LoaderError


def make_batch(places, trouble):
    """Return one number for each place; `trouble` makes some of them fail."""
    for place in places:
        match trouble.get(place):
            case "raise":
                with blaming(f"image {place}.jpg"):
                    raise KeyError("an odd key")
            case "refuse":
                raise DatasetError("a sentence about the image")
            case "hang":
                time.sleep(1000)
            case "bus error":
                os.kill(os.getpid(), signal.SIGBUS)
    return torch.tensor(places)


def loader(num_workers, timeout=60.0, **trouble):
    """Load forty places in batches of two."""
    trouble = {int(place.removeprefix("at_")): kind for place, kind in trouble.items()}
    batches = [[first, first + 1] for first in range(0, 40, 2)]
    return Loader(partial(make_batch, trouble=trouble), batches, num_workers, timeout)


def start_late(number=1):
    time.sleep(number)
    start_worker(number)


def children():
    return {process.pid for process in multiprocessing.active_children()}


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch):
    monkeypatch.setattr(workers, "LOOK_EVERY", 0.5)
    before = children()
    yield
    end = time.monotonic() + 10
    while not children() <= before:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_come_in_order(num_workers):
    assert torch.cat(list(loader(num_workers))).tolist() == list(range(40))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_any_error_of_a_sample_is_one_sentence_that_names_the_image(num_workers, capfd):
    with pytest.raises(DatasetError, match=r"'image 5\.jpg': KeyError \('an odd key'\); look at that"):
        list(loader(num_workers, at_5="raise"))
    assert "raise KeyError" in capfd.readouterr().err  # the traceback, for who reports it


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_the_data_set_says_of_an_image_stays_as_it_is(num_workers):
    with pytest.raises(DatasetError, match=r"^a sentence about the image$"):
        list(loader(num_workers, at_7="refuse"))


def test_a_worker_that_hangs_is_found_and_killed():
    with pytest.raises(LoaderError, match=r"no batch for 1 seconds: see whether the storage"):
        list(loader(2, timeout=1.0, at_4="hang"))


def test_a_slow_worker_is_waited_for_and_closing_ends_it():
    batches = iter(loader(1, timeout=0, at_4="hang"))
    assert len(next(batches)) == len(next(batches)) == 2
    batches.close()


def test_a_killed_worker_is_told_where_a_batch_is_waited_for_and_nowhere_else():
    batches = iter(loader(2, at_8="hang", at_10="hang"))
    next(batches)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    for _ in range(50):
        time.sleep(0.01)  # torch's handler would raise here
    with pytest.raises(LoaderError, match=r"was ended by SIGKILL, .* lower data\.num_workers"):
        list(batches)


def test_a_worker_killed_while_it_is_waited_for():
    batches = iter(loader(1, at_2="hang"))
    next(batches)
    (worker,) = multiprocessing.active_children()
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {worker.pid}"])
    with pytest.raises(LoaderError, match="SIGKILL"):
        next(batches)
    killer.wait()


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="this system has no bus errors")
def test_a_bus_error_means_shared_memory():
    with pytest.raises(LoaderError, match=r"shared memory ran out .*--shm-size"):
        list(loader(2, at_4="bus error"))


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signals")
def test_signals_to_the_whole_group_leave_the_workers_alone_even_while_they_start(monkeypatch):
    monkeypatch.setattr(workers, "start_worker", start_late)
    batches = iter(loader(2))
    found = [next(batches)]  # of the first worker: the second may not have begun
    for process in multiprocessing.active_children():
        for number in (signal.SIGINT, signal.SIGUSR1):
            os.kill(process.pid, number)
    assert torch.cat([*found, *batches]).tolist() == list(range(40))


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="this system has no such signal")
def test_the_handler_of_ended_children_stays_the_callers():
    before = signal.getsignal(signal.SIGCHLD)
    list(loader(2))
    assert signal.getsignal(signal.SIGCHLD) is before


def test_processes_of_a_pool_have_one_thread_and_signals_leave_them_alone_even_while_they_start(monkeypatch):
    monkeypatch.setattr(workers, "start_worker", start_late)
    with start_pool(2) as pool:
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGUSR1)
        assert pool.submit(torch.get_num_threads).result() == 1
        assert list(pool.map(abs, [-1, 2])) == [1, 2]
