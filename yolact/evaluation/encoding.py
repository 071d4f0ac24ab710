"""Records of picture after picture; masks are encoded in processes of their own while the next picture is detected."""

from collections import deque
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple

from yolact.data.workers import start_pool
from yolact.errors import LoaderError
from yolact.evaluation.coco import RunLengths, encode_regions, result_records
from yolact.evaluation.truth import Record
from yolact.regions import MaskRegion
from yolact.structures import Instances

TOGETHER = 8  # pictures that are handed over at a time, because handing over takes a millisecond
MOST_WAITING = 64  # pictures, which bounds what their masks take

Masks = tuple[list[MaskRegion], tuple[int, int]]  # of a picture of (H, W)


class _Waiting(NamedTuple):
    """A picture whose masks are being encoded, with the lists that its records go to."""

    instances: Instances  # without masks
    image_id: int
    segm: list[Record]
    bbox: list[Record]


class RecordMaker:
    """Appends the records of pictures to lists, which are complete after the `with` block.

    with RecordMaker(num_workers) as maker:
        for image_id, instances in results:
            maker.put(instances, image_id, segm, bbox)
    """

    def __init__(self, num_workers: int) -> None:
        """Encode in so many processes; 0 encodes at once."""
        self._pool = start_pool(num_workers) if num_workers else None
        self._collected: list[tuple[Masks, _Waiting]] = []
        self._handed_over: deque[tuple[Future[list[list[RunLengths]]], list[_Waiting]]] = deque()

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
        if self._pool is None:
            _append(_Waiting(instances, image_id, segm, bbox), None)
            return
        masks = (instances.regions, instances.image_size)
        self._collected.append((masks, _Waiting(replace(instances, regions=[]), image_id, segm, bbox)))
        if len(self._collected) == TOGETHER:
            self._hand_over()

    def _hand_over(self) -> None:
        """Let a process encode the pictures that were collected, and take what others have finished."""
        if self._pool is None or not self._collected:
            return
        try:
            encoded = self._pool.submit(_encode, [masks for masks, _ in self._collected])
        except BrokenProcessPool as error:
            raise _ended() from error
        self._handed_over.append((encoded, [waiting for _, waiting in self._collected]))
        self._collected.clear()
        while self._handed_over and (
            self._handed_over[0][0].done() or len(self._handed_over) > MOST_WAITING // TOGETHER
        ):
            self._take()

    def _take(self) -> None:
        """Append the records of the pictures that have waited longest."""
        future, pictures = self._handed_over.popleft()
        try:
            encoded = future.result()
        except BrokenProcessPool as error:
            raise _ended() from error
        for waiting, masks in zip(pictures, encoded, strict=True):
            _append(waiting, masks)


def _append(waiting: _Waiting, encoded: list[RunLengths] | None) -> None:
    masks, boxes = result_records(waiting.instances, waiting.image_id, encoded)
    waiting.segm.extend(masks)
    waiting.bbox.extend(boxes)


def _encode(pictures: list[Masks]) -> list[list[RunLengths]]:
    return [encode_regions(regions, image_size) for regions, image_size in pictures]


def _ended() -> LoaderError:
    return LoaderError(
        "A process that encodes masks was ended, which mostly means that memory ran out: lower eval.num_workers; at 0 "
        "no processes are used."
    )
