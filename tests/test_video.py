import threading
import time

import numpy as np
import pytest

from yolact.errors import DatasetError, UserError
from yolact.video import Video, VideoWriter, WriteBehind, is_video, read_ahead


def frames(count, size=(48, 64)):
    """Return frames with a white square that moves to the right."""
    made = []
    for number in range(count):
        frame = np.zeros((*size, 3), np.uint8)
        frame[10:30, 2 * number : 2 * number + 12] = 255
        made.append(frame)
    return made


@pytest.fixture
def video(tmp_path):
    with VideoWriter(tmp_path / "moving.mp4", 12.5, (48, 64)) as writer:
        for frame in frames(20):
            writer.write(frame)
    return tmp_path / "moving.mp4"


@pytest.mark.parametrize(
    ("source", "expected"),
    [("a.mp4", True), ("A.MOV", True), ("0", True), ("rtsp://host/x", True), ("http://host/cam", True),
     ("a.jpg", False), ("folder", False), ("1.png", False)],
)  # fmt: skip
def test_what_counts_as_a_video(source, expected):
    assert is_video(source) == expected


def test_a_video_comes_back_as_it_was_written(video):
    opened = Video(str(video))
    assert (opened.size, opened.fps, opened.num_frames) == ((48, 64), 12.5, 20)
    read = list(opened)
    assert len(read) == 20
    for number, frame in enumerate(read):
        columns = np.flatnonzero(frame[20, :, 0] > 128)
        assert abs(columns[0] - 2 * number) <= 1
        assert abs(columns[-1] - (2 * number + 11)) <= 1


def test_a_video_that_was_cut_short_by_an_error_plays(tmp_path):
    def stop_early():
        with VideoWriter(tmp_path / "a.mp4", 10, (48, 64)) as writer:
            for frame in frames(5):
                writer.write(frame)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_early()
    assert len(list(Video(str(tmp_path / "a.mp4")))) == 5


def test_what_is_no_video_is_named(tmp_path):
    with pytest.raises(UserError, match=r"There is no video 'none\.mp4'"):
        Video("none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DatasetError, match="gives no frames"):
        Video(str(tmp_path / "text.mp4"))
    with pytest.raises(UserError, match="cannot be written"):
        VideoWriter(tmp_path / "nowhere" / "a.mp4", 10, (48, 64))


def test_reading_ahead_keeps_order_and_stays_only_a_little_ahead():
    taken, threads = [], threading.active_count()

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    ahead = read_ahead(items(), size=3)
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    time.sleep(0.3)
    assert len(taken) <= 5 + 3 + 1
    assert threading.active_count() == threads + 1
    ahead.close()
    assert threading.active_count() == threads


def test_an_error_of_the_reader_is_raised_where_items_are_taken():
    def items():
        yield 1
        raise DatasetError("broken")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(DatasetError, match="broken"):
        next(ahead)


def test_writing_behind_keeps_order_and_waits_for_the_last():
    written = []

    def slowly(item):
        time.sleep(0.01)
        written.append(item)

    with WriteBehind(slowly) as behind:
        for number in range(20):
            behind.put(number)
    assert written == list(range(20))


def test_an_error_of_the_writer_is_raised():
    def fail(_):
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="the disk is full"), WriteBehind(fail) as behind:
        behind.put(1)
