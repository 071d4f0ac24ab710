import csv
import functools
import http.server
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_tools

from yolact.errors import CheckpointError, DatasetError, UserError, exit_on_user_error
from yolact.predictor import Predictor
from yolact.video import Video, VideoWriter


@pytest.fixture(scope="module")
def command(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("predict")


@pytest.fixture
def pictures(tmp_path: Path, sample_data: Path) -> Path:
    """Folder with two good pictures, one of them in a subfolder too, a broken one and a text file."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    shutil.copy(sample_data / "pictures" / "picture 0.png", folder / "a.png")
    shutil.copy(sample_data / "pictures" / "picture 1.png", folder / "below" / "a.png")
    cv2.imwrite(str(folder / "b.jpg"), np.full((40, 50, 3), 99, np.uint8))
    (folder / "broken.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("nor this")
    return folder


@pytest.fixture
def arguments(sample_checkpoint: Path, tmp_path: Path) -> list[str]:
    output = str(tmp_path / "out")
    return ["--weights", str(sample_checkpoint), "--output", output, "--device", "cpu", "--score-threshold", "0.2"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_gives_an_annotated_copy_and_records(
    command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main([str(pictures / "a.png"), *arguments])
    assert names(tmp_path / "out") == ["a.png", "predictions.json"]
    original, drawn = cv2.imread(str(pictures / "a.png")), cv2.imread(str(tmp_path / "out" / "a.png"))
    assert drawn.shape[0] == 8 * original.shape[0]  # enlarged, so that labels can be read
    records = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(records) > 2
    for record in records:
        assert record["file_name"] == str(pictures / "a.png")
        assert (record["category_name"], record["category_id"]) in (("disc", 3), ("square", 7))
        assert record["image_id"] == 1
        assert len(record["bbox"]) == 4
        assert record["score"] > 0.2
        assert mask_tools.decode(record["segmentation"]).shape == original.shape[:2]
    shown = capsys.readouterr().out
    assert f"{len(records)} objects in 1 pictures" in shown
    counts = [sum(record["category_name"] == name for record in records) for name in ("disc", "square")]
    assert all(str(count) in shown for count in counts if count)


def test_a_folder_leaves_broken_pictures_out_and_names_them(
    command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main([str(pictures), *arguments])
    assert names(tmp_path / "out") == ["a.png", "b.jpg", "predictions.json"]
    errors = capsys.readouterr().err
    assert "broken.jpg" in errors
    assert "1 of 3 pictures could not be read" in errors


def test_patterns_reach_subfolders_and_equal_names_do_not_collide(
    command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path
) -> None:
    command.main([str(pictures / "**" / "*.png"), str(pictures / "a.png"), *arguments])
    assert names(tmp_path / "out") == ["a.png", "a_2.png", "predictions.json"]


def test_a_broken_picture_that_was_named_is_an_error_after_the_others(
    command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="1 of 2 pictures could not be read"):
        command.main([str(pictures / "broken.jpg"), str(pictures / "a.png"), *arguments])
    assert names(tmp_path / "out") == ["a.png", "predictions.json"]


def test_the_only_picture_broken_writes_nothing_and_exits_with_2(
    command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        exit_on_user_error(lambda: command.main([str(pictures / "broken.jpg"), *arguments]))
    assert exit_info.value.code == 2
    assert "broken.jpg" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_only_the_wanted_classes(command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path) -> None:
    command.main([str(pictures / "a.png"), *arguments, "--classes", "square"])
    records = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {record["category_name"] for record in records} <= {"square"}
    with pytest.raises(UserError, match=r"'squares'.*did you mean 'square'"):
        command.main([str(pictures / "a.png"), *arguments, "--classes", "disc,squares"])


def test_prototypes_on_request(command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path) -> None:
    command.main([str(pictures / "b.jpg"), *arguments, "--prototypes"])
    assert names(tmp_path / "out") == ["b.jpg", "b_prototypes.png", "predictions.json"]


def test_nothing_found_is_a_result(command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path) -> None:
    command.main([str(pictures / "a.png"), *arguments, "--score-threshold", "1"])
    assert json.loads((tmp_path / "out" / "predictions.json").read_text()) == []
    assert (tmp_path / "out" / "a.png").exists()


def test_mistakes_are_named_and_leave_nothing_behind(
    command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    before = names(tmp_path)
    good = str(pictures / "a.png")
    for sources, more, error, message in (
        ([str(tmp_path / "none.jpg")], [], UserError, r"none\.jpg"),
        ([str(empty)], [], UserError, "no pictures"),
        ([str(pictures / "*.gif")], [], UserError, "no pictures"),
        ([good], ["--weights", str(tmp_path / "none.pth")], CheckpointError, r"none\.pth"),
        ([good], ["--output", str(pictures)], UserError, "overwrite"),
        ([good], ["--output", good], UserError, "cannot be written"),
        ([str(pictures / "notes.txt")], [], DatasetError, r"notes\.txt"),
    ):
        with pytest.raises(error, match=message):
            command.main([*sources, *arguments, *more])
    assert names(tmp_path) == before


def test_a_threshold_beyond_one_is_a_usage_error(command: ModuleType, pictures: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        command.main([str(pictures), *arguments, "--score-threshold", "30"])
    assert exit_info.value.code == 2


@pytest.fixture
def video(tmp_path: Path, pictures: Path) -> Path:
    """Two seconds of a crop that moves over a picture."""
    picture = cv2.resize(cv2.imread(str(pictures / "a.png")), (160, 120))
    with VideoWriter(tmp_path / "moving.mp4", 10, (96, 96)) as writer:
        for number in range(20):
            writer.write(np.ascontiguousarray(picture[:96, 3 * number : 3 * number + 96]))
    return tmp_path / "moving.mp4"


def test_a_video_gives_a_video_of_its_rate_and_length(
    command: ModuleType, video: Path, arguments: list[str], tmp_path: Path
) -> None:
    command.main([str(video), *arguments, "--csv", "--masks", "--max-frames", "12"])
    assert names(tmp_path / "out") == ["masks", "moving.mp4", "predictions.csv", "predictions.json"]
    drawn = Video(str(tmp_path / "out/moving.mp4"))
    assert (drawn.fps, drawn.size, len(list(drawn))) == (10, (96, 96), 12)
    records = json.loads((tmp_path / "out/predictions.json").read_text())
    assert {record["frame"] for record in records} <= set(range(12))
    assert all(record["image_id"] == record["frame"] + 1 for record in records)
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert len(rows) == len(records) == len(names(tmp_path / "out/masks"))
    for row, record in zip(rows, records, strict=True):
        assert (row["class"], int(row["frame"])) == (record["category_name"], record["frame"])
        assert float(row["width"]) == pytest.approx(record["bbox"][2], abs=0.01)
        place = tmp_path / "out/masks" / f"moving_{record['image_id']:06}_{int(row['number']):03}_{row['class']}.png"
        mask = cv2.imread(str(place), cv2.IMREAD_UNCHANGED) > 0
        np.testing.assert_array_equal(mask, mask_tools.decode(record["segmentation"]).astype(bool))
        assert int(row["area"]) == mask.sum()


def test_ctrl_c_leaves_a_video_of_the_frames_so_far(
    command: ModuleType, video: Path, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Predictor.__call__

    def interrupted(self: Predictor, *given: object) -> object:
        interrupted.calls += 1
        if interrupted.calls == 6:
            raise KeyboardInterrupt
        return whole(self, *given)

    interrupted.calls = 0
    monkeypatch.setattr(Predictor, "__call__", interrupted)
    command.main([str(video), *arguments])
    assert len(list(Video(str(tmp_path / "out/moving.mp4")))) == 5
    assert isinstance(json.loads((tmp_path / "out/predictions.json").read_text()), list)


def test_tracks_number_objects_through_the_frames(
    command: ModuleType, video: Path, arguments: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("trackers", reason="an optional extra: pip install trackers supervision")
    command.main([str(video), *arguments, "--track"])
    records = json.loads((tmp_path / "out/predictions.json").read_text())
    assert records
    assert all(isinstance(record["track_id"], int) for record in records)


def test_boxes_only(command: ModuleType, pictures: Path, arguments: list[str], tmp_path: Path) -> None:
    command.main([str(pictures / "a.png"), *arguments, "--boxes-only"])
    records = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert records
    assert all("segmentation" not in record for record in records)


def test_a_stream_over_http(command: ModuleType, video: Path, arguments: list[str], tmp_path: Path) -> None:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(video.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/moving.mp4"
        command.main([address, *arguments, "--max-frames", "3"])
        server.shutdown()
    assert len(list(Video(str(tmp_path / "out/moving.mp4")))) == 3


def test_mistakes_with_videos(command: ModuleType, video: Path, arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would overwrite that video"):
        command.main([str(video), *arguments, "--output", str(tmp_path)])
    with pytest.raises(UserError, match="There is no video"):
        command.main([str(tmp_path / "none.mp4"), *arguments])
    with pytest.raises(SystemExit):
        command.main([str(video), "a.jpg", *arguments])
    assert not (tmp_path / "out").exists()
