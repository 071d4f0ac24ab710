"""Several ranks on this machine: one training, one evaluation, and what becomes of them when one dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.child import free_port
from tests.integration.conftest import evaluate, lines, train
from tests.reliability.trainings import last_step, of_session, wait_until
from yolact.engine.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = Path(sys.executable).with_name("torchrun")
# Batches of padded rectangles that show tiles and that one, two and four ranks share out, with a sampling of masks that
# matters and accumulation.
SETTINGS = [
    "train.batch_size=4", "train.accumulate=2", "train.freeze_batch_norm=always", "train.optimizer=sgd",
    "train.lr=1e-3", "train.max_steps=4", "train.save_every=2", "train.eval_every=2", "loss.masks_to_train=3",
    "model.image_size=[64,96]", "model.resize=pad", "train.image_sizes=[[48,64],[64,96]]", "eval.score_threshold=0.005",
    "data.tiles=[64,80]",
]  # fmt: skip
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes through /proc")


def start(program, count, *arguments):
    """Start train.py, eval.py or another program on `count` ranks and return torchrun's own process."""
    verbs = {"train.py": ["-m", "tests.configurations", "train"], "eval.py": ["-m", "tests.configurations", "eval"]}
    command = [TORCHRUN, "--nproc-per-node", count, "--master-port", free_port(), *verbs.get(program, [ROOT / program])]
    command += ["--device", "cpu", *arguments]
    return subprocess.Popen(
        list(map(str, command)), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended_with(code, process):
    """Wait for a process and return what it said."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said
    return said


def together(program, count, *arguments):
    """Run `program` on `count` ranks to its end and return what it says."""
    return ended_with(0, start(program, count, *arguments))


def refused(*arguments):
    """Train on two ranks, which must end with one error; return what they said."""
    said = ended_with(1, start("train.py", 2, *arguments))
    assert said.count("error:") == 1, said
    return said


def training(config, runs, name, *more):
    return ["--config", config, "--runs", runs, "--name", name, "--set", *SETTINGS, *more]


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory):
    """Folder of a run of one rank."""
    runs = tmp_path_factory.mktemp("alone")
    assert train(*training(config, runs, "one")) == 0
    return runs / "tiny/one"


def require_equal(folder, other):
    """Compare losses and weights of two runs to 1e-5, relative to what is largest in a tensor."""
    assert [line["step"] for line in lines(folder)] == [line["step"] for line in lines(other)]
    for line, twin in zip(lines(folder), lines(other), strict=True):
        if "losses" in line:
            assert line["losses"] == pytest.approx(twin["losses"], rel=1e-5)
    ours, theirs = load_checkpoint(folder / "last.pth"), load_checkpoint(other / "last.pth")
    assert (ours["step"], ours["position"]) == (theirs["step"], theirs["position"])
    for weights in ("model", "ema"):
        for name, value in theirs[weights].items():
            # Biases begin with zero, and sums that cancel out leave them small: these are compared to 1e-7.
            torch.testing.assert_close(ours[weights][name], value, rtol=1e-5, atol=1e-7, msg=name)


def test_two_ranks_train_as_one(config, alone, tmp_path):
    said = together("train.py", 2, *training(config, tmp_path, "two", "train.max_steps=2"))
    assert said.count("plan: 2 steps of 8 images") == 1
    assert "2 ranks, each with 2 images of a batch" in said
    two = tmp_path / "tiny/two"
    assert {path.name for path in two.iterdir()} >= {"config.yaml", "log.txt", "last.pth", "best.pth", "losses.png"}
    assert load_checkpoint(two / "last.pth")["processes"] == 2
    # One rank goes on with what two began.
    assert train("--resume", two, "--set", "train.max_steps=4") == 0
    require_equal(two, alone)


@pytest.mark.long
@pytest.mark.parametrize("count", [2, 4])
def test_ranks_train_as_one(config, alone, tmp_path, count):
    together("train.py", count, *training(config, tmp_path, "shared"))
    require_equal(tmp_path / "tiny/shared", alone)


@pytest.mark.long
def test_every_number_of_ranks_evaluates_alike(alone, tmp_path):
    weights = ["--weights", str(alone / "last.pth")]
    evaluate(*weights, "--output", tmp_path / "1")
    counts = (1, 2, 3, 4)  # for three images: unevenly many, one each, none for the last rank
    for count in counts[1:]:
        said = together("eval.py", count, *weights, "--output", tmp_path / str(count))
        assert said.count("at most 100 detections of a tile") == 1
    results = [json.loads((tmp_path / str(count) / "metrics.json").read_text()) for count in counts]
    assert results[0]["images"] == 3
    assert len(json.loads((tmp_path / "1/detections_bbox.json").read_text())) > 100
    for count, metrics in zip(counts, results, strict=True):
        assert metrics.pop("processes") == count
        for key in ("milliseconds", "fps", "device"):
            del metrics[key]
    assert all(metrics == results[0] for metrics in results)
    for name in ("detections_segm.json", "detections_bbox.json", "config.yaml"):
        contents = {(tmp_path / str(count) / name).read_bytes() for count in counts}
        assert len(contents) == 1
        assert len(contents.pop()) > 100


def children(pid):
    """Return the ids of the ranks' processes that torchrun started."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks = [entry.partition(b"=")[2] for entry in environment if entry.startswith(b"RANK=")]
        found[int(ranks[0])] = int(child)
    return found


def wait_for_steps(folder, process, file="metrics.jsonl"):
    """Return as soon as three steps have been logged, and a file is there."""
    wait_until(lambda: process.poll() is not None or (last_step(folder) >= 3 and (folder / file).exists()))
    assert process.poll() is None, process.stdout.read()


def ended(ranks):
    """Tell whether these processes are gone, each the first of a session of its own, and those that they started."""
    return not any(map(of_session, ranks.values()))


@pytest.mark.long
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_all_and_resume_goes_on(config, tmp_path, victim):
    arguments = ["train.max_steps=20", "train.save_every=1", "train.eval_every=null", "data.num_workers=1"]
    together("train.py", 2, *training(config, tmp_path, "whole", *arguments))
    process = start("train.py", 2, *training(config, tmp_path, "killed", *arguments))
    killed, whole = tmp_path / "tiny/killed", tmp_path / "tiny/whole"
    wait_for_steps(killed, process, "last.pth")
    ranks = children(process.pid)
    os.kill(ranks[victim], signal.SIGKILL)
    since = time.monotonic()
    said, _ = process.communicate(timeout=60)
    seconds = time.monotonic() - since
    print(f"rank {victim} killed: all ended {seconds:.1f} seconds later")
    assert seconds < 30
    assert process.returncode == 1
    assert ended(ranks)
    assert said.count("error: Another rank of this program ended or cannot be reached") == 1
    stopped = load_checkpoint(killed / "last.pth")["step"]
    assert 1 <= stopped < 20
    said = together("train.py", 2, "--resume", killed)
    assert f"at step {stopped}" in said
    assert lines(killed) == lines(whole)
    ours, theirs = (load_checkpoint(folder / "last.pth")["model"] for folder in (killed, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


@pytest.mark.long
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler_that_signals_every_process_still_gets_a_checkpoint(config, tmp_path, stop):
    """The ranks get the signal twice, from it and from torchrun, and one has nothing to do while another saves."""
    arguments = ["train.max_steps=500", "train.save_every=200", "train.eval_every=null", "data.num_workers=1"]
    given = training(config, tmp_path, "signalled", *arguments)
    process = start("tests/integration/slow_disk.py", 2, *given)
    folder = tmp_path / "tiny/signalled"
    wait_for_steps(folder, process)
    ranks = children(process.pid)
    # SIGUSR1 would end torchrun itself: scripts/slurm.sh lets it ignore that.
    for pid in (*ranks.values(), *([process.pid] if stop == signal.SIGTERM else [])):
        os.kill(pid, stop)
    said, _ = process.communicate(timeout=60)
    assert ended(ranks)
    assert "without saving" not in said.replace("a second signal stops at once, without saving", "")
    assert "error:" not in said
    assert load_checkpoint(folder / "last.pth")["step"] == lines(folder)[-1]["step"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["train.batch_size=3"], "error: train.batch_size of configuration 'tiny' is 3, which 2 ranks cannot"),
        (["train.freeze_batch_norm=never", "train.sync_batch_norm=true"], "error: train.sync_batch_norm"),
        (["data.train_annotations=none.json"], "none.json"),
    ],
)
def test_a_mistake_is_told_once(config, tmp_path, more, sentence):
    said = refused(*training(config, tmp_path / "runs", "wrong", *more))
    assert said.count(sentence) == 1, said
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
def test_an_image_that_cannot_be_read_ends_all_with_a_checkpoint(config, tmp_path):
    content = json.loads((config.parent / "shapes/instances_train.json").read_text())
    content["images"][3]["file_name"] = "absent.png"
    (tmp_path / "train.json").write_text(json.dumps(content))
    own = [f"data.train_annotations={tmp_path}/train.json", "train.save_every=100", "train.eval_every=null"]
    assert "absent.png" in refused(*training(config, tmp_path, "absent", *own, "train.accumulate=1"))
