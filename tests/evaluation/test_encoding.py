"""Run lengths made in worker processes are those made at once, and what ends a worker is said."""

import os
import signal
import time

import pytest
import torch

from tests.made import make_instances
from yolact.errors import LoaderError
from yolact.evaluation import encoding
from yolact.evaluation.encoding import CHUNK, MaskEncoder


def found(number):
    """Return instances of an image of its own size, with as many objects as the number's last digit."""
    generator, count, size = torch.Generator().manual_seed(number), number % 10, (30 + number % 7, 40)
    return make_instances(torch.rand(count, *size, generator=generator).numpy() > 0.7)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_all_run_lengths_are_there_in_order(num_workers):
    """Signals to the whole group are the main process's business."""
    images, taken = [found(number) for number in range(133)], []
    with MaskEncoder(num_workers) as encoder:
        for number, image in enumerate(images):
            encoder.put(image, lambda encoded, number=number: taken.append((number, encoded)))
            if number == 50 and num_workers:
                for pid in encoder._pool._processes:
                    os.kill(pid, signal.SIGINT)
                    os.kill(pid, signal.SIGUSR1)
    assert taken == [(number, image.rle()) for number, image in enumerate(images)]


def test_large_masks_do_not_wait_in_numbers(monkeypatch):
    monkeypatch.setattr(encoding, "MAX_BYTES", 5000)  # about as much as an image of nine objects takes
    taken = []
    with MaskEncoder(1) as encoder:
        for place in range(20):
            encoder.put(found(9), taken.append)
            assert len(taken) >= place - 1


def test_a_worker_that_is_killed_is_named_in_one_sentence():
    expected = pytest.raises(LoaderError, match=r"encodes masks was ended.*lower eval\.num_workers")
    with expected, MaskEncoder(1) as encoder:
        for number in range(CHUNK):
            encoder.put(found(number), list)
        (worker,) = encoder._pool._processes.values()
        os.kill(worker.pid, signal.SIGKILL)
        for number in range(1000):
            encoder.put(found(number), list)
            time.sleep(0.01)
