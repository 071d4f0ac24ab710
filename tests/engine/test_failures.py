import pytest
import torch

from yolact.engine.failures import explained
from yolact.errors import UserError


def test_too_little_memory_says_what_to_lower(make_run):
    run = make_run(batch_size=4, image_sizes=(64, 96))
    run.step = 6
    with pytest.raises(UserError) as caught, explained(run):
        torch.empty(2**50)
    message = str(caught.value)
    assert message.startswith("Out of memory on cpu at step 7, with batches of 4 pictures of 96 pixels (")
    assert "can't allocate memory" in message
    assert "lower train.batch_size (train.accumulate can make up for it)" in message
    assert message.endswith("no checkpoint had been saved yet.")
    assert "\n" not in message
    assert isinstance(caught.value.__cause__, RuntimeError)  # for who wants the traceback


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    ],
)
def test_all_ways_of_running_out_of_memory(make_run, error):
    run = make_run()
    run.save("last.pth")
    with pytest.raises(UserError, match=r"Out of memory on cpu.*go on from step 0 with: .*--resume .*last\.pth\."):
        raise_in(run, error)


def raise_in(run, error):
    with explained(run):
        raise error


def test_what_cannot_be_deterministic_is_named(make_run):
    error = RuntimeError("adaptive_max_pool2d_backward_cuda does not have a deterministic implementation, but you set")
    with pytest.raises(UserError, match=r"train\.deterministic is true, but adaptive_max_pool2d_backward_cuda has no"):
        raise_in(make_run(), error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("no"), UserError("a sentence")])
def test_other_errors_pass_as_they_are(make_run, error):
    with pytest.raises(type(error)) as caught:
        raise_in(make_run(), error)
    assert caught.value is error
