import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from yolact.config import Config, TrainConfig, config_to_dict
from yolact.distributed import ALONE, Processes
from yolact.engine.sharing import check_resumed, check_sharing, synchronise_batch_norm
from yolact.errors import CheckpointError, ConfigError
from yolact.models import build_model
from yolact.models.inference import for_inference


def config(**options):
    return Config(train=TrainConfig(**options))


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_a_batch_of_eight_can_be_shared_out_to(count):
    check_sharing(config(batch_size=8), Processes(count=count), "cpu")


def test_a_batch_that_cannot_be_shared_out_evenly():
    with pytest.raises(ConfigError, match=r"is 8, which 3 processes .* start 1 or 2 or 4 or 8, or .* multiple of 3"):
        check_sharing(config(batch_size=8), Processes(count=3), "cpu")


def test_synchronised_batch_norm_needs_cuda():
    settings = config(batch_size=8, sync_batch_norm=True)
    check_sharing(settings, Processes(count=2), "cuda")
    check_sharing(settings, ALONE, "cpu")
    check_sharing(config(batch_size=4, sync_batch_norm=True), Processes(count=2), "cpu")  # frozen
    with pytest.raises(ConfigError, match="CUDA only, and this is cpu"):
        check_sharing(settings, Processes(count=2), "cpu")


def checkpoint(settings, processes):
    return {"config": config_to_dict(settings), "processes": processes}


def test_another_number_of_processes_must_not_freeze_batch_norm():
    settings = config(batch_size=8)
    with pytest.raises(
        CheckpointError,
        match=r"trained, with 8 pictures .* frozen, with 4: go on with 1 process,",
    ):
        check_resumed(checkpoint(settings, 1), settings, Processes(count=2))
    with pytest.raises(CheckpointError, match=r"frozen, with 4 .* trained, with 8: .*freeze_batch_norm to always"):
        check_resumed(checkpoint(settings, 2), settings, ALONE)


def test_another_number_of_processes_is_sound_otherwise(caplog):
    for options in ({"freeze_batch_norm": "always"}, {"sync_batch_norm": True}):
        settings = config(batch_size=8, **options)
        check_resumed(checkpoint(settings, 1), settings, Processes(count=4))
    old = checkpoint(config(batch_size=4), 1)
    del old["processes"]
    check_resumed(old, config(batch_size=4), Processes(count=2))
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "yolact"):
        check_resumed(checkpoint(config(batch_size=16), 1), config(batch_size=16), Processes(count=2))
    assert "batch norms see 8 pictures at once now, and saw 16" in caplog.text


def test_synchronised_batch_norms_keep_their_names_and_predictions(tiny_config):
    synchronised = replace(tiny_config, train=TrainConfig(sync_batch_norm=True))
    torch.manual_seed(0)
    model = build_model(tiny_config).eval()
    before, images = model.state_dict(), torch.rand(1, 3, 64, 64)
    predictions = for_inference(model)(images)
    synchronise_batch_norm(model, synchronised, ALONE)
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    synchronise_batch_norm(model, synchronised, Processes(count=2))
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert list(model.state_dict()) == list(before)
    for one, other in zip(predictions, for_inference(model)(images), strict=True):
        torch.testing.assert_close(other, one)
