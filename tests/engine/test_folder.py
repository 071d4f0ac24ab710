import os
import subprocess
import sys

import pytest
import torch

from tests.made import make_checkpoint
from yolact.engine import folder as folders
from yolact.engine.checkpoint import save_checkpoint
from yolact.engine.folder import find_checkpoint, locked, sweep, warn_of_little_space
from yolact.engine.state import NEEDED
from yolact.errors import CheckpointError, UserError


def save(path, step):
    """Save what passes for a checkpoint of a run, so much later than the one of step 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {"w": torch.full((50,), float(step))}
    save_checkpoint({**make_checkpoint(weights, {}, [], []), **dict.fromkeys(NEEDED), "step": step}, path)
    os.utime(path, (1_000_000 + step, 1_000_000 + step))
    return path


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    times = path.stat().st_mtime
    path.write_bytes(content)
    os.utime(path, (times, times))


@pytest.fixture
def runs(tmp_path):
    """Two runs; the newest checkpoint, of step 9, is the last.pth of the second."""
    save(tmp_path / "shapes/first/last.pth", 5)
    save(tmp_path / "shapes/first/last.prev.pth", 4)
    save(tmp_path / "base/second/last.pth", 9)
    save(tmp_path / "base/second/last.prev.pth", 8)
    save(tmp_path / "base/second/best.pth", 99)  # not what a run goes on from
    return tmp_path


def found(given, runs):
    result = find_checkpoint(given, runs)
    assert result.checkpoint["step"] == result.path.stat().st_mtime - 1_000_000
    return str(result.path.relative_to(runs)), result.warnings


def test_the_newest_is_found_and_a_damaged_one_passed_over_loudly(runs):
    assert found("", runs) == ("base/second/last.pth", [])
    damage(runs / "base/second/last.pth")
    path, warnings = found("", runs)
    assert path == "base/second/last.prev.pth"
    assert len(warnings) == 1
    assert "base/second/last.pth: the checkpoint is damaged" in warnings[0]
    damage(runs / "base/second/last.prev.pth")
    path, warnings = found("", runs)
    assert path == "shapes/first/last.pth"
    assert len(warnings) == 2


def test_a_folder_means_its_last_or_else_the_one_before(runs):
    folder = runs / "shapes/first"
    assert found(str(folder), runs) == ("shapes/first/last.pth", [])
    damage(folder / "last.pth")
    path, warnings = found(str(folder), runs)
    assert path == "shapes/first/last.prev.pth"
    assert "last.prev.pth" in warnings[0]
    (folder / "last.pth").unlink()
    path, warnings = found(str(folder), runs)
    assert (path, warnings) == ("shapes/first/last.prev.pth", [f"{folder}/last.pth is not there."])


def test_a_file_means_that_file_and_no_other(runs):
    assert found(str(runs / "base/second/best.pth"), runs)[0] == "base/second/best.pth"
    damage(runs / "base/second/last.pth")
    with pytest.raises(CheckpointError, match=r"damaged .*or use .*last\.prev\.pth"):
        find_checkpoint(str(runs / "base/second/last.pth"), runs)


def test_nothing_to_go_on_from(runs):
    with pytest.raises(CheckpointError, match=r"no checkpoint to resume in .*absent and its folders.*--config FILE"):
        find_checkpoint("", runs / "absent")
    (runs / "shapes/empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no checkpoint to resume in .*shapes/empty \(no last\.pth\)"):
        find_checkpoint(str(runs / "shapes/empty"), runs)
    for file in runs.rglob("last*.pth"):
        damage(file)
    with pytest.raises(CheckpointError, match=r"None of the 4 checkpoints in .* can be used; the newest: .*second"):
        find_checkpoint("", runs)


def test_what_lacks_a_run_is_not_gone_on_from(runs, tmp_path):
    save(tmp_path / "weights.pth", 3)
    state = torch.load(tmp_path / "weights.pth", weights_only=True)
    torch.save({key: value for key, value in state.items() if key != "optimizer"}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="lacks optimizer, so there is nothing to resume"):
        find_checkpoint(str(tmp_path / "weights.pth"), runs)
    torch.save({key: value for key, value in state.items() if key != "scaler"}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="lacks scaler"):
        find_checkpoint(str(tmp_path / "weights.pth"), runs)


HOLDER = """
import sys
from pathlib import Path
from yolact.engine.folder import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "SECONDS_TO_WAIT", 0.1)
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(UserError, match="Another process is training in"), locked(tmp_path):
            pytest.fail("the lock was given twice")
        holder.kill()  # as a killed run would
    with locked(tmp_path):
        pass


def test_the_leftovers_of_a_kill_are_swept(tmp_path):
    for name in ("last.pth", "last.pth.1f.tmp", "last.prev.pth.tmp", "log.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.tmp").mkdir()
    sweep(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder.tmp", "last.pth", "log.txt"]


def test_a_disk_too_small_for_the_checkpoints_is_told_at_the_start(tmp_path, caplog):
    warn_of_little_space(tmp_path, 1)
    assert caplog.text == ""
    warn_of_little_space(tmp_path, 2**60)
    assert "the checkpoints need about 4611686018427 MB" in caplog.text  # last, the one before, best and a new one
