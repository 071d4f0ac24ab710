"""Videos and cameras as frames, and frames as a video."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolact.errors import DatasetError, UserError
from yolact.instances import Instances

Frame = tuple[np.ndarray, float]  # uint8 [H, W, 3] BGR, and its seconds since the first one
Write = Callable[[np.ndarray, float], object]
SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
STREAM = re.compile(r"(rtsp|rtmp|https?|udp|tcp)://", re.IGNORECASE)
DEFAULT_FPS = 25.0  # of cameras and streams that do not say theirs
CLOCK = 90_000  # ticks a second of time stamps, MPEG's own: exact for 24, 25, 29.97, 30 and 60 frames per second


def is_video(source: str) -> bool:
    """Tell whether a source is a video file, the number of a camera, or the address of a stream."""
    return bool(STREAM.match(source)) or source.isdecimal() or Path(source).suffix.lower() in SUFFIXES


class Video:
    """A video file, a camera or a stream, opened for reading once: `for image, seconds in Video("street.mp4")`.

    It has `image_size` (H, W), `fps`, and `num_frames` as the file says, which may be wrong; None for what is live.
    """

    def __init__(self, source: str) -> None:
        """Open a path, the number of a camera such as "0", or an address such as "rtsp://...".

        Raises:
            UserError: there is no such file, or a DatasetError: it gives no frame.
        """
        self.source = source
        is_live = source.isdecimal() or bool(STREAM.match(source))
        if not is_live and not Path(source).is_file():
            raise UserError(f"There is no video '{source}'; check the path.")
        self._capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
        found, self._first = self._capture.read()
        if not found:
            raise DatasetError(f"The video '{source}' gives no frames; check that it exists and plays elsewhere.")
        self._start = self._clock()
        self.image_size: tuple[int, int] = self._first.shape[:2]
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if 1 <= fps <= 1000 else DEFAULT_FPS
        self.num_frames = None if is_live else max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))) or None

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, all of one size."""
        found, frame, seconds = True, self._first, 0.0
        while found:
            if frame.shape[:2] != self.image_size:  # some streams change it
                frame = cv2.resize(frame, self.image_size[::-1])
            yield frame, seconds
            found, frame = self._capture.read()
            now = self._clock() - self._start
            seconds = now if now > seconds else seconds + 1 / self.fps  # some files say no times, or wrong ones

    def _clock(self) -> float:
        """Return the time of the frame that was read last: a camera's by the clock, a file's or stream's as it says."""
        return time.monotonic() if self.source.isdecimal() else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


@contextmanager
def write_video(path: Path, fps: float, image_size: tuple[int, int]) -> Iterator[Write]:
    """Give a function that appends frames of `image_size` (H, W) to an MP4 file, which plays even after an error.

    With PyAV it is H.264, which browsers play, and each frame keeps its time; an odd side is made even by repeating the
    last row or column. Without it, it is what OpenCV writes, MPEG-4 at a constant rate, and a line on stderr says so.

    Raises:
        UserError: the file cannot be written, or the disk is full.
    """
    try:
        write, close = (_begin_h264 if find_spec("av") else _begin_mpeg4)(path, fps, image_size)
        try:
            yield write
        finally:
            close()
    except OSError as error:
        raise UserError(
            f"The video '{path}' cannot be written ({error.strerror or error}); free space or change --output."
        ) from error


def _begin_h264(path: Path, fps: float, image_size: tuple[int, int]) -> tuple[Write, Callable[[], None]]:
    import av

    bottom, right = (side % 2 for side in image_size)
    container = av.open(str(path), "w", format="mp4")
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height = image_size[1] + right, image_size[0] + bottom
    stream.pix_fmt = "yuv420p"  # what every player knows; it has one colour for 2 x 2 pixels
    stream.options = {"crf": "20", "preset": "veryfast"}
    stream.codec_context.time_base = Fraction(1, CLOCK)
    container.start_encoding()
    last = -1

    def write(image: np.ndarray, seconds: float) -> None:
        nonlocal last
        even = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        encoded = av.VideoFrame.from_ndarray(np.asarray(even, np.uint8), format="bgr24")
        last = encoded.pts = max(round(seconds * CLOCK), last + 1)
        encoded.time_base = Fraction(1, CLOCK)
        container.mux(stream.encode(encoded))

    def close() -> None:
        with container:
            container.mux(stream.encode())

    return write, close


def _begin_mpeg4(path: Path, fps: float, image_size: tuple[int, int]) -> tuple[Write, Callable[[], None]]:
    print("note: PyAV is missing, so the video is MPEG-4, not H.264; run: pip install av", file=sys.stderr)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, image_size[::-1])
    if not writer.isOpened():
        raise OSError("OpenCV cannot open it")
    return lambda image, _: writer.write(image), writer.release


class Tracker:
    """Gives the objects of a video numbers that stay, by ByteTrack from the package `trackers`."""

    def __init__(self, fps: float) -> None:
        """Begin a video; a UserError says that the package is not installed."""
        try:
            from trackers import ByteTrackTracker
        except ImportError:
            raise UserError(
                "--track needs the package trackers, which is not installed: run `pip install trackers supervision`, "
                "or leave --track out."
            ) from None
        # Its own thresholds are made for detectors whose scores come near to 1.
        self._tracker = ByteTrackTracker(frame_rate=fps, track_activation_threshold=0.4, high_conf_det_threshold=0.4)

    def update(self, found: Instances) -> list[int]:
        """Return the number of the object that each instance of the next frame belongs to, or -1 for none yet."""
        from supervision import Detections

        if not len(found):
            return []
        boxes, scores, labels = found.boxes.numpy(), found.scores.numpy(), found.labels.numpy()
        index: Any = np.arange(len(found))
        given = Detections(xyxy=boxes, confidence=scores, class_id=labels, data={"index": index})
        tracked = self._tracker.update(given)
        numbers = np.full(len(found), -1)
        if tracked.tracker_id is not None:
            numbers[tracked.data["index"]] = tracked.tracker_id
        return numbers.tolist()
