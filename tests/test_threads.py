"""Work on several items at a time: order, how far ahead items are taken, errors, and the threads that are left."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from yolact.errors import DatasetError
from yolact.threads import in_order


def test_results_come_in_order_and_a_little_ahead_whatever_takes_longest() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number
        raise DatasetError("broken")

    def work(number: int) -> tuple[int, int]:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number, torch.get_num_threads()

    before, cores = threading.active_count(), torch.get_num_threads()
    results = in_order(work, items(), 2)
    assert [next(results)[0] for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) <= 5 + 2 * 2
    results.close()
    assert threading.active_count() == before
    results = in_order(work, items(), 2)
    assert [next(results) for _ in range(20)] == [(number, max(cores // 2, 1)) for number in range(20)]
    with pytest.raises(DatasetError, match="broken"):
        next(results)
    assert (threading.active_count(), torch.get_num_threads()) == (before, cores)


def test_an_error_of_the_work_comes_at_its_place() -> None:
    results = in_order(lambda number: 6 // number, [1, 2, 0, 3], 2)
    assert [next(results), next(results)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results, None) is None
