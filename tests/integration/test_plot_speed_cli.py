import importlib
import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from yolact.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command(load_script):
    return load_script("plot_speed")


@pytest.fixture(scope="module")
def metrics(sample_checkpoint, tmp_path_factory):
    """A metrics.json as eval.py writes it."""
    folder = tmp_path_factory.mktemp("plot") / "runs/sample/first/eval"
    arguments = ["--weights", str(sample_checkpoint), "--device", "cpu", "--output", str(folder)]
    importlib.import_module("eval").main(arguments)
    return folder / "metrics.json"


def test_an_evaluation_becomes_a_point(command, metrics, tmp_path, capsys):
    output = tmp_path / "plots" / "speed.png"
    command.main([str(metrics), f"my name={metrics}", "--output", str(output)])
    assert cv2.imread(str(output)) is not None
    content = json.loads(metrics.read_text())
    shown = capsys.readouterr().out
    for label in ("sample/first", "my name"):
        assert f"{label}: mask AP {100 * content['segm']['AP']:.1f} %, {content['fps']:.1f} FPS (6 pictures of" in shown
    assert content["device"] in shown
    assert str(output) in shown


def test_a_file_with_an_equals_sign_in_its_name_is_a_file(command, metrics, tmp_path):
    odd = tmp_path / "a=b.json"
    odd.write_text(metrics.read_text())
    assert [point.label for point in command.read_all([str(odd), f"c={odd}", str(metrics)])] == [
        "a=b",
        "c",
        "sample/first",
    ]


def test_mistakes_are_named_and_leave_nothing_behind(command, metrics, tmp_path):
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "file").touch()
    output = ["--output", str(tmp_path / "out" / "speed.png")]
    for arguments, message in (
        ([str(tmp_path / "none.json"), *output], "none.json"),
        ([str(tmp_path), *output], "Is a directory"),
        ([str(tmp_path / "list.json"), *output], r"list\.json' is not a metrics\.json"),
        ([str(metrics), str(metrics), *output], "given twice"),
        ([str(metrics), "--output", str(tmp_path / "speed.pdf")], r"ends with \.png.*speed\.pdf"),
        ([str(metrics), "--output", str(tmp_path / "file" / "speed.png")], "cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            command.main(arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "list.json"]


def test_a_mistake_is_one_line_and_exit_code_2_on_the_command_line(tmp_path):
    run = [sys.executable, "scripts/plot_speed.py", "README.md", "--output", str(tmp_path / "speed.png")]
    process = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: 'README.md' is not JSON")
    assert list(tmp_path.iterdir()) == []
