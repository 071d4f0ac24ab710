"""Failures of the machine during a training, in one sentence with what to do and where to go on."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from yolact.config import Config
from yolact.distributed import how_lost
from yolact.errors import UserError

# What the allocators of CPU, CUDA, cuBLAS and cuDNN say.
NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|_ALLOC_FAILED", re.IGNORECASE)
NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def explained(
    config: Config, device: torch.device, step: Callable[[], int], last_checkpoint: Callable[[], str]
) -> Iterator[None]:
    """Turn errors that a user can do something about into `UserError`s; others pass as they are."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        sentence = _explanation(config, device, step(), error)
        if sentence is None:
            raise
        raise UserError(f"{sentence}; {last_checkpoint()}.") from error


def _explanation(config: Config, device: torch.device, step: int, error: Exception) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or NO_MEMORY.search(text):
        detail = text.splitlines()[0].rstrip(". ") if text else "no details given"
        side = max(config.train.image_sizes, default=config.model.image_size)
        return (
            f"Out of memory on {device} at step {step + 1}, with batches of {config.train.batch_size} images of "
            f"{side} pixels ({detail}): lower train.batch_size (train.accumulate can make up for it) or "
            "model.image_size, or set train.precision=bf16"
        )
    lost = how_lost(error)
    if lost is not None:
        return lost
    operation = NOT_DETERMINISTIC.search(text)
    if operation is not None:
        return (
            f"train.deterministic is true, but {operation[1]} has no deterministic form on {device}: set it to "
            "false, or leave out of the model what needs it"
        )
    return None
