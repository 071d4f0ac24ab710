from dataclasses import replace

import pytest
import torch
from torch import nn

from yolact.config import TrainConfig
from yolact.distributed import World
from yolact.engine.optim import (
    MovingAverage,
    batch_norm_is_frozen,
    learning_rate,
    make_optimizer,
    make_plan,
    set_training_mode,
    step_if,
)

PAPER = TrainConfig()


def test_the_papers_plan_is_left_alone():
    plan = make_plan(PAPER, num_images=117_266)
    assert (plan.max_steps, plan.lr, plan.lr_steps) == (800_000, 1e-3, (280_000, 600_000, 700_000, 750_000))
    assert plan.epochs == pytest.approx(54.6, abs=0.05)  # the published file is called ..._54_800000.pth


def test_half_the_batch_halves_the_rate_and_doubles_the_steps():
    plan = make_plan(replace(PAPER, batch_size=2, accumulate=2), num_images=1000)
    assert (plan.max_steps, plan.lr, plan.images_per_step) == (1_600_000, 5e-4, 4)
    assert plan.lr_steps[0] == 560_000
    assert "lr and steps scaled for a batch of 4 instead of 8" in plan.describe(replace(PAPER, batch_size=2, accumulate=2))


def test_epochs_become_steps_and_the_lr_steps_keep_their_place():
    config = replace(PAPER, epochs=10, max_steps=100, lr_steps=(50, 90))
    plan = make_plan(config, num_images=800)
    assert plan.max_steps == 1000
    assert plan.lr_steps == (500, 900)


def test_learning_rate_of_the_paper():
    plan = make_plan(PAPER, 117_266)
    rates = {step: learning_rate(step, PAPER, plan) for step in (0, 250, 498, 500, 501, 279_999, 280_000, 750_000)}
    assert rates == pytest.approx(
        {0: 1e-4, 250: 5.5e-4, 498: 9.964e-4, 500: 1e-3, 501: 1e-3, 279_999: 1e-3, 280_000: 1e-4, 750_000: 1e-7}
    )


def test_cosine_ends_at_zero():
    config = replace(PAPER, schedule="cosine", max_steps=1000, warmup_steps=100)
    plan = make_plan(config, 10)
    assert learning_rate(100, config, plan) == pytest.approx(1e-3)
    assert learning_rate(550, config, plan) == pytest.approx(5e-4)
    assert learning_rate(1000, config, plan) == pytest.approx(0)


@pytest.mark.parametrize(
    ("batch", "rule", "frozen"), [(5, "auto", True), (6, "auto", False), (8, "always", True), (1, "never", False)]
)
def test_rule_of_frozen_batch_norm(batch, rule, frozen):
    assert batch_norm_is_frozen(replace(PAPER, batch_size=batch, freeze_batch_norm=rule)) is frozen


@pytest.mark.parametrize(("size", "synchronised", "frozen"), [(1, False, False), (2, False, True), (2, True, False)])
def test_batch_norm_counts_the_images_that_it_sees_at_once(size, synchronised, frozen):
    config = replace(PAPER, batch_size=8, sync_batch_norm=synchronised)
    assert batch_norm_is_frozen(config, World(size=size)) is frozen


def test_frozen_batch_norm_keeps_statistics_and_is_not_optimised():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    set_training_mode(model, frozen_batch_norm=True)
    before = model[1].running_mean.clone()
    model(torch.rand(2, 3, 4, 4) + 5)
    assert torch.equal(model[1].running_mean, before)
    assert len(make_optimizer(model, PAPER).param_groups[0]["params"]) == 2  # the convolution's
    set_training_mode(model, frozen_batch_norm=False)
    model(torch.rand(2, 3, 4, 4) + 5)
    assert not torch.equal(model[1].running_mean, before)


def test_weight_decay_and_momentum_are_the_authors_on_every_parameter():
    optimizer = make_optimizer(nn.Linear(2, 2), PAPER)
    (group,) = optimizer.param_groups
    assert (group["momentum"], group["weight_decay"], len(group["params"])) == (0.9, 5e-4, 2)


def test_moving_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, decay=0.5)
    nn.init.ones_(model.weight)
    average.update(model, step=1)  # decay min(.5, 2 / 11)
    assert average.model.weight.item() == pytest.approx(1 - 2 / 11)
    average.update(model, step=1000)
    assert average.model.weight.item() == pytest.approx(1 - 2 / 11 * 0.5)
    assert not average.model.weight.requires_grad


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_device_decides_whether_a_step_is_done(name):
    """By hand for SGD: a step of lr 0.1 on the gradient 2 from 1, then one with momentum 0.9."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = make_optimizer(model, replace(PAPER, optimizer=name, lr=0.1, weight_decay=0.0))
    weights = []
    for finite in (False, True, False, True):
        model.weight.grad = torch.full((1, 1), 2.0 if finite else float("nan"))
        step_if(torch.tensor(finite), optimizer)
        weights.append(model.weight.item())
    assert weights[0] == 1
    assert weights[1] == weights[2]
    assert weights[3] < weights[1] < 1
    if name == "sgd":
        assert weights == pytest.approx([1, 0.8, 0.8, 0.8 - 0.1 * (2 + 0.9 * 2)])
    assert not hasattr(optimizer, "found_inf")
