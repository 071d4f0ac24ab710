"""Records of image after image; masks are encoded in worker processes while the next image is detected."""

from collections import deque
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import NamedTuple

from yolact.data.workers import start_pool
from yolact.errors import LoaderError
from yolact.formats import Record, result_records
from yolact.instances import Instances
from yolact.ops.regions import MaskRegion
from yolact.ops.rle import RunLengths, encode_region

CHUNK = 8  # images that a process gets at once, as handing them over takes as long as encoding some masks
MAX_WAITING = 64  # images whose masks wait
MAX_BYTES = 64_000_000  # of masks that wait; those of one large and crowded image may be more


class _Image(NamedTuple):
    """An image whose masks are being encoded, with the lists that its records go to."""

    instances: Instances
    image_id: int
    segm: list[Record]
    bbox: list[Record]
    num_bytes: int  # of its masks


class RecordMaker:
    """Appends the records of images to lists, which are complete after the `with` block.

    with RecordMaker(num_workers) as maker:
        for image_id, instances in results:
            maker.put(instances, image_id, segm, bbox)
    """

    def __init__(self, num_workers: int) -> None:
        """Encode in so many processes; 0 encodes at once."""
        self._pool = start_pool(num_workers) if num_workers else None
        self._chunk: list[_Image] = []
        self._waiting: deque[tuple[Future[list[list[RunLengths]]], list[_Image]]] = deque()

    def __enter__(self) -> "RecordMaker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._submit()
                while self._waiting:
                    self._take()
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)

    def put(self, instances: Instances, image_id: int, segm: list[Record], bbox: list[Record]) -> None:
        """Append an image's mask records to `segm` and its box records to `bbox`, in the order of the calls.

        Raises:
            LoaderError: a process ended.
        """
        image = _Image(instances, image_id, segm, bbox, sum(len(region.bits) for region in instances.regions))
        if self._pool is None:
            _append(image, None)
            return
        self._chunk.append(image)
        if len(self._chunk) == CHUNK or _num_bytes(self._chunk) > MAX_BYTES / CHUNK:
            self._submit()

    def _submit(self) -> None:
        """Let a process encode the masks of the chunk, and take what others have finished."""
        if self._pool is None or not self._chunk:
            return
        chunk, self._chunk = self._chunk, []
        try:
            future = self._pool.submit(_encode, [(one.instances.regions, one.instances.image_size) for one in chunk])
        except BrokenProcessPool as error:
            raise _ended() from error
        self._waiting.append((future, chunk))
        while self._waiting and (self._waiting[0][0].done() or self._too_many_wait()):
            self._take()

    def _too_many_wait(self) -> bool:
        waiting = [image for _, chunk in self._waiting for image in chunk]
        return len(waiting) > MAX_WAITING or _num_bytes(waiting) > MAX_BYTES

    def _take(self) -> None:
        """Append the records of the images that have waited longest."""
        future, chunk = self._waiting.popleft()
        try:
            encoded = future.result()
        except BrokenProcessPool as error:
            raise _ended() from error
        for image, masks in zip(chunk, encoded, strict=True):
            _append(image, masks)


def _num_bytes(images: list[_Image]) -> int:
    return sum(image.num_bytes for image in images)


def _append(image: _Image, encoded: list[RunLengths] | None) -> None:
    masks, boxes = result_records(image.instances, image.image_id, encoded)
    image.segm.extend(masks)
    image.bbox.extend(boxes)


def _encode(images: list[tuple[list[MaskRegion], tuple[int, int]]]) -> list[list[RunLengths]]:
    return [[encode_region(region, image_size) for region in regions] for regions, image_size in images]


def _ended() -> LoaderError:
    return LoaderError(
        "A process that encodes masks was ended, which mostly means that memory ran out: lower eval.num_workers; at 0 "
        "no processes are used."
    )
