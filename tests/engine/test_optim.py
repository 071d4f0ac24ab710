from dataclasses import replace

import pytest
import torch
from torch import nn

from yolact.config import TrainConfig
from yolact.distributed import World
from yolact.engine.optim import (
    MovingAverage,
    Plan,
    batch_norm_size,
    keep_statistics,
    make_optimizer,
    set_training_mode,
    step_if,
)
from yolact.errors import ConfigError

PAPER = TrainConfig()


def test_the_papers_plan_is_left_alone():
    plan = Plan(PAPER, num_images=117_266)
    assert (plan.max_steps, plan.lr, plan.lr_steps) == (800_000, 1e-3, (280_000, 600_000, 700_000, 750_000))
    assert "54.6 passes over 117266" in str(plan)  # the published file is called ..._54_800000.pth
    expected = {
        0: 1e-4, 250: 5.5e-4, 498: 9.964e-4, 500: 1e-3, 501: 1e-3, 279_999: 1e-3, 280_000: 1e-4, 750_000: 1e-7,
    }  # fmt: skip
    assert {step: plan.learning_rate(step) for step in expected} == pytest.approx(expected)


def test_half_the_batch_halves_the_rate_and_doubles_the_steps():
    plan = Plan(replace(PAPER, batch_size=2, accumulate=2), num_images=1000)
    assert (plan.max_steps, plan.lr, plan.images_per_step) == (1_600_000, 5e-4, 4)
    assert plan.lr_steps[0] == 560_000
    assert "lr and steps scaled for a batch of 4 instead of 8" in str(plan)


def test_epochs_become_steps_and_the_lr_steps_keep_their_place():
    plan = Plan(replace(PAPER, epochs=10, max_steps=100, lr_steps=(50, 90)), num_images=800)
    assert (plan.max_steps, plan.lr_steps) == (1000, (500, 900))


def test_a_training_that_grows_is_at_its_last_size_in_its_last_part():
    grows = replace(PAPER, image_sizes=(64, 96, 128), image_size_order="progressive", max_steps=300)
    assert [Plan(grows, 10).is_at_last_size(step) for step in (0, 199, 200)] == [False, False, True]
    assert Plan(PAPER, 10).is_at_last_size(0)


def test_cosine_ends_at_zero():
    plan = Plan(replace(PAPER, schedule="cosine", max_steps=1000, warmup_steps=100), 10)
    expected = {100: 1e-3, 550: 5e-4, 1000: 0}
    assert {step: plan.learning_rate(step) for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "ranks", "size"),
    [
        ({"batch_size": 5}, 1, 0),
        ({"batch_size": 6}, 1, 6),
        ({"freeze_batch_norm": "always"}, 1, 0),
        ({"batch_size": 1, "freeze_batch_norm": "never"}, 1, 1),
        ({"batch_size": 8}, 2, 0),
        ({"batch_size": 8, "sync_batch_norm": True}, 2, 8),
    ],
)
def test_batch_norm_is_frozen_where_it_sees_few_images_at_once(options, ranks, size):
    assert batch_norm_size(replace(PAPER, **options), World(size=ranks)) == size


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


def test_moving_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = MovingAverage(model, decay=0.5)
    nn.init.ones_(model.weight)
    average.update(step=1)  # decay min(.5, 2 / 11)
    assert average.model.weight.item() == pytest.approx(1 - 2 / 11)
    average.update(step=1000)
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


@pytest.fixture
def model():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    return nn.ModuleDict({"backbone": backbone, "head": nn.Conv2d(4, 2, 1)})


def test_parameters_are_grouped_by_decay_and_learning_rate_and_in_one_by_the_authors_settings(model):
    shapes = {}
    for group in make_optimizer(model, TrainConfig(backbone_lr=0.1, decay_all=False, weight_decay=0.5)).param_groups:
        shapes[group["lr_factor"], group["weight_decay"]] = [one.dim() for one in group["params"]]
    assert shapes == {(0.1, 0.5): [4], (0.1, 0.0): [1, 1, 1], (1.0, 0.5): [4], (1.0, 0.0): [1]}
    (group,) = make_optimizer(model, PAPER).param_groups
    assert (group["momentum"], group["weight_decay"], len(group["params"])) == (0.9, 5e-4, 6)


def test_frozen_parts_neither_learn_nor_count(model):
    set_training_mode(model, frozen_batch_norm=False, frozen=[model["backbone"]])
    assert model["head"].training
    assert not model["backbone"][1].training
    (group,) = make_optimizer(model, TrainConfig()).param_groups
    assert len(group["params"]) == 2
    set_training_mode(model, frozen_batch_norm=False, frozen=[model["head"]])
    with pytest.raises(ConfigError, match=r"train.freeze=\['backbone'\] leaves nothing to train"):
        make_optimizer(model, TrainConfig(freeze=("backbone",)))


def test_kept_statistics_are_those_of_the_source():
    model, source = (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)) for _ in range(2))
    source[1].running_mean.fill_(2)
    source[1].running_var.fill_(9)
    keep_statistics(model, source)
    model(torch.rand(2, 3, 5, 5))
    assert not model[1].training
    assert (model[1].running_mean[0], model[1].running_var[0]) == (2, 9)
    assert model[1].weight.requires_grad
