from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import pytest

from yolact.errors import CheckpointError, DatasetError, UserError, exit_on_user_error


@pytest.fixture(scope="module")
def command(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("explain")


@pytest.fixture
def picture(sample_data: Path) -> Path:
    return sample_data / "pictures" / "picture 1.png"


@pytest.fixture
def arguments(sample_checkpoint: Path, tmp_path: Path) -> list[str]:
    return ["--weights", str(sample_checkpoint), "--output", str(tmp_path / "out"), "--device", "cpu"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def expected(*numbers: int) -> list[str]:
    of_objects = [f"{n}_{kind}" for n in numbers for kind in ("coefficients", "contributions", "sum", "mask")]
    return sorted(f"picture 1_{kind}.png" for kind in ("prototypes", "objects", *of_objects))


def test_the_best_three_objects_are_explained(
    command: ModuleType, picture: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main([str(picture), *arguments])
    assert names(tmp_path / "out") == expected(0, 1, 2)
    assert all(cv2.imread(str(file)) is not None for file in (tmp_path / "out").iterdir())
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].endswith("above a score of 0.3")
    assert [line.split(":")[0].strip() for line in shown[1:4]] == ["0", "1", "2"]
    assert "of 8 contributions" in shown[1]


def test_chosen_objects_are_explained(command: ModuleType, picture: Path, arguments: list[str], tmp_path: Path) -> None:
    command.main([str(picture), *arguments, "--instance", "4", "1", "4"])
    assert names(tmp_path / "out") == expected(1, 4)


def test_no_object_leaves_the_prototypes(
    command: ModuleType, picture: Path, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main([str(picture), *arguments, "--score-threshold", "1"])
    assert names(tmp_path / "out") == expected()
    assert capsys.readouterr().out.startswith("0 objects above a score of 1\n")


def test_mistakes_are_named_and_leave_nothing_behind(
    command: ModuleType, picture: Path, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_text("no picture")
    before = names(tmp_path)
    for given, more, error, message in (
        (picture, ["--instance", "0", "999"], UserError, r"--instance 999 does not exist: \d+ objects .* 0 to \d+;"),
        (picture, ["--instance", "-1"], UserError, "--instance -1 does not exist"),
        (picture, ["--instance", "0", "--score-threshold", "1"], UserError, "there is none"),
        (picture, ["--weights", str(tmp_path / "none.pth")], CheckpointError, r"none\.pth"),
        (picture, ["--output", str(tmp_path / "broken.jpg")], UserError, "cannot be written"),
        (tmp_path / "broken.jpg", [], DatasetError, r"broken\.jpg"),
        (tmp_path / "none.jpg", [], DatasetError, r"none\.jpg"),
    ):
        with pytest.raises(error, match=message):
            command.main([str(given), *arguments, *more])
    assert names(tmp_path) == before


def test_a_mistake_is_one_line_and_exit_code_2(
    command: ModuleType, picture: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        exit_on_user_error(lambda: command.main([str(picture), *arguments, "--instance", "999"]))
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.startswith("error: --instance 999")
    with pytest.raises(SystemExit) as exit_info:
        command.main([str(picture), *arguments, "--score-threshold", "30"])
    assert exit_info.value.code == 2
