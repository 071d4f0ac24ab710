import pytest
import torch

from yolact.device import pick_device
from yolact.errors import UserError, exit_on_user_error


def test_the_default_is_cuda_where_there_is_some() -> None:
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta", "cuda:99", "cpu:5"])
def test_devices_that_are_not_there_are_named(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}'"):
        pick_device(name)


def test_a_gpu_without_memory_left_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def run(error: RuntimeError) -> int:
        raise error

    torchs = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.78 GiB of which ..."
    with pytest.raises(SystemExit) as caught:
        exit_on_user_error(lambda: run(torch.OutOfMemoryError(torchs)))
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "error: The GPU has no memory left (Tried to allocate 2.00 GiB): end other programs that use it, lower the "
        "batch size, or give --device cpu.\n"
    )
    with pytest.raises(RuntimeError, match="another"):
        exit_on_user_error(lambda: run(RuntimeError("another")))
