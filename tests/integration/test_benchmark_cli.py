import json
import os
import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolact.benchmark.memory import Memory, measure_memory
from yolact.config import dump_config
from yolact.errors import UserError

# Another implementation that is this one.
OTHER = """
from yolact.ops.nms import fast_nms

def nms():
    def stage(boxes, scores):
        index, labels, kept = fast_nms(boxes, scores, 0.5, 200, 100)
        return boxes[index] + {shift}, labels, kept
    return stage

def parts(weights, precision):
    return {{"decode": lambda path: path.read_bytes(), "encode": len}}
"""


@pytest.fixture(scope="module")
def command(load_script):
    return load_script("benchmark")


@pytest.fixture
def config(sample_config, tmp_path):
    (tmp_path / "sample.yaml").write_text(dump_config(sample_config))
    return str(tmp_path / "sample.yaml")


@pytest.fixture
def pictures(tmp_path):
    """A folder with two pictures of different sizes."""
    (tmp_path / "pictures").mkdir()
    for number, size in enumerate([(40, 60, 3), (70, 50, 3)]):
        cv2.imwrite(str(tmp_path / f"pictures/{number}.jpg"), np.full(size, 90, np.uint8))
    return str(tmp_path / "pictures")


@pytest.mark.parametrize(
    "stage", ["parts", "network", "throughput", "paper", "files", "data", "detection", "nms", "loss", "steps"]
)
def test_each_stage_reports_times(command, config, pictures, tmp_path, capsys, stage):
    options = ["--config", config, "--repeats", "2", "--pictures", pictures, "--output", str(tmp_path / "out")]
    command.main([stage, *options])
    written = json.loads((tmp_path / "out/benchmark.json").read_text())
    stages = written[stage]["stages"]
    assert stages
    assert all(figures["median_ms"] > 0 for figures in stages.values())
    assert "median ms" in capsys.readouterr().out
    assert "torch" in written["versions"]
    height, width, _ = cv2.imread(str(tmp_path / "out/benchmark.png")).shape
    assert width > 800
    assert height > 20 * len(stages)


def test_parts_of_a_picture_and_batches(command, config, pictures, tmp_path, capsys):
    (tmp_path / "other.py").write_text(OTHER.format(shift=0))
    result = tmp_path / "out/benchmark.json"
    options = ["--config", config, "--repeats", "1", "--output", str(result.parent)]
    command.main(["parts", *options, "--pictures", pictures, "--compare", str(tmp_path / "other.py")])
    parts = json.loads(result.read_text())["parts"]
    around, network = ["decode", "prepare", "NMS", "masks", "encode"], ["backbone", "FPN", "protonet", "head"]
    assert {*around, *(f"{part} fp32" for part in network)} <= parts["stages"].keys()
    assert parts["ratios"].keys() == {"decode", "encode"}  # what the other file builds
    command.main(["throughput", *options, "--batch-size", "3"])
    stages = json.loads(result.read_text())["throughput"]["stages"]
    assert {"batch of 1 fp32", "batch of 3 fp32"} <= stages.keys()


def hoard(megabytes):
    kept = []
    return lambda _: kept.append(b"x" * megabytes * 2**20)


def test_memory_is_that_of_the_work():
    little, much = (measure_memory(hoard, megabytes, repeats=3) for megabytes in (1, 50))
    if much.grown is None:
        pytest.skip("this system does not tell how much memory a process takes")
    assert 140 <= (much.grown - little.grown) / 2**20 <= 160
    assert much.peak > much.grown


def test_memory_of_every_stage(command, config, pictures, capsys, monkeypatch):
    def measure_here(build, *arguments, repeats):
        """Do what another process would do, without starting one."""
        build, arguments = pickle.loads(pickle.dumps((build, arguments)))
        build(*arguments)(0)
        return Memory(peak=3 * 2**20, grown=None)

    monkeypatch.setattr(command, "measure_memory", measure_here)
    threads = torch.get_num_threads()
    try:
        command.main(["memory", "--config", config, "--pictures", pictures])
    finally:
        torch.set_num_threads(threads)  # as a loader's process it takes one
    printed = capsys.readouterr().out
    names = ("sample ", "training step fp32", "detect and masks 1920 x 1080", "file to masks fp32")
    assert all(name in printed for name in names)


def test_another_implementation_is_measured_beside(command, config, tmp_path, capsys):
    (tmp_path / "other.py").write_text(OTHER.format(shift=0))
    command.main(["nms", "--config", config, "--repeats", "2", "--compare", str(tmp_path / "other.py")])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Fast NMS 50, compared") for line in lines)
    own = next(line for line in lines if line.startswith("Fast NMS 50 "))
    assert len(own.split()) == 7  # name in three words, three figures and the ratio
    command.main(["detection", "--config", config, "--repeats", "1", "--compare", str(tmp_path / "other.py")])
    assert "compared" not in capsys.readouterr().out  # the file does not build this stage


def test_other_results_are_not_compared(command, config, tmp_path):
    (tmp_path / "other.py").write_text(OTHER.format(shift=1))
    with pytest.raises(ValueError, match="finds other boxes"):
        command.main(["nms", "--config", config, "--repeats", "1", "--compare", str(tmp_path / "other.py")])


BREAKS = """
import os, sys

sys.stderr = open(os.devnull, "w")  # the traceback is for who wrote the file

def training_step(weights, precision):
    return [][1]

def network(weights, precision):
    return lambda images: os._exit(3)
"""


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        ("steps", "other.py' failed in its 'training_step': IndexError: list index out of range."),
        ("network", "other.py' for --compare has died."),
    ],
)
def test_another_implementation_that_fails_is_named(command, config, tmp_path, stage, sentence):
    (tmp_path / "other.py").write_text(BREAKS)
    with pytest.raises(UserError, match=re.escape(sentence)):
        command.main([stage, "--config", config, "--repeats", "1", "--compare", str(tmp_path / "other.py")])


def test_whole_networks_are_compared_in_a_process_of_their_own(command, config, tmp_path, capsys):
    source = """
import os

def network(weights, precision):
    def stage(images):
        with open({seen!r}, "a") as file:
            print(os.getpid(), weights, precision, list(images.shape), id(images), file=file)
    return stage
"""
    seen, other = tmp_path / "seen.txt", tmp_path / "other.py"
    other.write_text(source.format(seen=str(seen)))
    command.main(["network", "--config", config, "--repeats", "2", "--compare", str(other)])
    rows = [line.split(maxsplit=3) for line in seen.read_text().splitlines()]
    assert len(rows) == 5  # three calls before the timed ones
    processes = {int(process) for process, *_ in rows}
    assert len(processes) == 1
    assert processes != {os.getpid()}
    with pytest.raises(ProcessLookupError):
        os.kill(processes.pop(), 0)
    assert {(Path(weights).name, precision) for _, weights, precision, _ in rows} == {("sample_0_0.pth", "fp32")}
    inputs = [rest for *_, rest in rows]
    assert inputs[0] == inputs[4]  # of four images in turn, none is sent again
    assert len(set(inputs)) == 4
    assert "network, compared" in capsys.readouterr().out


def test_evaluation_gives_the_same_figures_either_way(command, config, capsys):
    pytest.importorskip("hotcoco", reason="an optional extra: pip install hotcoco")
    command.main(["evaluation", "--config", config, "--num-pictures", "5"])
    lines = capsys.readouterr().out.splitlines()
    fast, reference = (next(line for line in lines if line.startswith(f"evaluation, {e}")) for e in command.ENGINES)
    assert fast.partition("mask AP")[2] == reference.partition("mask AP")[2] != ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nms", "--compare", "nowhere.py"], "'nowhere.py' is no Python file"),
        (["files"], "needs pictures: give a folder of them by --pictures"),
        (["files", "--pictures", "."], "holds no .jpg files"),
    ],
)
def test_mistakes(command, config, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(sentence)):
        command.main([*arguments, "--config", config])
