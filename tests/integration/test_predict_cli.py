import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_tools

from yolact.errors import CheckpointError, DatasetError, UserError, exit_on_user_error

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "predict.py"


@pytest.fixture(scope="module")
def command() -> ModuleType:
    specification = importlib.util.spec_from_file_location("predict_script", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


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
