import csv
import errno
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_tools

from tests.made import make_instances
from tests.tools.test_video import FALLING, make_clip
from yolact.cli import run
from yolact.errors import CheckpointError, ConfigError, DatasetError, UserError
from yolact.predictor import Predictor
from yolact.tools.outputs import note
from yolact.tools.predict import Wanted, print_summary, write_results
from yolact.tools.video import Frame, Video, write_video

Predict = Callable[..., list[dict[str, Any]]]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def images(tmp_path: Path, sample_data: Path) -> Path:
    """Folder with two good images, one more in a subfolder, a broken one and a text file."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    shutil.copy(sample_data / "pictures" / "picture 0.png", folder / "a.png")
    shutil.copy(sample_data / "pictures" / "picture 1.png", folder / "below" / "a.png")
    cv2.imwrite(str(folder / "b.jpg"), np.full((40, 50, 3), 99, np.uint8))
    (folder / "broken.jpg").write_text("no image")
    (folder / "notes.txt").write_text("nor this")
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def predict(sample_checkpoint: Path, output: Path) -> Predict:
    """Return a function that runs the command line and gives the records of predictions.json."""

    def call(*arguments: object, threshold: str | None = "0.2") -> list[dict[str, Any]]:
        options = ["--weights", str(sample_checkpoint), "--output", str(output), "--device", "cpu"]
        options += [] if threshold is None else ["--score-threshold", threshold]
        run(["predict", *options, *map(str, arguments)])
        records: list[dict[str, Any]] = json.loads((output / "predictions.json").read_text())
        return records

    return call


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_image_gives_an_annotated_copy_and_records(
    predict: Predict, images: Path, output: Path, capsys: Output
) -> None:
    records = predict(images / "a.png")
    assert names(output) == ["a.png", "outputs.jsonl", "predictions.json"]
    original, drawn = cv2.imread(str(images / "a.png")), cv2.imread(str(output / "a.png"))
    assert drawn.shape[0] == 8 * original.shape[0]  # enlarged, so that labels can be read
    assert len(records) > 2
    for record in records:
        assert record["file_name"] == str(images / "a.png")
        assert (record["category_name"], record["category_id"]) in (("disc", 3), ("square", 7))
        assert (record["image_id"], len(record["bbox"])) == (1, 4)
        assert record["score"] > 0.2
        assert mask_tools.decode(record["segmentation"]).shape == original.shape[:2]
    shown = capsys.readouterr().out
    assert f"{len(records)} objects in 1 image (score above 0.2)" in shown
    for name, count in Counter(record["category_name"] for record in records).items():
        assert re.search(rf"  {name} +{count}\n", shown)


def test_the_threshold_of_set_counts(predict: Predict, images: Path, capsys: Output) -> None:
    override = ["--set", "eval.score_threshold=0.95"]
    counts = []
    for arguments, threshold in (([], 0.3), (override, 0.95)):
        records = predict(images / "a.png", "--overwrite", *arguments, threshold=None)
        assert f"(score above {threshold:g})" in capsys.readouterr().out
        assert min(record["score"] for record in records) > threshold
        counts.append(len(records))
    assert counts[1] < counts[0]
    assert predict(images / "a.png", "--overwrite", threshold="1") == []  # nothing found is a result


def test_folders_and_patterns_leave_broken_images_out_and_results_never_overwrite_each_other(
    predict: Predict, images: Path, output: Path, capsys: Output
) -> None:
    for name in ("below/a.jpg", "below/a_2.png", "below/a.bmp"):
        shutil.copy(images / "b.jpg", images / name)
    records = predict(images, images / "**" / "a*", images / "a.png", "--classes", "square", "--classes", "square")
    results = ["a_2.png", "a_png.png", "b.jpg", "below_a_bmp.png", "below_a_jpg.jpg", "below_a_png.png"]
    assert names(output) == [*results, "outputs.jsonl", "predictions.json"]
    assert {record["image_id"] for record in records} <= {1, 2, 4, 5, 6, 7}  # the broken one is the third
    assert {record["category_name"] for record in records} == {"square"}
    errors = capsys.readouterr().err
    assert f"{images}: 3 of 4 files are images; passed over: notes.txt" in errors
    assert "broken.jpg" in errors
    assert "1 of 7 images could not be read" in errors


def test_a_broken_image_that_was_named_is_an_error_after_the_others(
    predict: Predict, images: Path, output: Path
) -> None:
    with pytest.raises(UserError, match="1 of 2 images could not be read"):
        predict(images / "broken.jpg", images / "a.png", "--prototypes", "--csv", "--boxes-only")
    assert names(output) == ["a.png", "a_prototypes.png", "outputs.jsonl", "predictions.csv", "predictions.json"]
    records = json.loads((output / "predictions.json").read_text())
    assert all("segmentation" not in record for record in records)
    rows = list(csv.DictReader((output / "predictions.csv").open()))
    assert [(row["frame"], row["area"], row["track"]) for row in rows] == [("", "", "")] * len(records)


def test_mistakes_are_named_and_leave_nothing_behind(
    predict: Predict, images: Path, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    before, good = names(tmp_path), images / "a.png"
    for arguments, error, message in (
        ([tmp_path / "none.jpg"], UserError, r"none\.jpg' leads to no images"),
        ([tmp_path / "empty"], UserError, "no images"),
        ([tmp_path / f"{'a' * 300}.jpg"], UserError, r"cannot be looked at \(File name too long\)"),
        ([tmp_path / f"{'a' * 300}.mp4"], UserError, "There is no video"),
        ([good, "--output", tmp_path / ("a" * 300)], UserError, "cannot be written"),
        ([images / "*.gif"], UserError, "no images"),
        ([images / "*.txt"], UserError, r"no images \(0 of 1 file are images; passed over: notes\.txt\)"),
        ([images / "notes.txt"], DatasetError, r"notes\.txt"),
        ([good, "--weights", tmp_path / "none.pth"], CheckpointError, r"none\.pth"),
        ([good, "--set", "eval.nms_threshold=30"], ConfigError, "nms_threshold"),
        (
            [good, "--set", "eval.score_threshold=0.9"],
            UserError,
            r"--score-threshold and --set eval\.score_threshold say",
        ),
        ([good, "--tiles", 64, "--set", "eval.tiles=128"], UserError, r"--tiles and --set eval\.tiles say the same"),
        ([good, "--max-frames", 2], UserError, "--max-frames is for videos, not for images: leave it out"),
        ([video, "--prototypes"], UserError, "--prototypes is for images, not for a video: leave it out"),
        ([good, "--boxes-only", "--masks"], UserError, "--boxes-only writes no masks"),
        ([good, "--boxes-only", "--labels", "coco"], UserError, "--boxes-only writes no masks"),
        (["http://127.0.0.1:1/a.png", "--labels", "coco"], UserError, r"download 'http://127\.0\.0\.1:1/a\.png' first"),
        ([good, "--output", images], UserError, "overwrite"),
        ([good, "--output", good], UserError, "cannot be written"),
        ([good, "--classes", "disc,squares"], UserError, r"'squares'.*did you mean 'square'"),
        ([video, "--output", video.parent], UserError, r"beside .*moving\.mp4' and might overwrite it"),
        ([tmp_path / "none.mp4"], UserError, "There is no video"),
        ([tmp_path / "none.mp4", good], UserError, "one video at a time"),
        ([good, "--score-threshold", "30"], SystemExit, "2"),
    ):
        with pytest.raises(error, match=message):
            predict(*arguments)
    assert names(tmp_path) == before


@pytest.fixture
def video(tmp_path: Path, images: Path) -> Path:
    """Two seconds of a crop that moves over an image."""
    image = cv2.resize(cv2.imread(str(images / "a.png")), (160, 120))
    with write_video(tmp_path / "moving.mp4", 10, (96, 96)) as write:
        for number in range(20):
            write(np.ascontiguousarray(image[:96, 3 * number : 3 * number + 96]), number / 10)
    return tmp_path / "moving.mp4"


def test_a_video_gives_a_video_of_its_rate_and_length(predict: Predict, video: Path, output: Path) -> None:
    records = predict(video, "--csv", "--masks", "--max-frames", 12)
    assert names(output) == ["masks", "moving.mp4", "outputs.jsonl", "predictions.csv", "predictions.json"]
    drawn = Video(str(output / "moving.mp4"))
    assert (drawn.fps, drawn.image_size) == (10, (96, 96))
    assert [seconds for _, seconds in drawn] == pytest.approx([number / 10 for number in range(12)], abs=1e-3)
    assert {record["frame"] for record in records} <= set(range(12))
    assert all(record["image_id"] == record["frame"] + 1 for record in records)
    assert [record["seconds"] for record in records] == pytest.approx([record["frame"] / 10 for record in records])
    rows = list(csv.DictReader((output / "predictions.csv").open()))
    assert len(rows) == len(records) == len(names(output / "masks"))
    for row, record in zip(rows, records, strict=True):
        assert (row["class"], int(row["frame"])) == (record["category_name"], record["frame"])
        assert float(row["width"]) == pytest.approx(record["bbox"][2], abs=0.01)
        path = output / "masks" / f"moving_{record['image_id']:06}_{int(row['number']):03}_{row['class']}.png"
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) > 0
        np.testing.assert_array_equal(mask, mask_tools.decode(record["segmentation"]).astype(bool))
        assert int(row["area"]) == mask.sum()


def test_ctrl_c_leaves_a_video_of_the_frames_so_far(
    predict: Predict, video: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Video.__iter__

    def interrupted(self: Video) -> Iterator[Frame]:
        yield from islice(whole(self), 5)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Video, "__iter__", interrupted)
        with pytest.raises(KeyboardInterrupt):  # exit code 130
            predict(video)
    records = json.loads((output / "predictions.json").read_text())
    assert len(list(Video(str(output / "moving.mp4")))) == 5
    assert {record["frame"] for record in records} <= set(range(5))


def test_the_rate_is_that_of_the_frames_and_a_full_disk_one_sentence(
    predict: Predict, tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    video = make_clip(tmp_path / "a.mkv", FALLING)  # whose header says 30 frames per second
    predict(video)
    assert "in 40 frames, 13.93 a second on average" in capsys.readouterr().out

    def full(folder: Path, file_name: str, outputs: list[str], **more: bool) -> None:
        if outputs:
            raise OSError(errno.ENOSPC, "No space left on device")
        note(folder, file_name, outputs, **more)

    for place in ("outputs", "predict"):
        monkeypatch.setattr(f"yolact.tools.{place}.note", full)
    with pytest.raises(UserError, match=r"a\.mp4' cannot be written \(No space left on device\)"):
        predict(video, "--overwrite")


def test_ctrl_c_leaves_the_labels_of_the_images_so_far(
    predict: Predict, images: Path, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    whole = Predictor.overlapped

    def interrupted(self: Predictor, *work: Any) -> Iterator[Any]:
        yield from islice(whole(self, *work), 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "overlapped", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(images / "a.png", images / "b.jpg", "--labels", "coco")
    assert len(json.loads((output / "labels.json").read_text())["images"]) == 1
    assert "stopped by Ctrl-C; the images so far are written" in capsys.readouterr().out


def test_tracks_number_objects_through_the_frames(
    predict: Predict, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackers", reason="an optional extra: pip install trackers supervision")
    tracks = [record["track_id"] for record in predict(video, "--track")]
    assert max(tracks) >= 0
    assert len(set(tracks)) < len(tracks)
    monkeypatch.setitem(sys.modules, "trackers", None)  # as if it were not installed
    with pytest.raises(UserError, match="run `pip install trackers supervision`"):
        predict(video, "--track", "--overwrite")


def test_images_of_one_stem_and_their_masks_and_prototypes_have_names_of_their_own(
    predict: Predict, images: Path, output: Path
) -> None:
    for name in (
        "a.jpg",
        "below/A.png",
        "below/b_000_square.jpg",
        "below/b_prototypes.png",
        "below/predictions.json.jpg",
    ):
        shutil.copy(images / "a.png", images / name)
    (images / "broken.jpg").unlink()
    records = predict(images, images / "below", "--masks", "--prototypes")
    lines = [json.loads(line) for line in (output / "outputs.jsonl").read_text().splitlines()]
    outputs = [line["output"] for line in lines]
    files = {str(path.relative_to(output)) for path in output.rglob("*.*")} - {"outputs.jsonl", "predictions.json"}
    assert sorted(outputs) == sorted(files)
    assert len({name.lower() for name in outputs}) == len(outputs) > 2 * 8
    sources = {name: line["file_name"] for name, line in zip(outputs, lines, strict=True)}
    for name, source in (
        ("b.jpg", "b.jpg"), ("b_000_square.jpg", "below/b_000_square.jpg"), ("b_prototypes.png", "b.jpg"),
        ("predictions.json.jpg", "below/predictions.json.jpg"), ("a_jpg.jpg", "a.jpg"), ("a_png.png", "a.png"),
    ):  # fmt: skip
        assert sources[name] == str(images / source)
    assert all(sources[record["mask"]] == record["file_name"] for record in records)


def test_a_second_run_takes_the_place_of_the_first_only_when_asked(
    predict: Predict, images: Path, output: Path, capsys: Output
) -> None:
    predict(images / "a.png", "--masks", "--csv", "--prototypes")
    (output / "mine.png").write_text("foreign")
    (output / "masks" / "a_000_mine.png").write_text("foreign")
    before = sorted(output.rglob("*"))
    with pytest.raises(UserError, match="results of an earlier run: give another --output, or --overwrite"):
        predict(images / "b.jpg")
    with pytest.raises(UserError, match="none of the 2 classes"):
        predict(images / "b.jpg", "--overwrite", "--classes", "x")
    with pytest.raises(DatasetError, match=r"broken\.jpg"):
        predict(images / "broken.jpg", "--overwrite")
    assert sorted(output.rglob("*")) == before
    predict(images / "b.jpg", "--overwrite")
    assert names(output) == ["b.jpg", "masks", "mine.png", "outputs.jsonl", "predictions.json"]
    assert names(output / "masks") == ["a_000_mine.png"]


def test_a_stream_over_http(predict: Predict, video: Path, output: Path, web: Any) -> None:
    web.files["moving.mp4"] = video.read_bytes()
    predict(f"{web.url}/moving.mp4", "--max-frames", 3)
    assert len(list(Video(str(output / "moving.mp4")))) == 3


def test_images_over_http(predict: Predict, images: Path, output: Path, web: Any, capsys: Output) -> None:
    for name in ("shop/a.png?id=1", "a"):
        web.files[name] = (images / "a.png").read_bytes()
    web.files["cut.png"] = web.files["a"][:99]
    places = [f"{web.url}/{name}" for name in web.files]
    with pytest.raises(UserError, match="1 of 4 images could not be read"):
        predict(*places, images / "b.jpg")
    assert names(output) == ["address1_a_png.png", "address2_a_png.png", "b.jpg", "outputs.jsonl", "predictions.json"]
    records = json.loads((output / "predictions.json").read_text())
    assert {record["file_name"] for record in records} >= {*places[:2]}
    assert f"Cannot decode the image {places[2]} (99 bytes)" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"none\.png' cannot be fetched"):
        predict(f"{web.url}/none.png")


@pytest.mark.parametrize("name", ["predictions.json.tmp", "predictions.csv"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    message = r"could not be written \(No space left on device\); make room"
    with pytest.raises(UserError, match=message), write_results(Wanted(tmp_path, table=True), Counter()):
        pass
    assert not (tmp_path / "predictions.json.tmp").is_symlink()


def test_no_objects_and_a_file_name_of_bytes_that_are_not_text(tmp_path: Path) -> None:
    wanted = Wanted(tmp_path, table=True)
    with write_results(wanted, Counter()):
        pass
    assert json.loads((tmp_path / "predictions.json").read_text()) == []
    assert (tmp_path / "predictions.csv").read_text().startswith("file,frame,number,class")
    assert names(tmp_path) == ["outputs.jsonl", "predictions.csv", "predictions.json"]
    with pytest.raises(UserError, match="results of an earlier run"), write_results(wanted, Counter()):
        pass  # which began while the model of this one was loaded
    with write_results(replace(wanted, overwrite=True), Counter()) as add:
        add(make_instances(np.zeros((1, 4, 4), bool)), 1, "\udcff.jpg", "stem")
    (record,) = json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))
    assert record["file_name"] == "\udcff.jpg"  # which JSON can escape
    assert "\\udcff.jpg,,0,cat" in (tmp_path / "predictions.csv").read_text(encoding="utf-8")


def test_class_names_are_shown_as_text(tmp_path: Path, capsys: Output) -> None:
    print_summary(Wanted(tmp_path), Counter({"\ud800\x1b[2J": 2}), "1 image", "annotated images")
    assert capsys.readouterr().out.splitlines()[1] == "  \ufffd\ufffd[2J  2"
