import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from yolact.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command(load_script):
    return load_script("compare_runs")


@pytest.fixture(scope="module")
def evaluations(sample_checkpoint, tmp_path_factory):
    """Two evaluations of one model, as eval.py writes them."""
    folder = tmp_path_factory.mktemp("compare")
    for name, nms in (("one", "fast"), ("two", "cross_class")):
        arguments = ["--weights", str(sample_checkpoint), "--device", "cpu", "--output", str(folder / name)]
        importlib.import_module("eval").main([*arguments, "--set", f"eval.nms={nms}"])
    return folder


def test_two_evaluations_stand_side_by_side(command, evaluations, tmp_path, capsys):
    output = tmp_path / "pages" / "comparison.html"
    command.main([str(evaluations / "one"), str(evaluations / "two" / "metrics.json"), "--output", str(output)])
    shown = capsys.readouterr().out
    ap = [json.loads((evaluations / name / "metrics.json").read_text())["segm"]["AP"] for name in ("one", "two")]
    for part in (f"{ap[0]:.3f}   {ap[1]:.3f}", "the same data: 6 pictures of annotations.json", str(output)):
        assert part in shown
    lines = shown.splitlines()
    assert [line.split() for line in lines if "eval.nms" in line] == [["eval.nms", "fast", "cross_class"]]
    assert "eval.nms" in output.read_text()


def test_a_training_run_shows_how_it_learned(command, finished, tmp_path, capsys):
    command.main([str(finished), str(finished), "--output", str(tmp_path / "page.html")])
    assert "in training, step 12" in capsys.readouterr().out
    assert "<h2>Learning</h2>" in (tmp_path / "page.html").read_text()


def test_mistakes_are_named_and_leave_nothing_behind(command, evaluations, tmp_path):
    (tmp_path / "file").touch()
    one, output = str(evaluations / "one"), str(tmp_path / "out" / "page.html")
    for arguments, message in (
        ([one, "--output", output], "got 1"),
        ([one, str(tmp_path / "none"), "--output", output], "none' does not exist"),
        ([one, str(tmp_path), "--output", output], "has neither"),
        ([one, str(tmp_path / "file"), "--output", output], "is not JSON"),
        ([one, one, "--output", str(tmp_path / "page.pdf")], r"ends with \.html.*page\.pdf"),
        ([one, one, "--output", str(tmp_path / "file" / "page.html")], "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            command.main(arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_mistake_is_one_line_and_exit_code_2_on_the_command_line(tmp_path):
    run = [sys.executable, "scripts/compare_runs.py", str(tmp_path / "a"), str(tmp_path / "b")]
    process = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    assert "does not exist" in line
