"""Records made in processes of their own are those made at once, and what ends a process is said."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from yolact.errors import LoaderError
from yolact.evaluation import encoding
from yolact.evaluation.coco import result_records
from yolact.evaluation.encoding import MOST_WAITING, RecordMaker
from yolact.instances import Instances
from yolact.ops.regions import regions_of


def picture(number):
    """Return instances of a picture of its own size, with as many objects as the number's last digit."""
    generator, count, size = torch.Generator().manual_seed(number), number % 10, (30 + number % 7, 40)
    return Instances(
        boxes=torch.rand(count, 4, generator=generator).cumsum(1) * 10,
        scores=torch.rand(count, generator=generator),
        labels=torch.randint(0, 2, (count,), generator=generator),
        regions=regions_of(torch.rand(count, *size, generator=generator) > 0.7),
        mask_scores=torch.rand(count, generator=generator),
        image_size=size,
        class_names=["disc", "square"],
        category_ids=[3, 7],
    )


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_all_records_are_there_in_order(num_workers):
    count = 2 * MOST_WAITING + 5
    segm, bbox, other_segm, other_bbox = [], [], [], []
    with RecordMaker(num_workers) as maker:
        for number in range(count):
            maker.put(picture(number), number, segm, bbox)
            if number % 3 == 0:
                maker.put(picture(number + 1), number, other_segm, other_bbox)
    expected = [result_records(picture(number), number) for number in range(count)]
    assert segm == [record for masks, _ in expected for record in masks]
    assert bbox == [record for _, boxes in expected for record in boxes]
    others = [result_records(picture(number + 1), number) for number in range(0, count, 3)]
    assert other_segm == [record for masks, _ in others for record in masks]
    assert other_bbox == [record for _, boxes in others for record in boxes]


def test_large_masks_do_not_wait_in_numbers(monkeypatch):
    monkeypatch.setattr(encoding, "MOST_BYTES", 400)  # about as much as a picture of nine objects takes
    segm, bbox = [], []
    with RecordMaker(1) as maker:
        for place in range(20):
            maker.put(picture(9), place, segm, bbox)
            assert len(segm) >= 9 * (place - 1)
    assert [record["image_id"] for record in segm] == [place for place in range(20) for _ in range(9)]


def test_a_process_that_is_killed_is_named_in_one_sentence():
    expected = pytest.raises(LoaderError, match=r"encodes masks was ended.*lower eval\.num_workers")
    with expected, RecordMaker(1) as maker:
        maker.put(picture(3), 3, [], [])
        (worker,) = maker._pool._processes.values()
        os.kill(worker.pid, signal.SIGKILL)
        for number in range(1000):
            maker.put(picture(number), number, [], [])
            time.sleep(0.01)


def test_an_error_elsewhere_ends_the_processes():
    with pytest.raises(KeyError), RecordMaker(2) as maker:  # noqa: PT012
        for number in range(20):
            maker.put(picture(number), number, [], [])
        workers = list(maker._pool._processes.values())
        raise KeyError
    assert len(workers) == 2
    assert not any(worker.is_alive() for worker in workers)


PROGRAM = """
import os, signal, sys
from tests.evaluation.test_encoding import picture
from yolact.evaluation.encoding import RecordMaker

def started(maker):
    maker.put(picture(5), 5, segm, bbox)
    return list(maker._pool._processes)

segm, bbox = [], []
with RecordMaker(2) as maker:
    for worker in started(maker):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            os.kill(worker, number)
    for number in range(40):
        maker.put(picture(number), number, segm, bbox)
print(len(segm), flush=True)
with RecordMaker(2) as maker:
    print(*started(maker), flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with their parent")
def test_processes_leave_signals_alone_and_end_with_the_program():
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        count = int(process.stdout.readline())
        workers = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    assert count == 5 + sum(number % 10 for number in range(40))
    assert len(workers) == 2
    end = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < end, "a process outlives the program"
        time.sleep(0.05)
