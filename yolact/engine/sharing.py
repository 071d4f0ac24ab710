"""What a training run must be so that several processes can share it out, and go on with another number of them."""

import logging
from typing import Any

from torch import nn

from yolact.config import Config, config_from_dict
from yolact.distributed import Processes
from yolact.engine.optim import batch_norm_is_frozen, normalised_together
from yolact.errors import CheckpointError, ConfigError

logger = logging.getLogger(__name__)


def check_sharing(config: Config, processes: Processes, device: str) -> None:
    """Refuse a configuration that these processes cannot work on together.

    Args:
        config: of the run.
        processes: that share it out.
        device: its kind, such as "cuda".

    Raises:
        ConfigError: a batch cannot be shared out evenly, or batch norm not synchronised.
    """
    settings, count = config.train, processes.count
    if settings.batch_size % count:
        numbers = [str(number) for number in range(1, settings.batch_size + 1) if settings.batch_size % number == 0]
        raise ConfigError(
            f"train.batch_size of configuration '{config.name}' is {settings.batch_size}, which {count} processes "
            f"cannot share out evenly: start {' or '.join(numbers)}, or set it to a multiple of {count}."
        )
    if settings.sync_batch_norm and count > 1 and device != "cuda" and not batch_norm_is_frozen(settings, processes):
        raise ConfigError(
            f"train.sync_batch_norm of configuration '{config.name}' is true, which PyTorch can do on CUDA only, and "
            f"this is {device}: set it to false, or train.freeze_batch_norm to always."
        )


def check_resumed(checkpoint: dict[str, Any], config: Config, processes: Processes) -> None:
    """Refuse to go on with a number of processes that makes another training of it.

    As the batch is shared out, nothing depends on the number of processes but what a trained batch norm sees at once.

    Raises:
        CheckpointError: batch norms were trained and would now be frozen, or the other way round.
    """
    before, now = config_from_dict(checkpoint["config"], "the checkpoint").train, config.train
    processes_before = Processes(count=checkpoint.get("processes", 1))
    pictures_before, pictures = normalised_together(before, processes_before), normalised_together(now, processes)
    was_frozen, frozen = batch_norm_is_frozen(before, processes_before), batch_norm_is_frozen(now, processes)
    if was_frozen != frozen:
        words = ("frozen", "trained") if was_frozen else ("trained", "frozen")
        plural = "" if processes_before.count == 1 else "es"
        raise CheckpointError(
            f"This run's batch norms were {words[0]}, with {pictures_before} pictures at once, and would now be "
            f"{words[1]}, with {pictures}: go on with {processes_before.count} process{plural}, or set "
            f"train.freeze_batch_norm to {'always' if was_frozen else 'never'}."
        )
    if not frozen and pictures != pictures_before:
        logger.warning(
            "WARNING: batch norms see %d pictures at once now, and saw %d: the run goes on, but not exactly as before",
            pictures, pictures_before,
        )  # fmt: skip


def synchronise_batch_norm(model: nn.Module, config: Config, processes: Processes) -> None:
    """Let trained batch norms see the pictures of all processes, if the configuration asks for it.

    The names of parameters and buffers stay the same.
    """
    wanted = config.train.sync_batch_norm and processes.count > 1 and not batch_norm_is_frozen(config.train, processes)
    if wanted:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
