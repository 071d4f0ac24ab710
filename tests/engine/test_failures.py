import pytest
import torch

from yolact.config import Config, ModelConfig, TrainConfig
from yolact.engine.failures import explained
from yolact.errors import UserError

CONFIG = Config(model=ModelConfig(image_size=64), train=TrainConfig(batch_size=4, image_sizes=(64, 96)))


def raise_in(error, happen=lambda: None):
    with explained(CONFIG, torch.device("cpu"), lambda: 6, lambda: "go on from step 5 with --resume last.pth"):
        happen()
        raise error


def test_too_little_memory_says_what_to_lower():
    with pytest.raises(UserError) as caught:
        raise_in(AssertionError(), lambda: torch.empty(2**50))
    message = str(caught.value)
    assert message.startswith("Out of memory on cpu at step 7, with batches of 4 images of 96 pixels (")
    assert "can't allocate memory" in message
    assert "lower train.batch_size (train.accumulate can make up for it)" in message
    assert message.endswith("go on from step 5 with --resume last.pth.")
    assert "\n" not in message
    assert isinstance(caught.value.__cause__, RuntimeError)  # for who wants the traceback


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "Out of memory on cpu"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines"), "Out of memory on cpu"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "Out of memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "Out of memory on cpu"),
        (
            RuntimeError("adaptive_max_pool2d_backward_cuda does not have a deterministic implementation, but you set"),
            r"train\.deterministic is true, but adaptive_max_pool2d_backward_cuda has no",
        ),
        (RuntimeError("[pair.cc:545] gloo Read error [127.0.0.1]:23: reset by peer"), "Another rank of this program"),
    ],
)
def test_failures_are_one_sentence(error, said):
    with pytest.raises(UserError, match=rf"{said}.*; go on from step 5 with --resume last\.pth\.$") as caught:
        raise_in(error)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("no"), UserError("a sentence")])
def test_other_errors_pass_as_they_are(error):
    with pytest.raises(type(error)) as caught:
        raise_in(error)
    assert caught.value is error
