"""The training loop: one optimizer step on one screen, and what happens between steps."""

import logging
import math
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from yolact.config import Config, config_to_dict
from yolact.data.coco import CocoDataset
from yolact.data.loader import Batch, TrainingSet, training_loader
from yolact.data.transforms import to_unit
from yolact.device import DTYPES, Precision
from yolact.engine.checkpoint import FORMAT, save_checkpoint
from yolact.engine.log import MetricsFile
from yolact.engine.optim import MovingAverage, Plan, batch_norm_is_frozen, learning_rate, set_training_mode
from yolact.errors import UserError
from yolact.evaluation.run import evaluate
from yolact.losses import ModelWithLoss
from yolact.models import Yolact
from yolact.report import write_curves
from yolact.structures import Target

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """Everything a training run consists of; `save` and `restore` say what of it a checkpoint holds."""

    config: Config
    plan: Plan
    folder: Path
    device: torch.device
    precision: Precision
    model: ModelWithLoss
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: MovingAverage | None
    train_data: CocoDataset
    val_data: CocoDataset
    step: int = 0  # optimizer steps done
    best: float | None = None  # highest mask AP of an evaluation so far
    metrics: dict[str, Any] | None = None  # of the last evaluation
    nonfinite_steps: int = 0  # steps left out in all
    nonfinite_in_a_row: int = 0
    window: Counter[str] = field(default_factory=Counter)  # sums of the losses since the last line of metrics.jsonl

    @property
    def network(self) -> Yolact:
        """The network to evaluate: the moving average where one is kept."""
        return self.model.model if self.average is None else self.average.model  # type: ignore[return-value]

    def save(self, name: str) -> None:
        """Write the checkpoint `name` into the run folder.

        No state of random numbers is needed: those of a step follow from the seed and the step.
        """
        categories = self.train_data.categories
        state = {
            "format": FORMAT,
            "step": self.step,
            "position": self.step * self.plan.pictures_per_step,
            "model": self.model.model.state_dict(),
            "ema": None if self.average is None else self.average.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "config": config_to_dict(self.config),
            "class_names": list(categories.names),
            "category_ids": list(categories.ids),
            "metrics": self.metrics,
            "best": self.best,
            "nonfinite_steps": self.nonfinite_steps,
            "nonfinite_in_a_row": self.nonfinite_in_a_row,
            "window": dict(self.window),
        }
        save_checkpoint(state, self.folder / name)

    def restore(self, checkpoint: dict[str, Any]) -> None:
        """Go on exactly where `checkpoint` was saved."""
        self.model.model.load_state_dict(checkpoint["model"])
        if self.average is not None:
            self.average.model.load_state_dict(checkpoint["ema"] or checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.scaler.load_state_dict(checkpoint["scaler"])
        self.step, self.best, self.metrics = checkpoint["step"], checkpoint["best"], checkpoint["metrics"]
        self.nonfinite_steps = checkpoint["nonfinite_steps"]
        self.nonfinite_in_a_row = checkpoint["nonfinite_in_a_row"]
        self.window = Counter(checkpoint["window"])


def fit(run: Run) -> int | None:
    """Train until the plan's last step, evaluating and saving on the way.

    Returns:
        None when the run is complete, or the number of the signal that stopped it after a step; the checkpoint is
        saved either way.

    Raises:
        UserError: too many non-finite losses in a row, a picture that cannot be read, or a full disk.
    """
    settings = run.config.train
    set_training_mode(run.model, batch_norm_is_frozen(settings))
    with MetricsFile(run.folder, run.step, settings.tensorboard) as log, _stop_signals() as stop, _bar(run) as bar:
        batches = _batches(run)
        while run.step < run.plan.max_steps and not stop:
            losses = train_step(run, batches)
            _record(run, losses, log, bar)
            if _due(settings.eval_every, run) or run.step == run.plan.max_steps:
                _evaluate(run, log)
            elif _due(settings.save_every, run):
                run.save("last.pth")
        if stop:
            run.save("last.pth")
            write_curves(run.folder)
    return stop[0] if stop else None


def train_step(run: Run, batches: Iterator[Batch]) -> dict[str, float] | None:
    """Do one optimizer step over `accumulate` batches and return its losses, or None where one was not finite."""
    settings = run.config.train
    torch.manual_seed(settings.seed * 1_000_003 + run.step)  # so that a resumed run draws the same numbers
    rate = learning_rate(run.step, settings, run.plan)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.zero_grad(set_to_none=True)
    losses: Counter[str] = Counter()
    image_ids: list[int] = []
    for batch in islice(batches, settings.accumulate):
        images, targets = _to_device(batch, run)
        image_ids += [target["image_id"] for target in targets]
        with torch.autocast(run.device.type, DTYPES[run.precision], enabled=run.precision != "fp32"):
            terms = run.model(images, targets)
        run.scaler.scale(sum(terms.values()) / settings.accumulate).backward()
        losses.update({name: float(term.detach()) / settings.accumulate for name, term in terms.items()})
    run.scaler.unscale_(run.optimizer)
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), settings.clip_norm or math.inf)
    # With fp16 an infinite gradient is the scaler's business: it leaves the step out and lowers its scale.
    finite = all(map(math.isfinite, losses.values())) and (run.scaler.is_enabled() or math.isfinite(float(norm)))
    run.step += 1
    if finite:
        run.scaler.step(run.optimizer)
        run.scaler.update()
        if run.average is not None:
            run.average.update(run.model.model, run.step)
        run.nonfinite_in_a_row = 0
        return dict(losses)
    _count_nonfinite(run, losses, rate, image_ids)
    return None


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


def _count_nonfinite(run: Run, losses: Mapping[str, float], rate: float, image_ids: list[int]) -> None:
    """Leave the step out; stop the run when too many follow one another."""
    run.optimizer.zero_grad(set_to_none=True)
    if run.scaler.is_enabled():
        run.scaler.update()
    run.nonfinite_steps += 1
    run.nonfinite_in_a_row += 1
    shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    logger.warning(
        "step %d left out, its loss or gradient is not finite: %s; learning rate %.3g; picture ids %s",
        run.step, shown, rate, image_ids,
    )  # fmt: skip
    if run.nonfinite_in_a_row >= run.config.train.max_nonfinite:
        raise UserError(
            f"The loss was not finite in {run.nonfinite_in_a_row} steps in a row, the last at step {run.step} with "
            f"picture ids {image_ids}: lower train.lr or set train.clip_norm; {run.folder}/last.pth is the last "
            "checkpoint, if one was due."
        )


def _batches(run: Run) -> Iterator[Batch]:
    data, settings = run.config.data, run.config.train
    training_set = TrainingSet(
        run.train_data,
        run.config.model.image_size,
        data.augment,
        settings.seed,
        data.unreadable,
    )
    position = run.step * run.plan.pictures_per_step
    return iter(training_loader(training_set, settings.batch_size, settings.seed, position, data.num_workers))


def _record(run: Run, losses: dict[str, float] | None, log: MetricsFile, bar: "tqdm[Any]") -> None:
    """Show the step on the progress bar and, when it is due, write the mean losses since the last line."""
    bar.update()
    if losses is not None:
        run.window.update({**losses, "steps": 1})
    count = run.window["steps"]
    means = {name: total / count for name, total in run.window.items() if name != "steps"}
    rate = learning_rate(run.step - 1, run.config.train, run.plan)
    bar.set_postfix({**{name: f"{value:.2f}" for name, value in means.items()}, "lr": f"{rate:.1e}"}, refresh=False)
    if run.step % run.config.train.log_every == 0 or run.step == run.plan.max_steps:
        record: dict[str, Any] = {"step": run.step, "lr": rate, "losses": means}
        if means:
            record["total"] = sum(means.values())
        if run.nonfinite_steps:
            record["nonfinite_steps"] = run.nonfinite_steps
        log.write(record)
        run.window.clear()


def _due(every: int | None, run: Run) -> bool:
    return every is not None and run.step % every == 0


def _evaluate(run: Run, log: MetricsFile) -> None:
    """Evaluate, note the figures, save last.pth, and best.pth if the mask AP is the highest so far."""
    channels_last = run.config.train.channels_last
    result = evaluate(run.network, run.val_data, run.config.eval, run.device, run.precision, channels_last)
    run.metrics = result.metrics
    log.write({"step": run.step, "evaluation": {kind: result.metrics[kind] for kind in ("segm", "bbox")}})
    mask_ap, box_ap = (result.metrics[kind]["AP"] or 0.0 for kind in ("segm", "bbox"))
    logger.info("step %d: mask AP %.4f, box AP %.4f", run.step, mask_ap, box_ap)
    better = run.best is None or mask_ap > run.best
    if better:
        run.best = mask_ap
    run.save("last.pth")
    if better:
        run.save("best.pth")
    write_curves(run.folder)


def _bar(run: Run) -> "tqdm[Any]":
    return tqdm(total=run.plan.max_steps, initial=run.step, desc="train", unit="step", dynamic_ncols=True)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second signal stops at once."""
    caught: list[int] = []

    def note(number: int, _: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        logger.info("stopping after this step; once more stops at once, without saving")

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
