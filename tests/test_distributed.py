import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from tests.child import free_port
from yolact import distributed
from yolact.distributed import SINGLE, how_lost, joined_world, local_device
from yolact.errors import UserError

PROGRAM = Path(__file__).with_name("distributed_program.py")


def test_one_rank_waits_for_nobody():
    with joined_world() as world:
        assert world == SINGLE
    assert world.is_main_process
    assert world.share(6) == 6
    value = torch.tensor([1.5])
    assert world.all_reduce(value) is value
    assert world.maximum(3) == 3
    assert world.gather({1: 2}) == world.all_gather({1: 2}) == [{1: 2}]
    assert world.broadcast(lambda: "made") == "made"
    module = torch.nn.Linear(1, 1)
    assert world.replicate(module) is module
    with pytest.raises(KeyError), world.raising_on_all():
        raise KeyError


def test_two_ranks():
    torchrun, port = Path(sys.executable).with_name("torchrun"), str(free_port())
    command = [torchrun, "--nproc-per-node", "2", "--master-port", port, PROGRAM]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROGRAM.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("holds on rank 0") == done.stdout.count("holds on rank 1") == 8


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
    sentence = how_lost(RuntimeError(message))
    assert reason in sentence
    assert "23473" not in sentence
    assert how_lost(RuntimeError("shapes differ")) is None


@pytest.fixture
def four_ranks(monkeypatch):
    """Make this process one of four on a machine with CUDA."""
    assert not dist.is_torchelastic_launched()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(distributed, "pick_device", lambda name: torch.device(name or "cuda"))


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (None, r"4 ranks .* one for each GPU, but it has 2: .*--nproc-per-node 2"),
        ("cuda:1", r"'cuda:1' cannot be that of all 4 ranks"),
        ("mps", "'mps' cannot be that of all 4 ranks"),
    ],
)
@pytest.mark.usefixtures("four_ranks")
def test_devices_that_ranks_cannot_have(monkeypatch, device, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=message):
        local_device(device)


@pytest.mark.usefixtures("four_ranks")
def test_ranks_share_a_cpu():
    assert local_device("cpu") == torch.device("cpu")
