"""Stages of training: the losses on made-up predictions, and whole steps.

A file given by --compare builds its own of them by functions of these names:

    loss(side: int)                                  -> stage(predictions, anchors, targets): forward and backward
    training_step(weights: str, precision: str)      -> stage(images float32 [B, 3, S, S], targets)
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from yolact.benchmark.other import load_builder
from yolact.benchmark.synthetic import make_predictions, make_targets
from yolact.benchmark.timing import Stage, Times, take_turns
from yolact.config import Config
from yolact.device import DTYPES, Precision, keep_freed_memory
from yolact.engine.optim import batch_norm_is_frozen, make_optimizer, set_training_mode
from yolact.losses import ModelWithLoss
from yolact.losses.criterion import compute_losses
from yolact.models import Yolact, build_model
from yolact.structures import Predictions

Builder = Callable[..., Callable[..., Any]]
CPU = torch.device("cpu")
OBJECTS = 11  # of a picture; COCO has 7 on average


def measure_loss(
    model: Yolact, config: Config, builder: Builder | None, repeats: int, batch_size: int = 4
) -> dict[str, Times]:
    """Time the losses of a batch, forward and backward."""
    side = model.image_size
    parts = [make_predictions(300, model.anchors, side, model.num_classes, 32, seed) for seed in range(batch_size)]
    predictions = Predictions(*(torch.cat(field).requires_grad_() for field in zip(*parts, strict=True)))
    targets = make_targets([OBJECTS] * batch_size, side, model.num_classes)

    def own(_: int) -> None:
        losses = compute_losses(predictions, targets, side, model, config.loss)
        torch.autograd.grad(torch.stack(list(losses.values())).sum(), predictions)

    stages = {"loss": own}
    if builder is not None:
        other = builder(side)
        stages["loss, compared"] = lambda _: other(predictions, model.anchors, targets)
    return take_turns(stages, repeats, 3, CPU, "loss")


def measure_steps(
    config: Config, model: Yolact, weights: Path, builder: Builder | None, precisions: list[Precision], repeats: int,
    batch_size: int = 2
) -> dict[str, Times]:  # fmt: skip
    """Time whole training steps: forward, losses, backward, optimizer."""
    images = torch.rand(batch_size, 3, model.image_size, model.image_size)
    targets = make_targets([OBJECTS] * batch_size, model.image_size, model.num_classes)
    stages = {f"training step {p}": _step(config, model, p, images, targets) for p in precisions}
    if builder is not None:
        other = builder(str(weights), "fp32")
        stages["training step, compared"] = lambda _: other(images, targets)
    return take_turns(stages, repeats, 1, CPU, "steps")


def build_step(config: Config, precision: Precision, compare: Path | None, weights: Path, batch_size: int) -> Stage:
    """Return whole training steps, of this project without `compare`."""
    model = build_model(config)
    images = torch.rand(batch_size, 3, model.image_size, model.image_size)
    targets = make_targets([OBJECTS] * batch_size, model.image_size, model.num_classes)
    if compare is None:
        return _step(config, model, precision, images, targets)
    builder = load_builder(compare, "training_step")
    assert builder is not None
    step = builder(str(weights), precision)
    return lambda _: step(images, targets)


def _step(
    config: Config, model: Yolact, precision: Precision, images: torch.Tensor, targets: list[Any]
) -> Callable[[int], None]:
    keep_freed_memory()  # as train.py does
    config = replace(config, model=replace(config.model, num_classes=model.num_classes))
    settings = replace(config.train, batch_size=len(images), freeze_batch_norm="never", lr=1e-6)
    network = build_model(config)
    network.load_state_dict(model.state_dict())
    network.to(memory_format=torch.channels_last)
    set_training_mode(network, batch_norm_is_frozen(settings))
    criterion, optimizer = ModelWithLoss(network, config.loss), make_optimizer(network, settings)
    packed = images.contiguous(memory_format=torch.channels_last)

    def step(_: int) -> None:
        with torch.autocast("cpu", DTYPES[precision], enabled=precision != "fp32"):
            losses = criterion(packed, targets)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
