"""Videos and cameras as frames, and frames as a video."""

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolact.errors import DatasetError, UserError
from yolact.instances import Instances

Frame = tuple[np.ndarray, float]  # uint8 [H, W, 3] BGR, and its seconds since the first one
Write = Callable[[np.ndarray, float], object]
SUFFIXES = {
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"),
    *(".3gp", ".ts", ".mts", ".m2ts", ".flv", ".ogv"),
}
MP4_SOUND = {"aac", "mp3", "mp3float", "opus", "flac", "alac", "ac3", "eac3"}  # FFmpeg's names
WITH_COUNTS = {".mp4", ".mov", ".m4v", ".avi"}  # that say how many frames they have
ROUNDING = 1  # frames by which they may say too many
STREAM = re.compile(r"(rtsp|rtmp|https?|udp|tcp)://", re.IGNORECASE)
DEFAULT_FPS = 25.0  # of cameras and streams that do not say theirs
NUM_ALIKE = 9  # frames after the first one
LONGEST_STILL = 60  # seconds by which a copy at a constant rate follows times that leap
CLOCK = 90_000  # ticks a second of time stamps, MPEG's own: exact for 24, 25, 29.97, 30 and 60 frames per second


def is_video(source: str) -> bool:
    """Tell whether a source is a video file, the address of a stream, or the number of a camera and no path."""
    is_camera = source.isdecimal() and not os.path.exists(source)
    return bool(STREAM.match(source)) or is_camera or Path(source).suffix.lower() in SUFFIXES


class Video:
    """A video file, a camera or a stream, opened for reading once: `for image, seconds in Video("street.mp4")`.

    PyAV reads files where it is installed, else OpenCV; both turn the frames of phones upright.

    Attributes:
        image_size: (H, W).
        fps: frames per second, on average.
        num_frames: as the file says, which may be wrong; None for what is live.
        num_damaged: frames so far that could not be decoded, or not whole; in the end also those that are missing.
        is_finished: whether the last frame was read.
        start: seconds of the first frame in the file.
    """

    def __init__(self, source: str) -> None:
        """Open a path, the number of a camera such as "0", or an address such as "rtsp://...".

        Raises:
            UserError: there is no such file, or a DatasetError: it gives no frame.
        """
        self.source, self.num_damaged, self.is_finished, self.start = source, 0, False, 0.0
        self.is_live = source.isdecimal() or bool(STREAM.match(source))
        if not self.is_live and not os.path.isfile(source):
            raise UserError(f"There is no video '{source}'; check the path.")
        self.fps = DEFAULT_FPS
        self.num_frames: int | None = None
        self._num_promised = 0
        self._frames = self._by_opencv() if self.is_live or find_spec("av") is None else self._by_pyav()
        first = next(self._frames, None)
        if first is None:
            raise DatasetError(f"The video '{source}' gives no frames; check that it exists and plays elsewhere.")
        self.start = first[1] or 0.0
        self._first, self.image_size = first, (first[0].shape[0], first[0].shape[1])

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames, all of one size."""
        seconds, count = -1 / self.fps, 0
        for frame, time_in_file in chain([self._first], self._frames):
            count += 1
            if frame.shape[:2] != self.image_size:  # some streams change it
                frame = cv2.resize(frame, self.image_size[::-1])
            now = seconds if time_in_file is None else time_in_file - self.start
            seconds = now if now > seconds else seconds + 1 / self.fps  # some files say no times, or wrong ones
            yield frame, seconds
        self.is_finished = True
        self.num_damaged = max(self.num_damaged, self._num_promised - count - ROUNDING)

    def _describe(self, fps: float, num_frames: float, num_promised: int) -> None:
        self._num_promised = num_promised
        self.fps = fps if 0.001 <= fps <= 1000 else DEFAULT_FPS
        self.num_frames = None if self.is_live else max(0, int(num_frames)) or None

    def _by_pyav(self) -> Iterator[tuple[np.ndarray, float | None]]:
        """Yield frames and their seconds in the file."""
        import av

        try:
            with av.open(self.source) as container:
                stream = container.streams.best("video")
                if not isinstance(stream, av.VideoStream):
                    return
                stream.thread_type = "AUTO"
                fps, length = float(stream.average_rate or 0), (container.duration or 0) / av.time_base
                self._describe(fps, stream.frames or round(fps * length), stream.frames)
                for packet in container.demux(stream):
                    self._num_promised -= packet.is_discard  # cut off without encoding anew
                    try:
                        decoded = packet.decode()
                    except av.FFmpegError:
                        self.num_damaged += 1
                        continue
                    for frame in decoded:
                        self.num_damaged += frame.is_corrupt
                        turns = round(frame.rotation / 90)  # counter-clockwise
                        yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), turns)), frame.time
        except av.FFmpegError:  # the file is no video, or ends in the middle
            self.num_damaged += 1

    def _by_opencv(self) -> Iterator[tuple[np.ndarray, float | None]]:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else damaged frames fill the terminal
        capture = cv2.VideoCapture(int(self.source) if self.source.isdecimal() else self.source)
        fps, num_frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        is_exact = not self.is_live and Path(self.source).suffix.lower() in WITH_COUNTS
        self._describe(fps, num_frames, int(num_frames) if is_exact else 0)
        is_camera, alike, first = self.source.isdecimal(), True, None
        for number, (is_read, frame) in enumerate(iter(capture.read, None)):
            if not is_read:
                return
            first = frame if first is None else first
            alike = alike and (number > NUM_ALIKE or np.array_equal(frame, first))
            if alike and number == NUM_ALIKE:
                what = f"the first frames of '{self.source}' are all alike, as OpenCV makes those of interlaced videos"
                print(f"note: {what}; where they should not be, run: pip install av", file=sys.stderr)
            yield frame, time.monotonic() if is_camera else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


@contextmanager
def write_video(path: Path, fps: float, image_size: tuple[int, int], sound: Video | None = None) -> Iterator[Write]:
    """Give a function that appends frames of `image_size` (H, W) to an MP4 file, which plays even after an error
    in what gives them; where the file itself cannot be written, nothing of it stays.

    With PyAV it is H.264, which browsers play, each frame keeps its time, and the sound of the video `sound` is copied;
    an odd side is made even by repeating the last row or column. Without it, it is what OpenCV writes, MPEG-4 at a
    constant rate, and a line on stderr says so.

    Raises:
        UserError: the file cannot be written, or the disk is full.
    """
    try:
        if find_spec("av"):
            write, close = _begin_h264(path, fps, image_size, sound)
        else:
            write, close = _begin_mpeg4(path, fps, image_size)
        try:
            yield write
        finally:
            close()
    except OSError as error:
        if os.access(path, os.W_OK) and not path.is_dir():  # it was opened
            path.unlink()
        raise UserError(
            f"The video '{path}' cannot be written ({error.strerror or error}); free space or change --output."
        ) from error


def _begin_h264(
    path: Path, fps: float, image_size: tuple[int, int], sound: Video | None
) -> tuple[Write, Callable[[], None]]:
    import av

    bottom, right = (side % 2 for side in image_size)
    container = av.open(str(path), "w", format="mp4")
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.width, stream.height = image_size[1] + right, image_size[0] + bottom
    stream.pix_fmt = "yuv420p"  # what every player knows; it has one colour for 2 x 2 pixels
    stream.options = {"crf": "20", "preset": "veryfast"}
    stream.codec_context.time_base = Fraction(1, CLOCK)
    audio = _copy_of_sound(sound, container)
    container.start_encoding()
    last = -1
    waiting = next(audio, None)

    def copy_sound(until: float) -> None:
        nonlocal waiting
        while waiting is not None and waiting[0] < until:
            with suppress(ValueError):  # a packet out of order
                container.mux(waiting[1])
            waiting = next(audio, None)

    def write(image: np.ndarray, seconds: float) -> None:
        nonlocal last
        even = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        encoded = av.VideoFrame.from_ndarray(np.asarray(even, np.uint8), format="bgr24")
        last = encoded.pts = max(round(seconds * CLOCK), last + 1)
        encoded.time_base = Fraction(1, CLOCK)
        container.mux(stream.encode(encoded))
        copy_sound(seconds)

    def close() -> None:
        with container:
            container.mux(stream.encode())
            # Of a video that was not read to its end, the sound ends with the frames.
            copy_sound(math.inf if sound is not None and sound.is_finished else last / CLOCK + 1 / fps)

    return write, close


def _copy_of_sound(video: Video | None, target: Any) -> Iterator[tuple[float, Any]]:
    """Add the sound of a video file to an MP4, as it is; return its packets, each with its seconds in the result."""
    import av

    if video is None or video.is_live:
        return iter(())
    source = av.open(video.source)
    stream = source.streams.best("audio")
    if not isinstance(stream, av.AudioStream) or stream.codec.name not in MP4_SOUND:
        if stream is not None:
            print(f"note: the sound is left out: MP4 does not hold {stream.codec.name}", file=sys.stderr)
        source.close()
        return iter(())
    copy = target.add_stream_from_template(stream)

    def packets() -> Iterator[tuple[float, Any]]:
        with source, suppress(av.FFmpegError):  # of a file that ends in the middle
            for packet in source.demux(stream):
                if packet.pts is None or packet.dts is None or packet.time_base is None:
                    continue  # the mark of the end
                start = round(video.start / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - start, packet.dts - start, copy
                if packet.pts >= 0:
                    yield float(packet.pts * packet.time_base), packet

    return packets()


def _begin_mpeg4(path: Path, fps: float, image_size: tuple[int, int]) -> tuple[Write, Callable[[], None]]:
    print(
        "note: PyAV is missing, so the video is MPEG-4, which browsers do not play, at a constant rate and without "
        "sound; run: pip install av",
        file=sys.stderr,
    )
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, image_size[::-1])
    if not writer.isOpened():
        raise OSError("OpenCV cannot open it")
    last, written = np.zeros((*image_size, 3), np.uint8), 0

    def write(image: np.ndarray, seconds: float) -> None:
        nonlocal last, written
        due = round(min(seconds, written / fps + LONGEST_STILL) * fps)  # so that it plays as long as the frames' times
        for frame in [*[last] * (due - written), image]:
            writer.write(frame)
        last, written = image, max(due, written) + 1

    return write, writer.release


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
