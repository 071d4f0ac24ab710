"""The training command line on a handful of generated pictures: artefacts, exact resume, fine-tuning, mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train
from yolact.engine.checkpoint import load_checkpoint
from yolact.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def run(config, runs, name, *more):
    code = train.main(["--config", str(config), "--runs", str(runs), "--name", name, "--device", "cpu", *more])
    return code, runs / "tiny" / name


def training_lines(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "losses" in line]


def test_a_run_leaves_what_it_promises(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.jsonl", "last.pth", "best.pth", "losses.png", "map.png"} <= names
    assert [line["step"] for line in training_lines(finished)] == list(range(1, 13))
    log = (finished / "log.txt").read_text()
    assert "12 steps of 2 pictures" in log
    assert "batch norm trained" in log
    checkpoint = load_checkpoint(finished / "best.pth")
    assert checkpoint["class_names"] == ["circle", "square", "triangle", "star", "ring"]
    assert checkpoint["category_ids"] == [3, 7, 11, 20, 42]
    assert checkpoint["config"]["model"]["num_classes"] == 5
    assert checkpoint["step"] == 12


def test_the_number_of_workers_changes_nothing(config, finished, tmp_path):
    _, folder = run(config, tmp_path, "workers", "--set", "data.num_workers=2")
    assert training_lines(folder) == training_lines(finished)


def test_what_is_off_by_default_trains_and_resumes_exactly(config, tmp_path):
    augment = ["data.augment.scale_jitter=[0.5,2]", "data.augment.copy_paste_probability=0.5", "train.schedule=steps"]
    sizes = "train.image_sizes=[48,96]"
    _, whole = run(config, tmp_path, "whole", "--set", *augment, sizes, "train.max_steps=6")
    _, cut = run(config, tmp_path, "cut", "--set", *augment, sizes, "train.max_steps=3")
    _, one_size = run(config, tmp_path, "one size", "--set", *augment, "train.max_steps=1")
    assert training_lines(one_size)[0] != training_lines(whole)[0]
    again = ["--resume", str(cut), "--device", "cpu", "--set", "train.max_steps=6", "data.num_workers=2"]
    assert train.main(again) == 0
    assert training_lines(cut) == training_lines(whole)
    assert len(training_lines(whole)) == 6


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_interrupted_by_ctrl_c_goes_on_exactly(config, finished, tmp_path, workers):
    command = [sys.executable, "train.py", "--config", config, "--runs", tmp_path, "--name", "cut", "--device", "cpu"]
    slow = ["--set", f"data.num_workers={workers}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([*map(str, command), *slow], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    folder = tmp_path / "tiny/cut"
    wait_for_line(folder / "metrics.jsonl", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    stopped = load_checkpoint(folder / "last.pth")["step"]
    assert 1 <= stopped < 12
    assert train.main(["--resume", str(folder), "--device", "cpu"]) == 0
    assert training_lines(folder) == training_lines(finished)
    ours, whole = (load_checkpoint(path / "last.pth") for path in (folder, finished))
    for weights in ("model", "ema"):
        assert all(torch.equal(ours[weights][key], value) for key, value in whole[weights].items())


def wait_for_line(path, process):
    """Return as soon as a training step has been logged."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, "the run ended before it could be interrupted"
        if path.exists() and path.read_text().count("\n"):
            return
        time.sleep(0.001)
    pytest.fail("no step was logged within a minute")


def test_accumulation_adds_up_to_the_larger_batch(config, tmp_path):
    """With frozen batch norm and one anchor normaliser a picture, two batches of one are close to a batch of two."""
    common = ["--set", "train.freeze_batch_norm=always", "--set", "train.max_steps=1"]
    run(config, tmp_path, "whole", *common)
    run(config, tmp_path, "parts", *common, "--set", "train.batch_size=1", "--set", "train.accumulate=2")
    checkpoints = [load_checkpoint(tmp_path / "tiny" / name / "last.pth") for name in ("whole", "parts")]
    assert [checkpoint["position"] for checkpoint in checkpoints] == [2, 2]
    semantic = [training_lines(tmp_path / "tiny" / name)[0]["losses"]["semantic"] for name in ("whole", "parts")]
    assert semantic[0] == pytest.approx(semantic[1], rel=1e-5)  # the one term that is a plain mean over pictures


def test_fine_tuning_to_other_classes_lists_what_it_remade(config, finished, tmp_path):
    annotations = json.loads((config.parent / "shapes/instances_train.json").read_text())
    for name in ("train", "val"):
        content = json.loads((config.parent / f"shapes/instances_{name}.json").read_text())
        content["categories"] = [{"id": 5, "name": "thing"}]
        for annotation in content["annotations"]:
            annotation["category_id"] = 5
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert len(annotations["categories"]) == 5
    own = [
        "--set",
        f"data.train_annotations={tmp_path}/train.json",
        "--set",
        f"data.val_annotations={tmp_path}/val.json",
    ]
    _, folder = run(config, tmp_path, "fine", *own, "--weights", str(finished / "best.pth"))
    log = (folder / "log.txt").read_text()
    assert "re-made head.class_logits.bias [6]: the file has [18]" in log
    assert "4 re-made" in log
    assert load_checkpoint(folder / "best.pth")["class_names"] == ["thing"]


def test_a_nonfinite_loss_is_skipped_named_and_finally_stops_the_run(config, tmp_path):
    with pytest.raises(UserError, match="not finite in 3 steps in a row"):
        run(config, tmp_path, "inf", "--set", "loss.box_weight=1e38", "--set", "train.max_nonfinite=3")
    log = (tmp_path / "tiny/inf/log.txt").read_text()
    assert log.count("left out, its loss or gradient is not finite") == 3
    assert "picture ids [" in log


def arguments(config, *more):
    return ["--config", str(config), "--device", "cpu", *more]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c, t: ["--config", "configs/none.yaml"], r"configs/none\.yaml"),
        (lambda c, t: arguments(c, "--set", "train.batchsize=4"), "batch_size"),
        (lambda c, t: arguments(c, "--set", "train.batch_size=four"), "train.batch_size"),
        (lambda c, t: arguments(c, "--set", "data.train_annotations=none.json"), r"none\.json"),
        (lambda c, t: arguments(c, "--set", "model.num_classes=80"), "declares 5 categories"),
        (lambda c, t: arguments(c, "--weights", str(t / "none.pth")), r"none\.pth"),
        (lambda c, t: ["--resume", str(t)], r"last\.pth"),
        (lambda c, t: arguments(c, "--runs", "/proc/runs"), "/proc/runs"),
    ],
)
def test_mistakes_give_one_sentence_and_leave_nothing(config, tmp_path, make, message):
    runs = tmp_path / "runs"
    with pytest.raises(UserError, match=message) as caught:
        train.main(["--runs", str(runs), *make(config, tmp_path)])
    assert "\n" not in str(caught.value)
    assert not runs.exists()


def test_a_missing_gpu_is_one_sentence_and_exit_code_2(config):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    command = [sys.executable, "train.py", "--config", str(config), "--device", "cuda"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Device 'cuda' was asked for")
    assert done.stderr.count("\n") == 1


def test_a_new_run_does_not_write_into_an_old_one(config, finished):
    with pytest.raises(UserError, match="already holds a run"):
        run(config, finished.parents[1], "whole")


def test_weights_alone_cannot_be_resumed(finished, tmp_path):
    weights = load_checkpoint(finished / "best.pth")["model"]
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="nothing to resume"):
        train.main(["--resume", str(tmp_path / "weights.pth"), "--device", "cpu"])
