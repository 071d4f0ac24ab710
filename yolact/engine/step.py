"""One optimizer step, and what the host learns of it."""

import logging
import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from yolact.data.loader import Batch
from yolact.data.transforms import to_unit
from yolact.device import DTYPES
from yolact.engine.optim import learning_rate, step_if
from yolact.engine.run import Outcome, Run
from yolact.errors import UserError
from yolact.structures import Target

logger = logging.getLogger(__name__)

# A scale of the fp16 gradients below which they are not too large but broken: it begins at 65,536.
SMALLEST_SCALE = 2.0**-10


def train_step(run: Run, batches: Sequence[Batch]) -> None:
    """Do one optimizer step over the sum of `batches`; it changes nothing where a loss or gradient is not finite.

    The host does not wait for the device: `settle` reads what became of the step.
    """
    settings = run.config.train
    rate = learning_rate(run.step, settings, run.plan)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.zero_grad(set_to_none=True)
    run.statistics.keep()
    values: list[Tensor] = []
    for number, batch in enumerate(batches, run.step * settings.accumulate):
        # So that a resumed run, and one of another number of processes, draws the same numbers.
        torch.manual_seed(settings.seed * 1_000_003 + number)
        images, targets = _to_device(batch, run)
        with run.processes.averaging(run.replica, batch is batches[-1]):
            with torch.autocast(run.device.type, DTYPES[run.precision], enabled=run.precision != "fp32"):
                losses = run.replica(images, targets)
            run.scaler.scale(sum(losses.values()) / settings.accumulate).backward()
        values += [loss.detach() for loss in losses.values()]
    run.scaler.unscale_(run.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), settings.clip_norm or math.inf)
    # The losses become those of the whole batch, so that all processes decide alike.
    outcome = torch.cat([run.processes.total(torch.stack(values)) / run.processes.count, norm[None]])
    finite = outcome.isfinite().all()
    run.step += 1
    run.position += run.plan.pictures_per_step
    step_if(finite, run.optimizer)
    run.scaler.update()
    run.statistics.restore_unless(finite)
    if run.average is not None:
        run.average.update(run.model.model, run.step, finite)
    image_ids = [target["image_id"] for batch in batches for target in batch.targets]
    run.unread.append(Outcome(run.step, rate, image_ids, list(losses), outcome))


def _to_device(batch: Batch, run: Run) -> tuple[Tensor, list[Target]]:
    images = to_unit(batch.images.to(run.device, non_blocking=True))
    if run.config.train.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    targets = [
        Target(
            boxes=target["boxes"].to(run.device, non_blocking=True),
            labels=target["labels"].to(run.device, non_blocking=True),
            masks=target["masks"].to(run.device, non_blocking=True),
            iscrowd=target["iscrowd"].to(run.device, non_blocking=True),
            image_id=target["image_id"],
        )
        for target in batch.targets
    ]
    for reason in batch.skipped:
        logger.warning("skipped at step %d: %s", run.step, reason)
    return images, targets


def settle(run: Run) -> None:
    """Read what became of the steps since the last time: add their losses to the window, count those left out.

    Raises:
        UserError: too many steps in a row were left out.
    """
    if not run.unread:
        return
    outcomes, run.unread = run.unread, []
    table = torch.stack([outcome.values for outcome in outcomes]).tolist()
    for outcome, (*values, norm) in zip(outcomes, table, strict=True):
        losses: Counter[str] = Counter()
        for place, value in enumerate(values):
            losses[outcome.names[place % len(outcome.names)]] += value / run.config.train.accumulate
        # With fp16 an infinite gradient is the scaler's business, which lowers its scale.
        if all(map(math.isfinite, values)) and (run.scaler.is_enabled() or math.isfinite(norm)):
            run.nonfinite_in_a_row = 0
            run.window.update({**losses, "steps": 1})
        else:
            _count_nonfinite(run, outcome, losses)
    if run.scaler.is_enabled() and run.scaler.get_scale() < SMALLEST_SCALE:
        raise UserError(
            f"The gradients of fp16 overflow at every scale down to {run.scaler.get_scale():.3g} (step {run.step}): "
            f"lower train.lr, or set train.precision to bf16 or fp32; {run.last_checkpoint()}."
        )


def _count_nonfinite(run: Run, outcome: Outcome, losses: Counter[str]) -> None:
    """Say which step was left out; stop the run when too many follow one another."""
    run.nonfinite_steps += 1
    run.nonfinite_in_a_row += 1
    image_ids = [image_id for part in run.processes.all_of(outcome.image_ids) for image_id in part]
    shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    logger.warning(
        "step %d left out, its loss or gradient is not finite: %s; learning rate %.3g; picture ids %s",
        outcome.step, shown, outcome.rate, image_ids,
    )  # fmt: skip
    if run.nonfinite_in_a_row >= run.config.train.max_nonfinite:
        raise UserError(
            f"The loss was not finite in {run.nonfinite_in_a_row} steps in a row, the last at step {outcome.step} with "
            f"picture ids {image_ids}: lower train.lr or set train.clip_norm; {run.last_checkpoint()}."
        )
