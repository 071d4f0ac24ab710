"""Numbers that are not finite leave a step out whole; images without objects train."""

import itertools
import math

import pytest
import torch

from tests.engine.conftest import batches, do_steps, memory
from tests.reliability.trainings import equal
from yolact.data.dataset import PackedObjects
from yolact.engine.step import read_results, train_step
from yolact.errors import UserError


def with_nan_in_a_box(trainer, batch):
    return batch._replace(objects={**batch.objects, "boxes": batch.objects["boxes"] * math.nan})


def with_infinite_gradients(trainer, batch):
    trainer.model.model.head.class_logits.weight.register_hook(lambda gradient: gradient * math.inf)
    return batch


def with_infinite_maps(trainer, batch):
    """As in fp16: the batch norms see infinite values, and would keep them in their statistics."""
    trainer.model.model.backbone.conv1.weight.data.mul_(1e38)
    return batch


BREAKS = (with_nan_in_a_box, with_infinite_gradients, with_infinite_maps)


@pytest.mark.parametrize("break_it", BREAKS)
@pytest.mark.parametrize(("optimizer", "first"), [("sgd", True), ("adamw", False)], ids=["first step", "later step"])
def test_a_broken_step_changes_nothing(make_trainer, break_it, optimizer, first, caplog):
    trainer = make_trainer(ema_decay=0.9, optimizer=optimizer)
    source = batches(trainer)
    if not first:
        train_step(trainer, next(source))
        read_results(trainer)
    (batch,) = next(source)
    batch = break_it(trainer, batch)
    before = memory(trainer)
    train_step(trainer, [batch])
    read_results(trainer)
    assert equal(before, memory(trainer))
    assert (trainer.nonfinite_steps, trainer.nonfinite_in_a_row, trainer.window["steps"]) == (1, 1, 0 if first else 1)
    assert f"step {trainer.step} left out, its loss or gradient is not finite: box " in caplog.text
    assert f"learning rate 0.001; image ids {batch.image_ids}" in caplog.text


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_after_a_broken_first_step_is_as_if_it_had_not_been(make_trainer, optimizer):
    """torch's fused SGD leaves its momentum as the memory happens to be when its first step is left out."""
    trainers = [make_trainer(optimizer=optimizer, ema_decay=0.9) for _ in range(2)]
    (first,), second = itertools.islice(batches(trainers[0]), 2)
    train_step(trainers[0], [with_nan_in_a_box(trainers[0], first)])
    for trainer in trainers:
        trainer.step = 1
        train_step(trainer, second)
    assert equal(*map(memory, trainers))


@pytest.mark.parametrize("lr", [3e38, math.inf])
def test_a_learning_rate_without_bounds_is_stopped_and_never_saved(make_trainer, lr):
    trainer = make_trainer(lr=lr, max_nonfinite=3)
    source = batches(trainer)
    train_step(trainer, next(source))  # finite losses and gradients, but the weights are not afterwards
    read_results(trainer)
    with pytest.raises(UserError, match=r"weights are not finite after step 1 \('.*lower train\.lr.*no checkpoint had"):
        trainer.save("last.pth")
    assert not list(trainer.folder.glob("*.pth*"))
    with pytest.raises(UserError, match=r"not finite in 3 steps in a row, the last at step 4 with image ids \["):
        do_steps(trainer, source, 5)


def only(trainer, *numbers):
    """Restrict the data of a trainer to some images; of the six, number 5 has no objects, number 4 a crowd region."""
    data = trainer.train_data
    objects = [data.objects(number) for number in numbers]
    if numbers == (4,):
        objects = [[item for item in objects[0] if item.iscrowd]]
    data.images, data._objects = [data.images[number] for number in numbers], PackedObjects(objects)


@pytest.mark.parametrize("numbers", [(5,), (4,), (4, 5)], ids=["no objects", "crowd only", "both"])
def test_batches_without_anything_positive_train(make_trainer, numbers):
    trainer = make_trainer(seed=1_700_000_000_000_000_000)  # a time in nanoseconds
    only(trainer, *numbers)
    before = trainer.model.model.head.class_logits.weight.clone()
    for group in itertools.islice(batches(trainer), 3):
        assert group[0].objects["iscrowd"].all() or 5 not in numbers or len(numbers) == 2
        train_step(trainer, group)
        read_results(trainer)
    assert (trainer.nonfinite_steps, trainer.window["steps"]) == (0, 3)
    assert not torch.equal(trainer.model.model.head.class_logits.weight, before)
    if numbers != (4, 5):
        assert trainer.window["box"] == trainer.window["mask"] == 0


def test_fp16_overflow_lowers_the_scale_and_counts_as_no_fault(make_trainer):
    trainer = make_trainer(ema_decay=0.9)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # as fp16 does at 2 ** 16
    source = batches(trainer)
    before = memory(trainer)
    train_step(trainer, next(source))
    read_results(trainer)
    assert equal(before, memory(trainer))
    assert trainer.scaler.get_scale() == 2.0**126
    assert (trainer.nonfinite_steps, trainer.window["steps"]) == (0, 1)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    train_step(trainer, next(source))
    assert not equal(before[0], memory(trainer)[0])


def test_a_scale_that_sinks_for_ever_is_stopped(make_trainer):
    trainer = make_trainer()
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-9)
    source = batches(trainer)
    next(iter(trainer.model.model.parameters())).register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match=r"fp16 overflow at every scale .*bf16 or fp32"):
        do_steps(trainer, source, 3)


def test_results_read_late_are_those_read_at_once(make_trainer, caplog):
    """As on a GPU, where the host looks every `log_every` steps."""
    found = []
    for late in (False, True):
        trainer = make_trainer(ema_decay=0.9)
        for place, group in enumerate(itertools.islice(batches(trainer), 5)):
            train_step(trainer, [with_nan_in_a_box(trainer, group[0])] if place in (1, 2) else group)
            if not late:
                read_results(trainer)
        read_results(trainer)
        counts = (trainer.nonfinite_steps, trainer.nonfinite_in_a_row)
        found.append((memory(trainer), counts, dict(trainer.window), caplog.messages[:]))
        caplog.clear()
    assert equal(*found)
    assert found[0][1] == (2, 0)
