import sys
from contextlib import suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
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
        monkeypatch.setitem(sys.modules, "av", None)  # as if it were not installed
    return request.param


def test_what_counts_as_a_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(map(is_video, ("a.mp4", "A.MOV", "0", "rtsp://host/x", "http://host/cam")))
    assert not any(map(is_video, ("a.jpg", "folder", "1.png")))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()
    assert not is_video("2024")


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
    lost = "MPEG-4, which browsers do not play, at a constant rate and without sound"
    assert (lost in note) == (codec == "MPEG-4")
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


def test_without_pyav_a_video_plays_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    video = Video(str(write(tmp_path / "a.mp4", [0, 0.1, 0.2, 0.5, 1.5, 1.6], 10)))
    assert len(list(video)) == 17


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
        assert not [path for path in tmp_path.iterdir() if path.name == "a.mp4"]


def make_clip(path: Path, times: list[float], sound: str | None = None, turned: int = 0, start: float = 0) -> Path:
    """Write frames, the upper left quarter white, as a phone does: at any times, turned, with a tone of 440 Hz."""
    av = pytest.importorskip("av", reason="an optional extra: pip install av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        if turned:
            stream.set_display_rotation(turned)
        tone = container.add_stream(sound, rate=48_000) if sound else None
        for number, seconds in enumerate(times):
            image = np.zeros((48, 64, 3), np.uint8)
            image[:24, :32] = 255 - number
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = round((start + seconds) * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if tone is not None:
            samples = np.sin(2 * np.pi * 440 * np.arange(round(48_000 * (start + times[-1] + 0.2))) / 48_000)
            wave = av.AudioFrame.from_ndarray((samples[None] * 9000).astype(np.int16), format="s16", layout="mono")
            wave.sample_rate, wave.pts, wave.time_base = 48_000, 0, Fraction(1, 48_000)
            context = tone.codec_context
            for part in av.AudioResampler(context.format, context.layout, 48_000).resample(wave):
                container.mux(tone.encode(part))
            container.mux(tone.encode())
    return path


FALLING = [*(number / 30 for number in range(30)), *(1 + number / 5 for number in range(10))]  # 30 a second, then 5


def tone_of(path: Path) -> tuple[str, float, float]:
    """Return codec, seconds and frequency of the sound of a video."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(stream)]).astype(float)
        power = np.abs(np.fft.rfft(samples[:48_000]))
        return stream.codec.name, len(samples) / 48_000, float(power[1:].argmax() + 1) * 48_000 / len(samples[:48_000])


@pytest.mark.parametrize(("name", "start"), [("a.mp4", 0), ("a.mp4", 2.5), ("a.mkv", 0), ("a.mts", 0)])
def test_times_and_sound_are_kept(name: str, start: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = Video(str(make_clip(tmp_path / name, FALLING, "aac", start=start)))
    with write_video(tmp_path / "b.mp4", video.fps, video.image_size, sound=video) as put:
        for image, seconds in video:
            put(image, seconds)
    assert [seconds for _, seconds in Video(str(tmp_path / "b.mp4"))] == pytest.approx(FALLING, abs=1e-3)
    codec, length, frequency = tone_of(tmp_path / "b.mp4")
    assert codec == "aac"
    assert length == pytest.approx(3, abs=0.1)
    assert frequency == pytest.approx(440, abs=2)
    assert (video.num_damaged, video.is_finished, capsys.readouterr().err) == (0, True, "")


def test_sound_ends_where_the_frames_do(tmp_path: Path) -> None:
    video = Video(str(make_clip(tmp_path / "a.mp4", FALLING, "aac")))
    with write_video(tmp_path / "b.mp4", video.fps, video.image_size, sound=video) as put:
        for image, seconds in islice(video, 15):
            put(image, seconds)
    assert tone_of(tmp_path / "b.mp4")[1] == pytest.approx(0.5, abs=0.15)


def test_sound_that_mp4_does_not_hold_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = Video(str(make_clip(tmp_path / "a.avi", [0, 0.1, 0.2], "pcm_s16le")))
    with write_video(tmp_path / "b.mp4", video.fps, video.image_size, sound=video) as put:
        for image, seconds in video:
            put(image, seconds)
    assert capsys.readouterr().err == "note: the sound is left out: MP4 does not hold pcm_s16le\n"
    assert len(list(Video(str(tmp_path / "b.mp4")))) == 3


@pytest.mark.parametrize(("turned", "white"), [(0, (0, 0)), (-90, (0, 1)), (90, (1, 0)), (180, (1, 1))])
def test_videos_of_phones_are_upright(
    turned: int, white: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(tmp_path / "a.mp4", [0, 0.1, 0.2], turned=turned)
    for reader in ("PyAV", "OpenCV"):
        if reader == "OpenCV":
            monkeypatch.setitem(sys.modules, "av", None)
        video = Video(str(path))
        height, width = video.image_size
        assert (height, width) == ((48, 64) if turned in (0, 180) else (64, 48))
        image = next(iter(video))[0]
        quarters = image[height // 4 :: height // 2, width // 4 :: width // 2, 0] > 128
        assert [tuple(place) for place in np.argwhere(quarters).tolist()] == [white]


@pytest.mark.parametrize("start", [0.1, 0.0])  # within a packet, or its beginning
def test_damaged_frames_are_counted(start: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    av = pytest.importorskip("av", reason="an optional extra: pip install av")
    path, coarse = tmp_path / "a.mp4", np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    smooth = cv2.resize(coarse, (256, 192), interpolation=cv2.INTER_CUBIC)
    with write_video(path, 10, (192, 256)) as put:
        for number in range(40):
            put(np.roll(smooth, 5 * number, axis=1), number / 10)
    with av.open(str(path)) as container:
        packet = [one for one in container.demux(video=0) if one.size][20]
    data = bytearray(path.read_bytes())
    for at in range(packet.pos + int(start * packet.size), packet.pos + int((start + 0.1) * packet.size)):
        data[at] ^= 255
    path.write_bytes(data)
    video = Video(str(path))
    found = len(list(video))
    # Such a frame is decoded in part, or not at all: that depends on the encoder, which has a thread for each CPU.
    assert found in (39, 40)
    assert video.num_damaged == 1
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("reader", ["PyAV", "OpenCV"])
def test_frames_that_a_file_promises_but_has_not_are_counted(
    reader: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av = pytest.importorskip("av", reason="an optional extra: pip install av")
    whole = make_clip(tmp_path / "a.mp4", [number / 10 for number in range(40)])
    with av.open(str(whole)) as source, av.open(
        str(tmp_path / "b.mp4"), "w", options={"movflags": "faststart"}
    ) as target:  # fmt: skip
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    data = (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[:-200])
    if reader == "OpenCV":
        monkeypatch.setitem(sys.modules, "av", None)
    video = Video(str(tmp_path / "b.mp4"))
    found = len(list(video))
    assert 20 < found < 38
    assert video.num_damaged in (40 - found - 1, 40 - found)
    assert len(list(Video(str(whole)))) == 40


def test_what_was_cut_off_without_encoding_is_not_missing_and_slides_keep_their_pace(tmp_path: Path) -> None:
    cut = Video(str(make_clip(tmp_path / "a.mp4", [number / 30 for number in range(40)], start=-0.5)))
    assert (len(list(cut)), cut.num_damaged) == (25, 0)
    assert Video(str(make_clip(tmp_path / "b.mp4", [0, 2, 4, 6]))).fps == pytest.approx(0.5, rel=0.4)


def test_frames_that_are_all_alike_are_told_of_without_pyav(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with write_video(tmp_path / "a.mp4", 10, (48, 64)) as put:
        for number in range(12):
            put(np.zeros((48, 64, 3), np.uint8), number / 10)
    assert len(list(Video(str(tmp_path / "a.mp4")))) == 12
    assert capsys.readouterr().err.count("as OpenCV makes those of interlaced videos") == 1
