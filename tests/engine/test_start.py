import logging

import pytest

from yolact.config import Config, TrainConfig, config_to_dict
from yolact.distributed import SINGLE, World
from yolact.engine.start import check_resumed, check_world
from yolact.errors import CheckpointError, ConfigError


def config(**options):
    return Config(train=TrainConfig(**options))


def test_a_batch_is_shared_evenly_or_not_at_all():
    for size in (1, 2, 4, 8):
        check_world(config(batch_size=8), World(size=size), "cpu")
    with pytest.raises(ConfigError, match=r"is 8, which 3 ranks .* start 1 or 2 or 4 or 8, or .* multiple of 3"):
        check_world(config(batch_size=8), World(size=3), "cpu")


def test_synchronised_batch_norm_needs_cuda():
    settings = config(batch_size=8, sync_batch_norm=True)
    check_world(settings, World(size=2), "cuda")
    check_world(settings, SINGLE, "cpu")
    check_world(config(batch_size=4, sync_batch_norm=True), World(size=2), "cpu")  # frozen
    with pytest.raises(ConfigError, match="CUDA only, and this is cpu"):
        check_world(settings, World(size=2), "cpu")


def checkpoint(settings, processes):
    return {"config": config_to_dict(settings), "processes": processes}


def test_another_number_of_ranks_must_not_freeze_batch_norm():
    settings = config(batch_size=8)
    with pytest.raises(CheckpointError, match=r"trained, with 8 images .* frozen, with 4: go on with 1 rank,"):
        check_resumed(checkpoint(settings, 1), settings, World(size=2))
    with pytest.raises(CheckpointError, match=r"frozen, with 4 .* trained, with 8: .*freeze_batch_norm to always"):
        check_resumed(checkpoint(settings, 2), settings, SINGLE)


def test_another_number_of_ranks_is_sound_otherwise(caplog):
    for options in ({"freeze_batch_norm": "always"}, {"sync_batch_norm": True}):
        settings = config(batch_size=8, **options)
        check_resumed(checkpoint(settings, 1), settings, World(size=4))
    old = checkpoint(config(batch_size=4), 1)
    del old["processes"]
    check_resumed(old, config(batch_size=4), World(size=2))
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "yolact"):
        check_resumed(checkpoint(config(batch_size=16), 1), config(batch_size=16), World(size=2))
    assert "batch norms see 8 images at once now, and saw 16" in caplog.text
