"""Work on several items at the same time, with the results in the order of the items."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")


def in_order(function: Callable[[S], T], items: Iterable[S], num_threads: int) -> Iterator[T]:
    """Yield `function(item)` for each item, computed in threads that share PyTorch's cores.

    Items are taken in the caller's thread, no more than twice as many as there are threads before their results are.
    An error, of an item or of the items, ends it at its place in the order.
    """
    cores = torch.get_num_threads()
    # PyTorch's number of threads is each thread's own; one that begins would take all cores.
    pool = ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(max(cores // num_threads, 1),))
    waiting: deque[Future[T]] = deque()
    iterator, failure = iter(items), None
    try:
        while failure is None:
            try:
                waiting.append(pool.submit(function, next(iterator)))
            except (Exception, KeyboardInterrupt) as error:  # StopIteration, too; the results before it come first
                failure = error
            while waiting and (failure or len(waiting) >= 2 * num_threads or waiting[0].done()):
                yield waiting.popleft().result()
        if not isinstance(failure, StopIteration):
            raise failure
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # what threads that begin later take
