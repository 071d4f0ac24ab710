"""Videos and cameras as frames, and frames as a video; reading and writing go on in threads of their own."""

import queue
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

import cv2
import numpy as np

from yolact.errors import DatasetError, UserError

T = TypeVar("T")

SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
STREAM = re.compile(r"(rtsp|rtmp|https?|udp|tcp)://", re.IGNORECASE)
DEFAULT_FPS = 25.0  # of cameras and streams that do not say theirs
AHEAD = 4  # frames that are read, or wait to be written, while others are worked on


def is_video(source: str) -> bool:
    """Tell whether a source is a video file, the number of a camera, or the address of a stream."""
    return bool(STREAM.match(source)) or source.isdecimal() or Path(source).suffix.lower() in SUFFIXES


class Video:
    """A video file, a camera or a stream, opened for reading once: `for frame in Video("street.mp4")`.

    Attributes:
        size: (H, W) of the frames.
        fps: frames per second.
        num_frames: as the file says, which may be wrong; None for cameras and streams.
    """

    def __init__(self, source: str) -> None:
        """Open a path, the number of a camera such as "0", or an address such as "rtsp://...".

        Raises:
            UserError: there is no such file, camera or stream.
            DatasetError: it gives no frame.
        """
        self.source = source
        live = source.isdecimal() or bool(STREAM.match(source))
        if not live and not Path(source).is_file():
            raise UserError(f"There is no video '{source}'; check the path.")
        self._capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
        found, frame = self._capture.read()
        if not found:
            kind = "camera or stream" if live else "video"
            raise DatasetError(f"The {kind} '{source}' gives no frames; check that it exists and plays elsewhere.")
        self._first = frame
        self.size = (int(frame.shape[0]), int(frame.shape[1]))
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 1 <= fps <= 1000 else DEFAULT_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = None if live or count < 1 else count

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the frames, uint8 [H, W, 3] BGR, all of one size."""
        frame: np.ndarray | None = self._first
        try:
            while frame is not None:
                if frame.shape[:2] != self.size:  # some streams change it
                    frame = cv2.resize(frame, self.size[::-1])
                yield frame
                found, following = self._capture.read()
                frame = following if found else None
        finally:
            self._capture.release()


class VideoWriter:
    """An MP4 file (MPEG-4) of frames of one size, playable from the moment that it is closed, also by an error."""

    def __init__(self, path: Path, fps: float, size: tuple[int, int]) -> None:
        """Begin a file for frames of `size` (H, W).

        Raises:
            UserError: it cannot be written.
        """
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size[::-1])
        if not self._writer.isOpened():
            raise UserError(f"The video '{path}' cannot be written; give another folder by --output.")

    def write(self, frame: np.ndarray) -> None:
        """Append a frame, uint8 [H, W, 3] BGR."""
        self._writer.write(frame)

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.release()


def read_ahead(items: Iterable[T], size: int = AHEAD) -> Iterator[T]:
    """Yield `items` while a thread already takes the next ones; their errors are raised here."""
    waiting: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(size)
    stopped = threading.Event()

    def take() -> None:
        last: BaseException | None = None
        try:
            for item in items:
                if not _put(waiting, (True, item), stopped):
                    return
        except BaseException as error:  # handed over to the thread that reads
            last = error
        _put(waiting, (False, last), stopped)

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        while True:
            more, item = waiting.get()
            if not more:
                if isinstance(item, BaseException):
                    raise item
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join(timeout=5)


def _put(waiting: "queue.Queue[T]", item: T, stopped: threading.Event) -> bool:
    """Put an item, unless nobody wants it any more."""
    while not stopped.is_set():
        with suppress(queue.Full):
            waiting.put(item, timeout=0.1)
            return True
    return False


class WriteBehind(Generic[T]):
    """Hands items to `work` in a thread, in their order; leaving the block waits for the last one.

    An error of `work` is raised at the next `put` or at the end.
    """

    def __init__(self, work: Callable[[T], None], size: int = AHEAD) -> None:
        self._work = work
        self._waiting: queue.Queue[T | None] = queue.Queue(size)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, item: T) -> None:
        """Hand over an item; waits while too many are on their way."""
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def __enter__(self) -> "WriteBehind[T]":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._waiting.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:  # raised where items are put
                    self._error = error
