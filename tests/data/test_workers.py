"""What can befall the processes that load pictures: each ends in one sentence, and none is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from yolact.data.workers import STOP_SIGNALS, Loader
from yolact.errors import DatasetError, LoaderError

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="for Linux")


class Samples:
    """Tensors of one number each; `trouble` makes some of them fail."""

    def __init__(self, length=40, trouble=None):
        self.length, self.trouble = length, trouble or {}

    def __len__(self):
        return self.length

    def name_of(self, place):
        return f"'picture {place}.jpg'"

    def __getitem__(self, place):
        kind = self.trouble.get(place)
        if kind == "raise":
            raise KeyError("an odd key")
        if kind == "refuse":
            raise DatasetError("a sentence about the picture")
        if kind == "hang":
            time.sleep(1000)
        if kind == "bus error":
            os.kill(os.getpid(), signal.SIGBUS)
        return torch.tensor([place])


def loader(num_workers, timeout=60.0, **trouble):
    places = {int(place.removeprefix("at_")): kind for place, kind in trouble.items()}
    return Loader(Samples(trouble=places), torch.stack, num_workers, timeout, batch_size=2)


def children():
    return {process.pid for process in multiprocessing.active_children()}


@pytest.fixture(autouse=True)
def _nothing_stays():
    before = children()
    yield
    assert children() <= before


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_come_in_order(num_workers):
    assert torch.cat(list(loader(num_workers))).flatten().tolist() == list(range(40))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_any_error_of_a_sample_is_one_sentence_that_names_the_picture(num_workers, capfd):
    with pytest.raises(DatasetError, match=r"'picture 5\.jpg': KeyError \('an odd key'\); look at that") as caught:
        list(loader(num_workers, at_5="raise"))
    assert "\n" not in str(caught.value)
    assert "raise KeyError" in capfd.readouterr().err  # the traceback, for who reports it


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_the_data_set_says_of_a_picture_stays_as_it_is(num_workers):
    with pytest.raises(DatasetError, match=r"^a sentence about the picture$"):
        list(loader(num_workers, at_7="refuse"))


def test_a_process_that_hangs_is_found_and_killed():
    with pytest.raises(LoaderError, match=r"no batch for 1 seconds: see whether the storage"):
        list(loader(2, timeout=1.0, at_4="hang"))


def test_closing_ends_a_process_that_hangs():
    batches = iter(loader(1, at_4="hang"))
    next(batches)
    batches.close()


def test_a_killed_process_is_told_where_a_batch_is_waited_for_and_nowhere_else():
    batches = iter(loader(2, at_8="hang", at_10="hang"))
    next(batches)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    for _ in range(50):
        time.sleep(0.01)  # torch's handler would raise here
    with pytest.raises(LoaderError, match=r"was ended by SIGKILL, .* lower data\.num_workers"):
        list(batches)


def test_a_process_killed_while_it_is_waited_for():
    batches = iter(loader(1, at_2="hang"))
    next(batches)
    (worker,) = multiprocessing.active_children()
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.5; kill -9 {worker.pid}"])
    with pytest.raises(LoaderError, match="SIGKILL"):
        next(batches)
    killer.wait()


def test_a_process_killed_while_it_hands_a_batch_over():
    batches = loader(1)
    assert next(iter(batches)).tolist() == [[0], [1]]
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()

    def cut_off():
        os.kill(worker.pid, signal.SIGKILL)
        raise EOFError  # of the connection over which shared memory comes
        yield

    with pytest.raises(LoaderError, match="SIGKILL"):
        batches._next(cut_off(), [worker])


@LINUX
def test_a_bus_error_means_shared_memory():
    with pytest.raises(LoaderError, match=r"no room left in shared memory .*--shm-size"):
        list(loader(2, at_4="bus error"))


def test_signals_to_the_whole_group_leave_the_processes_alone():
    batches = iter(loader(2))
    found = [next(batches)]
    for process in multiprocessing.active_children():
        for number in STOP_SIGNALS:
            os.kill(process.pid, number)
    assert torch.cat([*found, *batches]).flatten().tolist() == list(range(40))


def test_a_signal_while_processes_start_is_delivered_after_it(monkeypatch):
    caught = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: caught.append(len(children())))
    start = multiprocessing.Process.start

    def interrupted(process):
        os.kill(os.getpid(), signal.SIGTERM)
        start(process)

    monkeypatch.setattr(multiprocessing.Process, "start", interrupted)
    try:
        batches = iter(loader(2))
        next(batches)
        batches.close()
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert set(caught) == {2}  # one or both, as equal signals that wait may become one


ORPHANS = """
import sys, time, multiprocessing, cv2
sys.path.insert(0, "tests/data")
from test_workers import loader
from torch.utils.data import get_worker_info
cv2.setNumThreads = lambda _: time.sleep({start} * get_worker_info().id)  # a part of the second process's start
batches = iter(loader(2, at_2="hang", at_4="hang"))
next(batches)
print(*[process.pid for process in multiprocessing.active_children()], flush=True)
next(batches)
"""


@LINUX
@pytest.mark.parametrize("start", [0, 2], ids=["at work", "while one starts"])
def test_processes_end_with_a_killed_program(start):
    orphans = [sys.executable, "-c", ORPHANS.format(start=start)]
    with subprocess.Popen(orphans, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        pids = [int(pid) for pid in program.stdout.readline().split()]
        assert len(pids) == 2
        program.kill()
    end = time.monotonic() + 60
    while any(map(runs, pids)):
        assert time.monotonic() < end
        time.sleep(0.05)


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


UNREAD = """
import sys
sys.path.insert(0, "tests/data")
from test_workers import loader
batches = iter(loader(2, at_2="hang"))
next(batches)
sys.exit(7)  # with the iterator still alive
"""


def test_a_program_ends_although_nobody_closed_its_batches():
    assert subprocess.run([sys.executable, "-c", UNREAD], cwd=ROOT, timeout=120, check=False).returncode == 7


SMALL = """
import sys, torch
sys.path.insert(0, "tests/data")
from test_workers import Samples
from yolact.data.workers import Loader
from yolact.errors import LoaderError
batches = Loader(Samples(), lambda samples: torch.zeros(4, 1000, 1000), 2, timeout=60, batch_size=4)
try:
    print(len(list(batches)))
except LoaderError as error:
    print(error)
"""


@LINUX
def test_a_small_shared_memory_is_one_sentence(tmp_path):
    """As in Docker, which has 64 MB of it; plain DataLoader waits for ever here."""
    mount = "mount -t tmpfs -o size=8m none /dev/shm"
    if subprocess.run(["unshare", "-m", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small /dev/shm")
    (tmp_path / "small.py").write_text(SMALL)
    command = f"{mount} && exec {sys.executable} {tmp_path / 'small.py'}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert "no room left in shared memory (/dev/shm of 8 MB: " in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1
