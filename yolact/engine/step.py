"""One optimizer step, and what the host learns of it."""

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from yolact.data.loader import Batch
from yolact.data.rendering import to_unit
from yolact.device import DTYPES
from yolact.engine.optim import step_if
from yolact.errors import UserError
from yolact.structures import Target

if TYPE_CHECKING:
    from yolact.engine.trainer import Trainer

logger = logging.getLogger(__name__)

# A scale of the fp16 gradients below which they are not too large but broken: it begins at 65,536.
SMALLEST_SCALE = 2.0**-10


class StepResult(NamedTuple):
    """What a step came to, on the device until the host wants to know."""

    step: int
    lr: float
    image_ids: list[int]
    names: list[str]  # of the losses
    values: Tensor  # float32 [N + 1]: the losses, then the norm of the gradient


def train_step(trainer: "Trainer", batches: Sequence[Batch]) -> None:
    """Do one optimizer step over the sum of `batches`; it changes nothing where a loss or gradient is not finite.

    The host does not wait for the device: `read_results` learns what became of the step.
    """
    settings, world = trainer.config.train, trainer.world
    lr = trainer.plan.learning_rate(trainer.step)
    for group in trainer.optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
    trainer.optimizer.zero_grad(set_to_none=True)
    trainer.statistics.keep()
    values = torch.zeros((), device=trainer.device)
    for number, batch in enumerate(batches, trainer.step * settings.accumulate):
        # So that a resumed run, and one on another number of ranks, draws the same numbers.
        torch.manual_seed((settings.seed * 1_000_003 + number) % 2**63)
        images, targets = _to_device(batch, trainer)
        with world.averaging(trainer.replica, batch is batches[-1]):
            with torch.autocast(trainer.device.type, DTYPES[trainer.precision], enabled=trainer.precision != "fp32"):
                losses = trainer.replica(images, targets)
            trainer.scaler.scale(sum(losses.values()) / settings.accumulate).backward()
        values = values + torch.stack(list(losses.values())).detach() / settings.accumulate
    trainer.scaler.unscale_(trainer.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), settings.clip_norm or math.inf)
    # The losses become those of the whole batch, so that all ranks decide alike.
    result = torch.cat([world.all_reduce(values) / world.size, norm[None]])
    finite = result.isfinite().all()
    trainer.step += 1
    trainer.position += trainer.plan.images_per_step
    step_if(finite, trainer.optimizer)
    trainer.scaler.update()
    trainer.statistics.restore_unless(finite)
    if trainer.average is not None:
        trainer.average.update(trainer.step, finite)
    image_ids = [image_id for batch in batches for image_id in batch.image_ids]
    trainer.unread.append(StepResult(trainer.step, lr, image_ids, list(losses), result))


def _to_device(batch: Batch, trainer: "Trainer") -> tuple[Tensor, list[Target]]:
    for reason in batch.skipped:
        logger.warning("skipped at step %d: %s", trainer.step, reason)

    batch = batch.to(trainer.device)
    images = to_unit(batch.images)
    if trainer.config.train.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return images, batch.targets


def read_results(trainer: "Trainer") -> None:
    """Read what became of the steps since the last time: add their losses to the window, count those left out.

    Raises:
        UserError: too many steps in a row were left out.
    """
    if not trainer.unread:
        return
    results, trainer.unread = trainer.unread, []
    table = torch.stack([result.values for result in results]).tolist()
    for result, (*values, norm) in zip(results, table, strict=True):
        losses = dict(zip(result.names, values, strict=True))
        # With fp16 an infinite gradient is the scaler's business, which lowers its scale.
        if all(map(math.isfinite, values)) and (trainer.scaler.is_enabled() or math.isfinite(norm)):
            trainer.nonfinite_in_a_row = 0
            trainer.window.update({**losses, "steps": 1})
        else:
            _count_nonfinite(trainer, result, losses)
    if trainer.scaler.is_enabled() and trainer.scaler.get_scale() < SMALLEST_SCALE:
        raise UserError(
            f"The gradients of fp16 overflow at every scale down to {trainer.scaler.get_scale():.3g} (step "
            f"{trainer.step}): lower train.lr, or set train.precision to bf16 or fp32; {trainer.last_checkpoint()}."
        )


def _count_nonfinite(trainer: "Trainer", result: StepResult, losses: dict[str, float]) -> None:
    """Say which step was left out; stop the run when too many follow one another."""
    trainer.nonfinite_steps += 1
    trainer.nonfinite_in_a_row += 1
    image_ids = [image_id for part in trainer.world.all_gather(result.image_ids) for image_id in part]
    shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    logger.warning(
        "step %d left out, its loss or gradient is not finite: %s; learning rate %.3g; image ids %s",
        result.step, shown, result.lr, image_ids,
    )  # fmt: skip
    if trainer.nonfinite_in_a_row >= trainer.config.train.max_nonfinite:
        raise UserError(
            f"The loss was not finite in {trainer.nonfinite_in_a_row} steps in a row, the last at step {result.step} "
            f"with image ids {image_ids}: lower train.lr or set train.clip_norm; {trainer.last_checkpoint()}."
        )
