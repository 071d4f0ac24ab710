import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from yolact.errors import CheckpointError, ConfigError, UserError

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["fast", "exact", "cross_class"]
# Detections of an untrained model rarely overlap by more than one half; at this IoU the kinds of NMS differ.
SETTINGS = ["--device", "cpu", "--set", "eval.nms_threshold=0.1"]


@pytest.fixture(scope="module")
def command(load_script):
    return load_script("compare_nms")


@pytest.fixture(scope="module")
def content(command, sample_checkpoint, tmp_path_factory):
    """What compare_nms.json holds."""
    folder = tmp_path_factory.mktemp("compare") / "results"
    command.main(["--weights", str(sample_checkpoint), "--output", str(folder), *SETTINGS])
    assert [path.name for path in folder.iterdir()] == ["compare_nms.json"]
    return json.loads((folder / "compare_nms.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_the_figures_are_those_of_an_evaluation_with_that_nms(content, sample_checkpoint, tmp_path, kind):
    arguments = ["--weights", str(sample_checkpoint), "--output", str(tmp_path), *SETTINGS, f"eval.nms={kind}"]
    importlib.import_module("eval").main(arguments)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    found = content["nms"][kind]
    for key in ("segm", "bbox", "per_class"):
        assert found[key] == metrics[key]
    assert found["milliseconds"].keys() == metrics["milliseconds"].keys()


def test_the_kinds_do_not_find_the_same(content):
    assert list(content["nms"]) == KINDS
    assert len({json.dumps(found["bbox"]) for found in content["nms"].values()}) == 3


def test_the_file_tells_what_the_figures_depend_on(content, sample_checkpoint):
    own = {key: value for key, value in content.items() if key not in ("nms", "device", "versions")}
    assert own == {
        "config": "sample",
        "weights": sample_checkpoint.name,
        "annotations": "annotations.json",
        "images": 6,
        "batch_size": 1,
        "dtype": "float32",
        "processes": 1,
        "score_threshold": 0.05,
        "nms_threshold": 0.1,
        "nms_top_k": 200,
        "max_detections": 100,
        "threads": torch.get_num_threads(),
    }
    assert content["device"].startswith("cpu (")
    assert content["versions"]["torch"] == str(torch.__version__)


def rows(shown, marker):
    """Return the words of the three lines below the header after `marker`."""
    lines = shown.split(marker)[1].splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("NMS"))
    return [line.split() for line in lines[header + 1 : header + 4]]


def test_one_table_shows_accuracy_time_and_difference(command, content):
    content["nms"]["fast"]["segm"]["AP"], content["nms"]["exact"]["segm"]["AP"] = 0.299, 0.3004
    content["nms"]["fast"]["bbox"]["AP"], content["nms"]["exact"]["bbox"]["AP"] = 0.323, 0.3204
    content["nms"]["fast"].update(milliseconds={"detect": 3.0}, fps=33.5)
    content["nms"]["exact"].update(milliseconds={"detect": 15.126}, fps=24.0)
    content["nms"]["cross_class"]["segm"]["AP"] = None
    shown = command.report(content)
    fast, exact, cross_class = rows(shown, "6 pictures")
    assert fast == ["fast", "0.299", "0.323", "3.00", "33.5"]
    assert exact == ["exact", "0.300", "(+0.001)", "0.320", "(-0.003)", "15.13", "(+12.13)", "24.0", "(-9.5)"]
    assert cross_class[:2] == ["cross_class", "-"]
    paper_fast, paper_exact, *_ = rows(shown, "The paper")
    assert paper_fast == ["fast", "0.299", "33.5"]
    assert paper_exact == ["exact", "0.300", "(+0.001)", "24.0", "(-9.5)"]
    assert content["device"] in shown


def test_the_command_shows_table_and_file(command, sample_checkpoint, tmp_path, capsys):
    command.main(["--weights", str(sample_checkpoint), "--output", str(tmp_path), *SETTINGS, "eval.max_images=2"])
    shown = capsys.readouterr()
    assert [row[0] for row in rows(shown.out, "sample: 2 pictures of annotations.json")] == KINDS
    assert str(tmp_path / "compare_nms.json") in shown.out
    assert "2/2" in shown.err  # the progress bar


def test_mistakes_are_named_and_leave_nothing_behind(command, sample_checkpoint, sample_data, tmp_path):
    data = json.loads((sample_data / "annotations.json").read_text())
    data["categories"][0]["name"] = "ring"
    (tmp_path / "other.json").write_text(json.dumps(data))
    (tmp_path / "file").touch()
    weights, output = ["--weights", str(sample_checkpoint)], ["--output", str(tmp_path / "out")]
    for arguments, error, message in (
        (["--weights", str(tmp_path / "none.pth"), *output, *SETTINGS], CheckpointError, "none.pth"),
        ([*weights, *output, *SETTINGS, "eval.nms_treshold=1"], ConfigError, "nms_threshold"),
        ([*weights, *output, *SETTINGS, f"data.val_annotations={tmp_path / 'other.json'}"], CheckpointError, "ring"),
        ([*weights, "--output", str(tmp_path / "file"), *SETTINGS], UserError, "cannot be written"),
    ):
        with pytest.raises(error, match=message):
            command.main(arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other.json"]


def test_a_mistake_is_one_line_and_exit_code_2_on_the_command_line(tmp_path):
    run = [sys.executable, "scripts/compare_nms.py", "--weights", str(tmp_path / "none.pth"), "--device", "cpu"]
    process = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    assert "none.pth" in line
