import pytest

from yolact.config import Config, TrainConfig
from yolact.distributed import SINGLE, World
from yolact.engine.start import check_world
from yolact.errors import ConfigError


def config(**options):
    return Config(train=TrainConfig(**options))


def test_a_batch_is_shared_evenly_or_not_at_all():
    for size in (1, 2, 4, 8):
        check_world(config(batch_size=8), World(size=size), "cpu")
    with pytest.raises(ConfigError, match=r"is 8, which 3 ranks .* multiple of 3"):
        check_world(config(batch_size=8), World(size=3), "cpu")


def test_synchronised_batch_norm_needs_cuda():
    settings = config(batch_size=8, sync_batch_norm=True)
    check_world(settings, World(size=2), "cuda")
    check_world(settings, SINGLE, "cpu")
    check_world(config(batch_size=4, sync_batch_norm=True), World(size=2), "cpu")  # frozen
    with pytest.raises(ConfigError, match="CUDA only, and this is cpu"):
        check_world(settings, World(size=2), "cpu")
