import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from yolact import distributed
from yolact.distributed import ALONE, Processes, how_lost, joined_processes, lost_processes, own_device
from yolact.errors import LostProcessError, UserError

PROGRAM = Path(__file__).with_name("distributed_program.py")


def test_a_process_alone_waits_for_nobody():
    with joined_processes() as processes:
        assert processes == ALONE
    assert processes.first
    value = torch.tensor([1.5])
    assert processes.total(value) is value
    assert processes.largest(3) == 3
    assert processes.collect({1: 2}) == [{1: 2}]
    assert processes.from_first(lambda: "made") == "made"
    module = torch.nn.Linear(1, 1)
    assert processes.replicate(module) is module
    with pytest.raises(KeyError), processes.together():
        raise KeyError


def test_equal_runs_of_a_batch_belong_to_each_process():
    assert [rank for place in range(6) for rank in range(3) if Processes(rank, 3).own(place, 6)] == [0, 0, 1, 1, 2, 2]
    assert Processes(1, 3).share(6) == 2


def test_two_processes():
    command = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node", "2", PROGRAM]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROGRAM.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{name} holds in process {rank}"
        for rank in range(2)
        for name in (
            "numbers", "json_data", "failures", "modules", "losses_and_gradients", "nothing_to_learn_in_one_share",
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "[/src/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:23473: Connection reset by peer. This is "
            "typically caused by a remote worker.",
            "(Read error Connection reset by peer)",
        ),
        ("NCCL communicator was aborted on rank 1.", "(NCCL communicator was aborted on rank 1)"),
    ],
)
def test_a_lost_connection_is_one_sentence(message, reason):
    with pytest.raises(LostProcessError) as caught, lost_processes():
        raise RuntimeError(message)
    assert reason in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "23473" not in str(caught.value)


def test_other_errors_are_not_about_connections():
    assert how_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    with pytest.raises(RuntimeError, match="mat1"), lost_processes():
        raise RuntimeError("mat1")


@pytest.fixture
def four_processes(monkeypatch):
    """Make this process one of four on a machine with CUDA."""
    assert not dist.is_torchelastic_launched()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(distributed, "pick_device", lambda name: torch.device(name or "cuda"))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (None, r"4 processes .* one for each GPU, but it has 2: .*--nproc-per-node 2"),
        ("cuda:1", r"'cuda:1' would be that of all 4 processes"),
        ("mps", "cannot be shared by 4 processes"),
    ],
)
@pytest.mark.usefixtures("four_processes")
def test_devices_that_processes_cannot_have(monkeypatch, device, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=message):
        own_device(device)


@pytest.mark.usefixtures("four_processes")
def test_processes_share_a_cpu():
    assert own_device("cpu") == torch.device("cpu")
