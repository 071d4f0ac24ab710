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

TOGETHER = 8  # pictures that are handed over at a time, as each time takes as long as some masks
MOST_WAITING = 64  # pictures whose masks wait
MOST_BYTES = 64_000_000  # of masks that wait; those of one large and crowded picture may be more

Masks = tuple[list[MaskRegion], tuple[int, int]]  # of a picture of (H, W)


class _Picture(NamedTuple):
    """A picture whose masks are being encoded, with the lists that its records go to."""

    instances: Instances  # without masks
    image_id: int
    segm: list[Record]
    bbox: list[Record]


class _Task(NamedTuple):
    """What a process encodes."""

    encoded: "Future[list[list[RunLengths]]]"
    pictures: list[_Picture]
    num_bytes: int


class RecordMaker:
    """Appends the records of pictures to lists, which are complete after the `with` block.

    with RecordMaker(num_workers) as maker:
        for image_id, instances in results:
            maker.put(instances, image_id, segm, bbox)
    """

    def __init__(self, num_workers: int) -> None:
        """Encode in so many processes; 0 encodes at once."""
        self._pool = start_pool(num_workers) if num_workers else None
        self._masks: list[Masks] = []  # collected until they are handed over together
        self._pictures: list[_Picture] = []
        self._tasks: deque[_Task] = deque()

    def __enter__(self) -> "RecordMaker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._hand_over()
                while self._tasks:
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
            _append(_Picture(instances, image_id, segm, bbox), None)
            return
        self._masks.append((instances.regions, instances.image_size))
        self._pictures.append(_Picture(replace(instances, regions=[]), image_id, segm, bbox))
        if len(self._masks) == TOGETHER or _num_bytes(self._masks) > MOST_BYTES / TOGETHER:
            self._hand_over()

    def _hand_over(self) -> None:
        """Let a process encode the masks that were collected, and take what others have finished."""
        if self._pool is None or not self._masks:
            return
        try:
            encoded = self._pool.submit(_encode, self._masks)
        except BrokenProcessPool as error:
            raise _ended() from error
        self._tasks.append(_Task(encoded, self._pictures, _num_bytes(self._masks)))
        self._masks, self._pictures = [], []
        while self._tasks and (self._tasks[0].encoded.done() or self._too_many_wait()):
            self._take()

    def _too_many_wait(self) -> bool:
        num_pictures = sum(len(task.pictures) for task in self._tasks)
        return num_pictures > MOST_WAITING or sum(task.num_bytes for task in self._tasks) > MOST_BYTES

    def _take(self) -> None:
        """Append the records of the pictures that have waited longest."""
        task = self._tasks.popleft()
        try:
            encoded = task.encoded.result()
        except BrokenProcessPool as error:
            raise _ended() from error
        for picture, masks in zip(task.pictures, encoded, strict=True):
            _append(picture, masks)


def _num_bytes(pictures: list[Masks]) -> int:
    return sum(len(region.bits) for regions, _ in pictures for region in regions)


def _append(picture: _Picture, encoded: list[RunLengths] | None) -> None:
    masks, boxes = result_records(picture.instances, picture.image_id, encoded)
    picture.segm.extend(masks)
    picture.bbox.extend(boxes)


def _encode(pictures: list[Masks]) -> list[list[RunLengths]]:
    return [encode_regions(regions, image_size) for regions, image_size in pictures]


def _ended() -> LoaderError:
    return LoaderError(
        "A process that encodes masks was ended, which mostly means that memory ran out: lower eval.num_workers; at 0 "
        "no processes are used."
    )
