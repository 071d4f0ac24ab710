import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from yolact.config import Config, ModelConfig, TrainConfig
from yolact.engine.stopping import STOP_SIGNALS, Interrupted, Stop, explained
from yolact.errors import UserError


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_noted_and_nothing_else_happens(number, capfd):
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with Stop() as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop
        assert stop.number == number
    assert f"{signal.Signals(number).name}: stopping after this step" in capfd.readouterr().err
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before


def test_where_nothing_is_lost_the_block_is_left_at_once():
    with Stop() as stop:
        with pytest.raises(Interrupted), stop.interrupting():
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted), stop.interrupting():
            pytest.fail("a block was entered after the signal")


LAUNCHED = """
import signal, time
from yolact.engine import stopping as signals
with signals.Stop() as stop:
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)
    print("the program went on", stop.number == signal.SIGUSR1, flush=True)
    signals.SECONDS_OF_ECHO = 0.0
    signal.raise_signal(signal.SIGTERM)
    print("and on")
"""


def test_what_a_launcher_passes_on_is_no_second_signal_until_later(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    command = [sys.executable, "-c", LAUNCHED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "the program went on True\n"
    assert done.returncode == 143
    assert done.stderr.count("stopping after this step") == 1
    assert done.stderr.count("SIGTERM again: left at once") == 1


TRAINER = SimpleNamespace(
    config=Config(model=ModelConfig(image_size=64), train=TrainConfig(batch_size=4, image_sizes=(64, 96))),
    device=torch.device("cpu"),
    step=6,
    last_checkpoint=lambda: "go on from step 5 with --resume last.pth",
)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes.\nMore"),
            r"Out of memory on cpu at step 7, with batches of 4 images of 96 x 96 pixels \(.*memory.*\): lower ",
        ),
        (MemoryError(), "Out of memory on cpu"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines"), "Out of memory on cpu"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "Out of memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "Out of memory on cpu"),
        (
            RuntimeError("adaptive_max_pool2d_backward_cuda does not have a deterministic implementation, but you set"),
            r"train\.deterministic is true, but adaptive_max_pool2d_backward_cuda has no",
        ),
        (ValueError("Expected more than 1 value per channel when training"), "A batch norm that learns saw one image"),
        (RuntimeError("[pair.cc:545] gloo Read error [127.0.0.1]:23: reset by peer"), "Another rank of this program"),
    ],
)
def test_failures_are_one_sentence(error, said):
    pattern = rf"^{said}.*; go on from step 5 with --resume last\.pth\.$"
    with pytest.raises(UserError, match=pattern) as caught, explained(TRAINER):
        raise error
    assert caught.value.__cause__ is error  # for who wants the traceback


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("no"), UserError("a sentence")])
def test_other_errors_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught, explained(TRAINER):
        raise error
    assert caught.value is error
