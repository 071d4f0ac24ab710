"""Failures of the machine during a training, in one sentence with what to do and where to go on."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from yolact.distributed import how_lost
from yolact.engine.run import Run
from yolact.errors import UserError

# What the allocators of CPU, CUDA, cuBLAS and cuDNN say.
NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|_ALLOC_FAILED", re.IGNORECASE)
NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")


@contextmanager
def explained(run: Run) -> Iterator[None]:
    """Turn errors that a user can do something about into `UserError`s; others pass as they are."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        sentence = _explanation(run, error)
        if sentence is None:
            raise
        raise UserError(f"{sentence}; {run.last_checkpoint()}.") from error


def _explanation(run: Run, error: Exception) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or NO_MEMORY.search(text):
        settings = run.config.train
        detail = text.splitlines()[0].rstrip(". ") if text else "no details given"
        side = max(settings.image_sizes, default=run.config.model.image_size)
        return (
            f"Out of memory on {run.device} at step {run.step + 1}, with batches of {settings.batch_size} pictures of "
            f"{side} pixels ({detail}): lower train.batch_size (train.accumulate can make up for it) or "
            "model.image_size, or set train.precision=bf16"
        )
    lost = how_lost(error)
    if lost is not None:
        return lost
    operation = NOT_DETERMINISTIC.search(text)
    if operation is not None:
        return (
            f"train.deterministic is true, but {operation[1]} has no deterministic form on {run.device}: set it to "
            "false, or leave out of the model what needs it"
        )
    return None
