import os
import platform
import subprocess
import sys

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


COUNT_FAULTS = """
import resource, numpy
from yolact.device import keep_freed_memory
keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.ones(40 * 2**20, numpy.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
@pytest.mark.parametrize(("users", "is_kept"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "65536"}, False)])
def test_freed_memory_is_used_again_unless_the_user_set_otherwise(users: dict[str, str], is_kept: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name[:6] not in ("MALLOC", "GLIBC_")} | users
    program = [sys.executable, "-c", COUNT_FAULTS]
    printed = subprocess.run(program, env=environment, check=True, capture_output=True, text=True).stdout
    assert (int(printed) < 10) == is_kept  # 10,240 pages of 4 KB, or 20 of 2 MB
