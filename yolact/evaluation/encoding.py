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
MAX_WAITING = 64  # images whose masks wait
MAX_BYTES = 64_000_000  # of masks that wait; those of one large and crowded image may be more

Take = Callable[[list[RunLengths]], None]
Chunk = list[tuple[Instances, Take]]


class MaskEncoder:
    """Encodes the masks of images and hands them on, in the order of the calls and the last when the block ends.

    with MaskEncoder(num_workers) as encoder:
        for instances in results:
            encoder.put(instances, take)
    """

    def __init__(self, num_workers: int) -> None:
        """Encode in so many processes; 0 encodes at once."""
        self._pool = start_pool(num_workers) if num_workers else None
        self._chunk: Chunk = []
        self._waiting: deque[tuple[Future[list[list[RunLengths]]], Chunk]] = deque()

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
        self._chunk.append((instances, take))
        if len(self._chunk) == CHUNK or _num_bytes(self._chunk) > MAX_BYTES / CHUNK:
            self._submit()

    def _submit(self, last: bool = False) -> None:
        """Let a process encode the masks of the chunk; hand on what is finished, or everything after the last."""
        assert self._pool is not None
        try:
            regions = [(instances.regions, instances.image_size) for instances, _ in self._chunk]
            self._waiting.append((self._pool.submit(_encode, regions), self._chunk))
            self._chunk = []
            while self._waiting and (last or self._waiting[0][0].done() or self._too_many_wait()):
                future, chunk = self._waiting.popleft()
                for (_, take), encoded in zip(chunk, future.result(), strict=True):
                    take(encoded)
        except BrokenProcessPool as error:
            raise LoaderError(
                "A process that encodes masks was ended, which mostly means that memory ran out: lower "
                "eval.num_workers; at 0 no processes are used."
            ) from error

    def _too_many_wait(self) -> bool:
        waiting = [image for _, chunk in self._waiting for image in chunk]
        return len(waiting) > MAX_WAITING or _num_bytes(waiting) > MAX_BYTES


def _num_bytes(chunk: Chunk) -> int:
    return sum(len(region.bits) for instances, _ in chunk for region in instances.regions)


def _encode(images: list[tuple[list[MaskRegion], tuple[int, int]]]) -> list[list[RunLengths]]:
    return [[encode_region(region, image_size) for region in regions] for regions, image_size in images]
