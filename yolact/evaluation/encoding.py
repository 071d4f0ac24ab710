"""Records of picture after picture; masks are encoded in processes of their own while the next picture is detected."""

from collections import deque
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import NamedTuple

from yolact.data.workers import start_pool
from yolact.errors import LoaderError
from yolact.evaluation.coco import RunLengths, encode_regions, result_records
from yolact.evaluation.truth import Record
from yolact.ops.regions import MaskRegion
from yolact.structures import Instances

TOGETHER = 8  # pictures that are handed over at a time, as each time takes as long as some masks
MOST_WAITING = 64  # pictures whose masks wait
MOST_BYTES = 64_000_000  # of masks that wait; those of one large and crowded picture may be more


class _Picture(NamedTuple):
    """A picture whose masks are being encoded, with the lists that its records go to."""

    instances: Instances
    image_id: int
    segm: list[Record]
    bbox: list[Record]
    num_bytes: int  # of its masks


class RecordMaker:
    """Appends the records of pictures to lists, which are complete after the `with` block.

    with RecordMaker(num_workers) as maker:
        for image_id, instances in results:
            maker.put(instances, image_id, segm, bbox)
    """

    def __init__(self, num_workers: int) -> None:
        """Encode in so many processes; 0 encodes at once."""
        self._pool = start_pool(num_workers) if num_workers else None
        self._collected: list[_Picture] = []  # until they are handed over together
        self._handed_over: deque[tuple[Future[list[list[RunLengths]]], list[_Picture]]] = deque()

    def __enter__(self) -> "RecordMaker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._hand_over()
                while self._handed_over:
                    self._take()
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def put(self, instances: Instances, image_id: int, segm: list[Record], bbox: list[Record]) -> None:
        """Append a picture's mask records to `segm` and its box records to `bbox`, in the order of the calls.

        Raises:
            LoaderError: a process ended.
        """
        num_bytes = sum(len(region.bits) for region in instances.regions)
        picture = _Picture(instances, image_id, segm, bbox, num_bytes)
        if self._pool is None:
            _append(picture, None)
            return
        self._collected.append(picture)
        if len(self._collected) == TOGETHER or _num_bytes(self._collected) > MOST_BYTES / TOGETHER:
            self._hand_over()

    def _hand_over(self) -> None:
        """Let a process encode the masks that were collected, and take what others have finished."""
        if self._pool is None or not self._collected:
            return
        masks = [(picture.instances.regions, picture.instances.image_size) for picture in self._collected]
        try:
            encoded = self._pool.submit(_encode, masks)
        except BrokenProcessPool as error:
            raise _ended() from error
        self._handed_over.append((encoded, self._collected))
        self._collected = []
        while self._handed_over and (self._handed_over[0][0].done() or self._too_many_wait()):
            self._take()

    def _too_many_wait(self) -> bool:
        waiting = [picture for _, pictures in self._handed_over for picture in pictures]
        return len(waiting) > MOST_WAITING or _num_bytes(waiting) > MOST_BYTES

    def _take(self) -> None:
        """Append the records of the pictures that have waited longest."""
        future, pictures = self._handed_over.popleft()
        try:
            encoded = future.result()
        except BrokenProcessPool as error:
            raise _ended() from error
        for picture, masks in zip(pictures, encoded, strict=True):
            _append(picture, masks)


def _num_bytes(pictures: list[_Picture]) -> int:
    return sum(picture.num_bytes for picture in pictures)


def _append(picture: _Picture, encoded: list[RunLengths] | None) -> None:
    masks, boxes = result_records(picture.instances, picture.image_id, encoded)
    picture.segm.extend(masks)
    picture.bbox.extend(boxes)


def _encode(pictures: list[tuple[list[MaskRegion], tuple[int, int]]]) -> list[list[RunLengths]]:
    return [encode_regions(regions, image_size) for regions, image_size in pictures]


def _ended() -> LoaderError:
    return LoaderError(
        "A process that encodes masks was ended, which mostly means that memory ran out: lower eval.num_workers; at 0 "
        "no processes are used."
    )
