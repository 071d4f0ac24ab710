"""Everything a training run consists of, and what of it a checkpoint holds."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yolact.config import Config, config_to_dict
from yolact.data.dataset import CocoDataset
from yolact.device import Precision
from yolact.distributed import ALONE, Processes
from yolact.engine.checkpoint import FORMAT, num_bytes, save_checkpoint
from yolact.engine.optim import BatchNormStatistics, MovingAverage, Plan
from yolact.errors import CheckpointError, UserError
from yolact.losses import ModelWithLoss
from yolact.models import Yolact

LAST, BEST = "last.pth", "best.pth"
# What `Run.restore` needs beside what every checkpoint has; later additions are read with a default.
NEEDED = (
    "step", "position", "optimizer", "scaler", "ema", "best", "metrics", "nonfinite_steps", "nonfinite_in_a_row",
    "window",
)  # fmt: skip


class Outcome(NamedTuple):
    """What a step came to, on the device until the host wants to know."""

    step: int
    rate: float  # learning rate
    image_ids: list[int]
    names: list[str]  # of the losses
    values: Tensor  # float32 [A * N + 1]: N losses of each of the A batches of the step, then the norm of the gradient


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
    processes: Processes = ALONE  # that share out every batch; the first one writes files
    step: int = 0  # optimizer steps done
    position: int = 0  # in the endless sequence of training samples
    awaits_evaluation: bool = False  # one is due at this step and has not been done
    best: float | None = None  # highest mask AP of an evaluation so far
    metrics: dict[str, Any] | None = None  # of the last evaluation
    nonfinite_steps: int = 0  # steps left out in all
    nonfinite_in_a_row: int = 0
    window: Counter[str] = field(default_factory=Counter)  # sums of the losses since the last line of metrics.jsonl
    unread: list[Outcome] = field(default_factory=list)  # outcomes that the host has not looked at
    saved: Path | None = None  # the last whole checkpoint of this run ...
    saved_step: int = 0  # ... and its step

    def __post_init__(self) -> None:
        self.replica: nn.Module = self.processes.replicate(self.model)  # what a step calls in place of `model`
        self.statistics = BatchNormStatistics(self.model)

    @property
    def network(self) -> Yolact:
        """The network to evaluate: the moving average where one is kept."""
        return self.model.model if self.average is None else self.average.model  # type: ignore[return-value]

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
            "processes": self.processes.count,
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
            GaveUpError: of several processes, the first one could not write it.
            UserError: the weights are not finite any more.
        """
        state, path = self.state(), self.folder / name
        broken = _first_not_finite(state["model"])
        if broken is not None:
            raise UserError(
                f"The weights are not finite after step {self.step} ('{broken}' is the first): lower train.lr or set "
                f"train.clip_norm; {self.last_checkpoint()}."
            )
        with self.processes.together():  # torchrun ends those that still write as soon as another one has stopped
            if self.processes.first:
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
        return f"go on from step {self.saved_step} with: python train.py --resume {self.saved}"


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
