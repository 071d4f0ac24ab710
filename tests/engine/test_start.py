import re

import pytest

from yolact.config import Config, TrainConfig
from yolact.distributed import SINGLE, World
from yolact.engine.start import check_training
from yolact.errors import ConfigError


def config(**options):
    return Config(train=TrainConfig(**options))


def test_a_batch_is_shared_evenly_or_not_at_all():
    for size in (1, 2, 4, 8):
        check_training(config(batch_size=8), World(size=size), "cpu")
    with pytest.raises(ConfigError, match=r"is 8, which 3 ranks .* multiple of 3"):
        check_training(config(batch_size=8), World(size=3), "cpu")


def test_synchronised_batch_norm_needs_cuda():
    settings = config(batch_size=8, sync_batch_norm=True)
    check_training(settings, World(size=2), "cuda")
    check_training(settings, SINGLE, "cpu")
    check_training(config(batch_size=4, sync_batch_norm=True), World(size=2), "cpu")  # frozen
    with pytest.raises(ConfigError, match="CUDA only, and this is cpu"):
        check_training(settings, World(size=2), "cpu")


@pytest.mark.parametrize("sizes", [(550, 248), ()])
def test_a_training_that_grows_ends_at_the_size_of_use(sizes):
    said = re.escape(f"train.image_sizes must end with model.image_size, 550, if progressive, got {[*sizes]}: ")
    with pytest.raises(ConfigError, match=said):
        check_training(config(image_sizes=sizes, image_size_order="progressive"), SINGLE, "cpu")
    check_training(config(image_sizes=(248, 550), image_size_order="progressive"), SINGLE, "cpu")


def test_patience_needs_evaluations():
    with pytest.raises(ConfigError, match=r"set train\.eval_every"):
        check_training(config(patience=3, eval_every=None), SINGLE, "cpu")
