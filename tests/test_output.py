import json
import os
import threading
from pathlib import Path

import pytest

from yolact.errors import UserError
from yolact.output import atomic_file, output_folder, write_json


def test_a_folder_is_made_with_its_parents(tmp_path) -> None:
    with output_folder(tmp_path / "a" / "b") as folder:
        write_json({"x": 1.5, "\ud800": "\u00e4"}, folder / "x.json")  # half of a surrogate pair
    assert [path.name for path in folder.iterdir()] == ["x.json"]
    assert json.loads((folder / "x.json").read_text(encoding="utf-8")) == {"x": 1.5, "\ud800": "\u00e4"}


def test_a_file_in_the_way_is_one_sentence(tmp_path) -> None:
    (tmp_path / "file").write_text("keep")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"file.*cannot be written.*--output"), output_folder(path):
            pytest.fail("entered")
    assert (tmp_path / "file").read_text() == "keep"


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="no folder here refuses everybody")
def test_a_folder_where_nothing_can_be_made_is_one_sentence() -> None:
    with pytest.raises(UserError, match="/proc/results"), output_folder("/proc/results"):
        pytest.fail("entered")


def test_after_an_error_no_empty_folder_is_left_but_nothing_else_is_touched(tmp_path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("new", "old"):
        with pytest.raises(KeyError), output_folder(tmp_path / name):
            raise KeyError
    with pytest.raises(FileNotFoundError), output_folder(tmp_path / "used") as folder:
        (folder / "result").mkdir() or (folder / "absent").unlink()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["old", "used", "used/result"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "x.json"
    write_json([1], path)
    with pytest.raises(ValueError, match="JSON"):
        write_json([float("nan")], path)
    with pytest.raises(KeyError), atomic_file(path) as file:  # noqa: PT012
        file.write(b"half")
        raise KeyError
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="could not be written"):
        write_json([1], tmp_path / "folder")
    assert json.loads(path.read_text()) == [1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "x.json"]


def write_slowly(path: Path, content: bytes, all_have_begun: threading.Barrier) -> None:
    with atomic_file(path) as file:
        for byte in content:
            file.write(bytes([byte]))
            file.flush()
            all_have_begun.wait()


def test_writers_of_one_file_do_not_mix(tmp_path) -> None:
    path, barrier = tmp_path / "x", threading.Barrier(2, timeout=20)
    writers = [threading.Thread(target=write_slowly, args=(path, letter * 20, barrier)) for letter in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert path.read_bytes() in (b"a" * 20, b"b" * 20)
    assert list(tmp_path.iterdir()) == [path]
