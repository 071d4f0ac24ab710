"""The training loop: what happens between steps, and what of it a checkpoint holds."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from yolact.config import Config, config_to_dict
from yolact.data.dataset import CocoDataset
from yolact.data.loader import Batch, TrainingSet, training_loader
from yolact.data.transforms import Transform, make_transforms
from yolact.device import Precision
from yolact.distributed import SINGLE, World
from yolact.engine.callbacks import LAST, Callback
from yolact.engine.checkpoint import FORMAT, num_bytes, save_checkpoint
from yolact.engine.failures import explained
from yolact.engine.optim import (
    BatchNormStatistics,
    MovingAverage,
    batch_norm_is_frozen,
    learning_rate,
    make_optimizer,
    make_plan,
    set_training_mode,
)
from yolact.engine.signals import Interrupted, Stop, stop_signals
from yolact.engine.step import StepResult, read_results, train_step
from yolact.errors import CheckpointError, DatasetError, GaveUpError, LoaderError, UserError
from yolact.evaluation.run import Evaluator, evaluate
from yolact.losses import ModelWithLoss
from yolact.models import Yolact

logger = logging.getLogger(__name__)

LOADED, STOPPED, FAILED = range(3)  # what became of loading a step's batches; of several ranks the worst counts
# What `Trainer.restore` needs beside what every checkpoint has; later additions are read with a default.
NEEDED = (
    "step", "position", "optimizer", "scaler", "ema", "best", "metrics", "nonfinite_steps", "nonfinite_in_a_row",
    "window",
)  # fmt: skip


class Trainer:
    """Everything that a training run consists of.

    Attributes:
        step: optimizer steps done.
        position: in the endless sequence of training samples.
        metrics: of the last evaluation, as in metrics.json.
        best: highest mask AP of an evaluation so far.
        window: sums of the losses since the last line of metrics.jsonl, and of how many "steps".
        record: the line of metrics.jsonl that is due after this step, or None.
    """

    def __init__(
        self,
        config: Config,
        model: ModelWithLoss,
        folder: Path,
        train_data: CocoDataset,
        val_data: CocoDataset,
        precision: Precision = "fp32",
        *,
        world: World = SINGLE,
        transforms: Sequence[Transform] = (),
        evaluators: Sequence[Evaluator] = (),
    ) -> None:
        """Hold a model on its device, and make optimizer, average and plan.

        Args:
            transforms: after those of the configuration.
            evaluators: beside COCO's metrics.
        """
        settings = config.train
        self.config, self.model, self.folder, self.precision, self.world = config, model, folder, precision, world
        self.train_data, self.val_data, self.transforms, self.evaluators = train_data, val_data, transforms, evaluators
        self.device: torch.device = model.model.device  # type: ignore[assignment]
        self.plan = make_plan(settings, len(train_data))
        set_training_mode(model, batch_norm_is_frozen(settings, world))
        self.optimizer = make_optimizer(model.model, settings)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.average = MovingAverage(model.model, settings.ema_decay) if settings.ema_decay else None
        self.statistics = BatchNormStatistics(model)
        self.replica = world.replicate(model)  # what a step calls in place of `model`
        self.callbacks: list[Callback] = []
        self.step = self.position = 0
        self.awaits_evaluation = False  # one is due at this step and has not been done
        self.best: float | None = None
        self.metrics: dict[str, Any] | None = None
        self.further: dict[str, Any] = {}  # those of the last evaluation that evaluators given in code computed
        self.nonfinite_steps = self.nonfinite_in_a_row = 0  # steps left out
        self.window: Counter[str] = Counter()
        self.record: dict[str, Any] | None = None
        self.unread: list[StepResult] = []  # results that the host has not looked at
        self.saved: Path | None = None  # the last whole checkpoint of this run ...
        self.saved_step = 0  # ... and its step
        self.signal: int | None = None  # number of the one that stopped the run
        self._ends = False

    @property
    def network(self) -> Yolact:
        """The network to evaluate: the moving average where one is kept."""
        return self.model.model if self.average is None else self.average.model  # type: ignore[return-value]

    def stop(self) -> None:
        """End the training after this step; called on every rank."""
        self._ends = True

    def fit(self) -> int | None:
        """Train until the plan's last step, evaluating and saving on the way.

        Returns:
            None when the run is complete, or the number of the signal that stopped it after a step; the checkpoint is
            saved either way.

        Raises:
            UserError: too many non-finite losses in a row, an image that cannot be read, a full disk, too little
                memory, or a loader's worker that died. Where only the loading failed, the checkpoint is saved.
        """
        with (
            explained(self.config, self.device, lambda: self.step, self.last_checkpoint),
            stop_signals() as stop,
            self._bar() as bar,
            closing(self._batches()) as batches,
        ):
            if self.awaits_evaluation:
                self._evaluate(stop)
            while self.step < self.plan.max_steps and not self.awaits_evaluation and not self._ends:
                group = self._load(batches, stop)
                if group is None:
                    break
                train_step(self, group)
                self._note_step(bar)
                if self._is_due(self.config.train.eval_every) or self.step == self.plan.max_steps:
                    self.awaits_evaluation = True
                    self.save(LAST)
                    self._evaluate(stop)
                elif self._is_due(self.config.train.save_every):
                    self.save(LAST)
            number = self.world.maximum(stop.number or 0)
            if self.saved is None or self.saved_step < self.step:
                self.save(LAST)
            with self.world.raising_on_all():  # as the first to end makes torchrun end the others
                for callback in self.callbacks:
                    callback.on_end(self)
        return number or None

    def _batches(self) -> Any:
        data, settings = self.config.data, self.config.train
        samples = TrainingSet(
            self.train_data,
            self.config.model.image_size,
            [*make_transforms(data.augment), *self.transforms],
            settings.seed,
            data.unreadable,
            data.augment.copy_paste_probability,
        )
        loader = training_loader(
            samples,
            settings.batch_size,
            settings.seed,
            self.position,
            data.num_workers,
            settings.image_sizes,
            data.worker_timeout,
            self.world,
        )
        return iter(loader)

    def _load(self, batches: Iterator[Batch], stop: Stop) -> list[Batch] | None:
        """Return all batches of a step before it begins, so that nothing is half done where one fails; None to stop.

        Several ranks agree on what happens.
        """
        group, failure = None, None
        try:
            with stop.interrupting():
                group = list(islice(batches, self.config.train.accumulate))
        except Interrupted:
            pass
        except (DatasetError, LoaderError) as error:
            failure = None if stop else error  # a signal to all processes ends the loader's too
        state = self.world.maximum(FAILED if failure else STOPPED if group is None else LOADED)
        if state == FAILED:
            if self.saved_step < self.step:
                self.save(LAST)
            if self.saved is not None:
                logger.info("saved at step %d; when it is mended, go on with --resume %s", self.step, self.folder)
            raise failure or GaveUpError()
        return group if state == LOADED else None

    def _note_step(self, bar: "tqdm[Any]") -> None:
        """Show the step on the progress bar and call the callbacks, with the mean losses where a line is due."""
        bar.update()
        due = self._is_due(self.config.train.log_every) or self.step == self.plan.max_steps
        if due or self.device.type == "cpu":  # other devices compute on while the host prepares the next step
            read_results(self)
        count = self.window["steps"]
        means = {name: total / count for name, total in self.window.items() if name != "steps"}
        lr = learning_rate(self.step - 1, self.config.train, self.plan)
        bar.set_postfix({**{name: f"{value:.2f}" for name, value in means.items()}, "lr": f"{lr:.1e}"}, refresh=False)
        self.record = None
        if due:
            self.record = {"step": self.step, "lr": lr, "losses": means}
            if means:
                self.record["total"] = sum(means.values())
            if self.nonfinite_steps:
                self.record["nonfinite_steps"] = self.nonfinite_steps
            self.window.clear()
        for callback in self.callbacks:
            callback.on_step(self)

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _evaluate(self, stop: Stop) -> None:
        """Evaluate, call the callbacks, and save last.pth.

        A signal ends it without a result: last.pth says that the evaluation is still to be done.
        """
        self.world.broadcast_weights(self.network)  # statistics of batch norms are each rank's own
        with suppress(Interrupted, GaveUpError):
            result = evaluate(
                self.network, self.val_data, self.config.eval, self.precision,
                evaluators=self.evaluators, world=self.world, guard=stop.interrupting,
            )  # fmt: skip
            self.metrics, self.further, self.awaits_evaluation = result.metrics, result.further, False
        if self.awaits_evaluation or self.metrics is None:
            return
        mask_ap, box_ap = (self.metrics[kind]["AP"] or 0.0 for kind in ("segm", "bbox"))
        logger.info("step %d: mask AP %.4f, box AP %.4f", self.step, mask_ap, box_ap)
        for callback in self.callbacks:  # the best checkpoint before last.pth, which says that it has been saved
            callback.on_evaluate(self)
        self.save(LAST)

    def _bar(self) -> "tqdm[Any]":
        hidden = not self.world.is_main_process
        return tqdm(
            total=self.plan.max_steps, initial=self.step, desc="train", unit="step", disable=hidden, dynamic_ncols=True
        )

    @property
    def checkpoint_bytes(self) -> int:
        """About how large a checkpoint will be, once the optimizer has its state."""
        settings = self.config.train
        copies = 2 if settings.optimizer == "adamw" else int(settings.momentum > 0)
        return num_bytes(self.model.model.state_dict()) * (1 + (self.average is not None) + copies)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds.

        No state of random numbers is needed: those of a step follow from the seed and the step.
        """
        categories = self.train_data.categories
        return {
            "format": FORMAT,
            "step": self.step,
            "position": self.position,
            "num_pictures": len(self.train_data),
            "processes": self.world.size,
            "awaits_evaluation": self.awaits_evaluation,
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

    def save(self, name: str) -> None:
        """Write the checkpoint `name` into the run folder; the last.pth of before is kept as last.prev.pth.

        Raises:
            CheckpointError: it cannot be written.
            GaveUpError: of several ranks, the main process could not write it.
            UserError: the weights are not finite any more.
        """
        read_results(self)
        state, path = self.state(), self.folder / name
        broken = _first_not_finite(state["model"])
        if broken is not None:
            raise UserError(
                f"The weights are not finite after step {self.step} ('{broken}' is the first): lower train.lr or set "
                f"train.clip_norm; {self.last_checkpoint()}."
            )
        with self.world.raising_on_all():  # torchrun ends those that still write as soon as another one has stopped
            if self.world.is_main_process:
                save_checkpoint(state, path, previous=self.saved if name == LAST else None)
        if name == LAST:
            self.saved, self.saved_step = path, self.step

    def restore(self, checkpoint: dict[str, Any], path: Path) -> None:
        """Go on exactly where `checkpoint`, read from `path`, was saved.

        Raises:
            CheckpointError: it does not belong to this model or optimizer.
        """
        try:
            self.model.model.load_state_dict(checkpoint["model"])
            if self.average is not None:
                self.average.model.load_state_dict(checkpoint["ema"] or checkpoint["model"])
            settings = [dict(group) for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            _require_kinds(self.optimizer, settings)
            _fit_to_parameters(self.optimizer)
            self.scaler.load_state_dict(checkpoint["scaler"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split()).rstrip(". ")[:300]
            raise CheckpointError(
                f"{path} does not fit this model or its optimizer ({reason}): resume without changing keys of model or "
                "optimizer, or start anew with --weights."
            ) from error
        batch = self.config.train.batch_size
        self.position = -(-checkpoint["position"] // batch) * batch  # batches of another size begin at a multiple of it
        self.step, self.best, self.metrics = checkpoint["step"], checkpoint["best"], checkpoint["metrics"]
        self.awaits_evaluation = checkpoint.get("awaits_evaluation", False)
        self.nonfinite_steps = checkpoint["nonfinite_steps"]
        self.nonfinite_in_a_row = checkpoint["nonfinite_in_a_row"]
        self.window = Counter(checkpoint["window"])
        self.saved, self.saved_step = path, self.step

    def last_checkpoint(self) -> str:
        """Say, as the end of a sentence, where the run can go on after a failure."""
        if self.saved is None:
            return "no checkpoint had been saved yet"
        return f"go on from step {self.saved_step} with --resume {self.saved}"


def _require_kinds(optimizer: torch.optim.Optimizer, expected: list[dict[str, Any]]) -> None:
    """Require that settings which were loaded are of the kinds in `expected`, the groups of before.

    Raises:
        ValueError: one is not.
    """
    for found, group in zip(optimizer.param_groups, expected, strict=True):
        for name in found.keys() & group.keys() - {"params"}:
            if _kind(found[name]) != _kind(group[name]):
                raise ValueError(f"the optimizer's {name} is {found[name]!r}")


def _kind(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_kind(item) for item in value]
    return float if type(value) is int else type(value)


def _fit_to_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimizer's state the memory layout of the parameters, which its fused step trusts it to have.

    Raises:
        ValueError: a tensor is of another shape than its parameter, or something is no tensor.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not isinstance(value, Tensor):
                raise ValueError(f"the optimizer's {name} is no tensor but {value!r}")
            if value.dim() == 0:
                continue
            if value.shape != parameter.shape:
                found, expected = list(value.shape), list(parameter.shape)
                raise ValueError(f"the optimizer's {name} is {found} for a parameter {expected}")
            state[name] = torch.empty_like(parameter).copy_(value)


def _first_not_finite(weights: dict[str, Tensor]) -> str | None:
    values = {name: value for name, value in weights.items() if value.is_floating_point()}
    finite = torch.stack([value.isfinite().all() for value in values.values()]).tolist()
    return next((name for name, is_finite in zip(values, finite, strict=True) if not is_finite), None)
