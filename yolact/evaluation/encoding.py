"""Run lengths of image after image, made in worker processes while the next images are detected."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

from yolact.data.workers import start_pool
from yolact.errors import LoaderError
from yolact.instances import Instances
from yolact.ops.regions import MaskRegion
from yolact.ops.rle import RunLengths, encode_region

CHUNK = 8  # images that a process gets at once, as handing them over takes as long as encoding some masks
MAX_BYTES = 64_000_000  # of masks that wait; those of one large and crowded image may be more
BYTES_OF_A_MASK = 500  # beside its pixels

Take = Callable[[list[RunLengths]], None]
Masks = tuple[list[MaskRegion], tuple[int, int]]  # of an image of (H, W) pixels


class MaskEncoder:
    """Encodes the masks of images and hands them on, in the order of the calls and the last when the block ends.

    with MaskEncoder(num_workers) as encoder:
        for instances in results:
            encoder.put(instances, take)
    """

    def __init__(self, num_workers: int) -> None:
        """Encode in so many processes; 0 encodes at once."""
        self._pool = start_pool(num_workers) if num_workers else None
        self._masks, self._takes, self._num_bytes = list[Masks](), list[Take](), 0  # of the chunk
        self._waiting: deque[tuple[Future[list[list[RunLengths]]], list[Take], int]] = deque()

    def __enter__(self) -> "MaskEncoder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None:
            return
        try:
            if kind is None:
                self._submit(last=True)
        finally:
            self._pool.shutdown(cancel_futures=True)

    def put(self, instances: Instances, take: Take) -> None:
        """Have `take` called with the run lengths of an image's masks.

        Raises:
            LoaderError: a process ended.
        """
        if self._pool is None:
            take(instances.rle())
            return
        self._masks.append((instances.regions, instances.image_size))
        self._takes.append(take)
        self._num_bytes += sum(BYTES_OF_A_MASK + len(region.bits) for region in instances.regions)
        if len(self._takes) == CHUNK or self._num_bytes > MAX_BYTES / CHUNK:
            self._submit()

    def _submit(self, last: bool = False) -> None:
        """Let a process encode the masks of the chunk; hand on what is finished, or everything after the last."""
        assert self._pool is not None
        waiting = self._waiting
        try:
            waiting.append((self._pool.submit(_encode, self._masks), self._takes, self._num_bytes))
            self._masks, self._takes, self._num_bytes = [], [], 0
            while waiting and (last or waiting[0][0].done() or sum(size for *_, size in waiting) > MAX_BYTES):
                future, takes, _ = waiting.popleft()
                for take, encoded in zip(takes, future.result(), strict=True):
                    take(encoded)
        except BrokenProcessPool as error:
            raise LoaderError(
                "A process that encodes masks was ended, which mostly means that memory ran out: lower "
                "eval.num_workers; at 0 no processes are used."
            ) from error


def _encode(images: list[Masks]) -> list[list[RunLengths]]:
    return [[encode_region(region, image_size) for region in regions] for regions, image_size in images]
