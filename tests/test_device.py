import pytest
import torch

from yolact.device import pick_device
from yolact.errors import UserError


def test_the_default_is_cuda_where_there_is_some() -> None:
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta", "cuda:99", "cpu:5"])
def test_devices_that_are_not_there_are_named(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}'"):
        pick_device(name)
