"""Optimizer, learning-rate plan, batch-norm freezing and the moving average of the weights."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolact.config import TrainConfig
from yolact.data.loader import progressive_index
from yolact.distributed import SINGLE, World
from yolact.errors import ConfigError

# Below this many images a batch norm sees too few to estimate statistics from; the authors' rule.
MIN_BATCH_FOR_BATCH_NORM = 6


class Plan:
    """How long to train and at which learning rate, once the size of the data set is known.

    Learning rate and steps are scaled to the batch size, as the authors do, and epochs become steps.

    Attributes:
        images_per_step: of all batches that an optimizer step accumulates.
        max_steps, lr: the number of steps, and the learning rate after the warm-up.
        lr_steps: where it falls; they keep their place relative to `max_steps`.
    """

    def __init__(self, config: TrainConfig, num_images: int) -> None:
        self.config, self.num_images = config, num_images
        self.images_per_step = config.batch_size * config.accumulate
        factor = self.images_per_step / config.reference_batch_size if config.reference_batch_size else 1.0
        steps = config.max_steps / factor
        if config.epochs is not None:
            steps = round(config.epochs * num_images / self.images_per_step)
        self.max_steps, self.lr = max(1, int(steps)), config.lr * factor
        self.lr_steps = tuple(int(step * self.max_steps / config.max_steps) for step in config.lr_steps)

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of optimizer step `step`, counted from 0."""
        config = self.config
        if step <= config.warmup_steps and config.warmup_steps:
            return config.warmup_lr + (self.lr - config.warmup_lr) * step / config.warmup_steps
        if config.schedule == "steps":
            return self.lr * config.lr_gamma ** sum(step >= boundary for boundary in self.lr_steps)
        progress = (step - config.warmup_steps) / max(1, self.max_steps - config.warmup_steps)
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def is_at_last_size(self, step: int) -> bool:
        """Tell whether a progressive training has come to the image size of its end, which others have always."""
        num_sizes = len(self.config.image_sizes) if self.config.image_size_order == "progressive" else 1
        return progressive_index(step, self.max_steps, num_sizes) == num_sizes - 1

    def __str__(self) -> str:
        config, images = self.config, self.images_per_step
        text = (
            f"{self.max_steps} steps of {images} images ({self.max_steps * images / self.num_images:.1f} passes over "
            f"{self.num_images}), {config.optimizer} at {self.lr:.3g}, {config.schedule} schedule"
        )
        if config.schedule == "steps":
            text += f" with lr x {config.lr_gamma} at {', '.join(map(str, self.lr_steps)) or 'no step'}"
        if config.reference_batch_size not in (None, images):
            scaled = "lr and steps" if config.epochs is None else "lr"
            text += f"; {scaled} scaled for a batch of {images} instead of {config.reference_batch_size}"
        return text


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build the optimizer over the parameters that are not frozen; it must be one that `step_if` can use.

    The parameters are in groups by their weight decay and by "lr_factor", what a step multiplies the learning rate by.
    Its state is there from the start. torch would make it in the first step and, if that is left out, never set SGD's
    to anything.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = config.backbone_lr if name.startswith("backbone.") else 1.0
            decay = config.weight_decay if config.decay_all or parameter.dim() > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    if not groups:
        raise ConfigError(f"train.freeze={list(config.freeze)} leaves nothing to train: leave out a part of them.")
    members = [
        {"params": parameters, "lr_factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]
    parameters = [parameter for group in groups.values() for parameter in group]
    if config.optimizer == "adamw":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(members, lr=config.lr, fused=True)
        for parameter in parameters:
            optimizer.state[parameter]["step"] = torch.zeros((), device=parameter.device)
        names: tuple[str, ...] = ("exp_avg", "exp_avg_sq")
    else:
        optimizer = torch.optim.SGD(members, lr=config.lr, momentum=config.momentum, fused=True)
        names = ("momentum_buffer",) if config.momentum else ()
    for parameter in parameters:
        optimizer.state[parameter].update({name: torch.zeros_like(parameter) for name in names})
    return optimizer


def step_if(finite: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Step where `finite`, a boolean scalar on the parameters' device; else change neither weights nor state.

    The device decides by itself, so that the host does not wait for it; fused optimizers take the answer this way.
    """
    optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
    optimizer.step()
    del optimizer.found_inf  # type: ignore[attr-defined]


def batch_norm_size(config: TrainConfig, world: World = SINGLE) -> int:
    """Return how many images a trained batch norm sees at once, or 0 where batch norms are frozen.

    They are a rank's, or with `sync_batch_norm` those of all.
    """
    size = config.batch_size if config.sync_batch_norm else world.share(config.batch_size)
    if config.freeze_batch_norm == "auto":
        return size if size >= MIN_BATCH_FOR_BATCH_NORM else 0
    return size if config.freeze_batch_norm == "never" else 0


def set_training_mode(model: nn.Module, frozen_batch_norm: bool, frozen: Sequence[nn.Module] = ()) -> None:
    """Put `model` into training mode, `frozen` parts, and if wanted batch norms, into evaluation without gradients."""
    model.train()
    for part in frozen:
        part.eval().requires_grad_(False)
    if frozen_batch_norm:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval().requires_grad_(False)


def keep_statistics(model: nn.Module, source: nn.Module | None = None) -> None:
    """Have the batch norms of `model` use their running statistics, which first become those of `source` if given."""
    for norm, other in zip(model.modules(), (source or model).modules(), strict=True):
        if isinstance(norm, _BatchNorm):
            norm.eval()
            if source is not None:
                for name in ("running_mean", "running_var"):
                    norm.get_buffer(name).copy_(other.get_buffer(name))


class MovingAverage:
    """Exponential moving average of a model's weights, and a copy of its batch-norm statistics.

    The decay grows with the number of updates, so that the average forgets the random start of a short run.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        # Collected once: that takes a millisecond of a step.
        self._values, self._averages = _floats(model), _floats(self.model)

    @torch.no_grad()
    def update(self, step: int, finite: Tensor | bool = True) -> None:
        """Move the average towards the model after optimizer step `step`, counted from 1, where that was `finite`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        differences = torch._foreach_sub(self._values, self._averages)
        torch._foreach_mul_(differences, (1 - decay) * finite)
        torch._foreach_add_(self._averages, differences)


class BatchNormStatistics:
    """The running statistics of a model's trained batch norms, for taking back what a broken batch did to them.

    They take part in no step, so one NaN would stay in them for good and show in evaluations only.
    """

    def __init__(self, model: nn.Module):
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
        self.values = [value for norm in norms for value in (norm.running_mean, norm.running_var) if value is not None]
        self.lengths = [len(value) for value in self.values]
        self.kept: Tensor | None = None

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the values as they are."""
        if self.values:
            self.kept = torch.cat(self.values)

    @torch.no_grad()
    def restore_unless(self, finite: Tensor) -> None:
        """Go back to what was kept where not `finite`, a boolean scalar on the device; the host does not wait."""
        if self.kept is not None:
            chosen = torch.where(finite, torch.cat(self.values), self.kept)
            torch._foreach_copy_(self.values, chosen.split(self.lengths))
            self.kept = None


def _floats(model: nn.Module) -> list[Tensor]:
    """Return parameters and floating-point buffers in their order; the averages' counters do not matter."""
    return [value for value in model.state_dict().values() if value.is_floating_point()]
