import json
import os
from pathlib import Path

import pytest

from yolact.errors import UserError
from yolact.output import output_folder, write_json


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    with output_folder(tmp_path / "a" / "b") as folder:
        write_json({"x": 1.5}, folder / "x.json")
    assert [path.name for path in folder.iterdir()] == ["x.json"]
    assert json.loads((folder / "x.json").read_text()) == {"x": 1.5}


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"file.*cannot be written.*--output"), output_folder(path):
            pytest.fail("entered")
    assert (tmp_path / "file").read_text() == "keep"


def test_a_folder_where_nothing_can_be_made_is_one_sentence() -> None:
    if not os.path.isdir("/proc"):
        pytest.skip("no folder here refuses everybody")
    with pytest.raises(UserError, match="/proc/results"), output_folder("/proc/results"):
        pytest.fail("entered")


def test_after_an_error_no_empty_folder_is_left_but_nothing_else_is_touched(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("new", "old"):
        with pytest.raises(KeyError), output_folder(tmp_path / name):
            raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    with pytest.raises(FileNotFoundError), output_folder(tmp_path / "used") as folder:
        (folder / "result").mkdir() or (folder / "absent").unlink()
    assert (tmp_path / "used" / "result").exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json([1], path)
    with pytest.raises(ValueError, match="JSON"):
        write_json([float("nan")], path)
    assert json.loads(path.read_text()) == [1]
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="could not be written"):
        write_json([1], tmp_path / "folder")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "x.json"]


def test_half_of_a_surrogate_pair_comes_back(tmp_path: Path) -> None:
    write_json({"\ud800": "\u00e4"}, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"\ud800": "\u00e4"}
