"""Records made in worker processes are those made at once, and what ends a worker is said."""

import os
import signal
import time

import pytest
import torch

from yolact.errors import LoaderError
from yolact.evaluation import encoding
from yolact.evaluation.encoding import CHUNK, MAX_WAITING, RecordMaker
from yolact.formats import result_records
from yolact.instances import Instances
from yolact.ops.regions import regions_of


def found(number):
    """Return instances of an image of its own size, with as many objects as the number's last digit."""
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


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_records_are_there_in_order(num_workers):
    """Signals to the whole group are the main process's business."""
    count = 2 * MAX_WAITING + 5
    segm, bbox, others = [], [], []
    with RecordMaker(num_workers) as maker:
        for number in range(count):
            maker.put(found(number), number, segm, bbox)
            if number % 3 == 0:
                maker.put(found(number + 1), number, others, [])
            if number == 50 and num_workers:
                for pid in maker._pool._processes:
                    os.kill(pid, signal.SIGINT)
                    os.kill(pid, signal.SIGUSR1)
    expected = [result_records(found(number), number) for number in range(count)]
    assert segm == [record for masks, _ in expected for record in masks]
    assert bbox == [record for _, boxes in expected for record in boxes]
    assert others == [
        record for number in range(0, count, 3) for record in result_records(found(number + 1), number)[0]
    ]


def test_large_masks_do_not_wait_in_numbers(monkeypatch):
    monkeypatch.setattr(encoding, "MAX_BYTES", 400)  # about as much as an image of nine objects takes
    segm = []
    with RecordMaker(1) as maker:
        for place in range(20):
            maker.put(found(9), place, segm, [])
            assert len(segm) >= 9 * (place - 1)


def test_a_worker_that_is_killed_is_named_in_one_sentence():
    expected = pytest.raises(LoaderError, match=r"encodes masks was ended.*lower eval\.num_workers")
    with expected, RecordMaker(1) as maker:
        for number in range(CHUNK):
            maker.put(found(number), number, [], [])
        (worker,) = maker._pool._processes.values()
        os.kill(worker.pid, signal.SIGKILL)
        for number in range(1000):
            maker.put(found(number), number, [], [])
            time.sleep(0.01)
