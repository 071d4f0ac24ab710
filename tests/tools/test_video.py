from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from yolact.errors import DatasetError, UserError
from yolact.tools.video import Video, is_video, write_video


def write(path: Path, times: list[float], fps: float, size: tuple[int, int] = (48, 64)) -> Path:
    """Write frames with a white square that moves to the right by two pixels each time."""
    with write_video(path, fps, size) as put:
        for number, seconds in enumerate(times):
            image = np.zeros((*size, 3), np.uint8)
            image[10:30, 2 * number : 2 * number + 12] = 255
            put(image, seconds)
    return path


@pytest.fixture(params=["H.264", "MPEG-4"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Videos as PyAV writes them, and as OpenCV does without it."""
    if request.param == "H.264":
        pytest.importorskip("av", reason="an optional extra: pip install av")
    else:
        monkeypatch.setattr("yolact.tools.video.find_spec", lambda name: None)
    return request.param


def test_what_counts_as_a_video() -> None:
    assert all(map(is_video, ("a.mp4", "A.MOV", "0", "rtsp://host/x", "http://host/cam")))
    assert not any(map(is_video, ("a.jpg", "folder", "1.png")))


@pytest.mark.parametrize("fps", [12.5, 30_000 / 1001])
def test_a_video_comes_back_as_it_was_written(
    codec: str, fps: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = Video(str(write(tmp_path / "a.mp4", [number / fps for number in range(20)], fps)))
    assert (video.image_size, video.num_frames) == ((48, 64), 20)
    assert video.fps == pytest.approx(fps, rel=1e-5)
    frames = list(video)
    assert [seconds for _, seconds in frames] == pytest.approx([number / fps for number in range(20)], abs=1e-3)
    for number, (image, _) in enumerate(frames):
        columns = np.flatnonzero(image[20, :, 0] > 128)
        assert abs(columns[0] - 2 * number) <= 1
        assert abs(columns[-1] - (2 * number + 11)) <= 1
    note = capsys.readouterr().err
    assert ("pip install av" in note) == (codec == "MPEG-4")
    assert note.count("\n") == (codec == "MPEG-4")


def test_browsers_play_it_and_frames_keep_their_times(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="an optional extra: pip install av")
    times = [0, 0.1, 0.2, 0.5, 1.5, 1.6]  # as a phone or a slow camera gives them
    path = write(tmp_path / "a.mp4", times, 10, (47, 63))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
    video = Video(str(path))
    assert video.image_size == (48, 64)  # an odd side is made even, and the border repeated
    assert [seconds for _, seconds in video] == pytest.approx(times, abs=1e-3)


def test_a_video_that_an_error_ends_plays(codec: str, tmp_path: Path) -> None:
    with suppress(RuntimeError), write_video(tmp_path / "a.mp4", 10, (48, 64)) as put:
        for number in range(5):
            put(np.zeros((48, 64, 3), np.uint8), number / 10)
        raise RuntimeError
    assert len(list(Video(str(tmp_path / "a.mp4")))) == 5


def test_what_is_no_video_is_named(codec: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no video 'none\.mp4'"):
        Video("none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DatasetError, match="gives no frames"):
        Video(str(tmp_path / "text.mp4"))
    with pytest.raises(UserError, match=r"'.*a\.mp4' cannot be written \(.+\); free space or change --output"):
        write(tmp_path / "nowhere" / "a.mp4", [0], 10)
    if codec == "H.264" and Path("/dev/full").exists():
        (tmp_path / "a.mp4").symlink_to("/dev/full")
        with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
            write(tmp_path / "a.mp4", [0, 0.1], 10)
