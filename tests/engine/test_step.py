"""Numbers that are not finite leave a step out whole; pictures without objects train."""

import copy
import itertools
import math

import pytest
import torch

import train
from yolact.data.loader import Batch
from yolact.engine import fit as fitting
from yolact.engine.step import settle, train_step
from yolact.errors import UserError


def batches(run):
    """Yield one step's batches after the other, as training does."""
    for batch in fitting._batches(run):
        yield [batch]


def do_steps(run, source, count):
    for group in itertools.islice(source, count):
        train_step(run, group)
        settle(run)


def memory(run):
    """Copy everything that a step may change, the counters of batch norm apart, which nothing reads."""
    average = {} if run.average is None else run.average.model.state_dict()
    state = copy.deepcopy([run.model.model.state_dict(), average, run.optimizer.state_dict()])
    return [item for item in flatten(state) if item[0][-1] != "num_batches_tracked"]


def flatten(value, path=()):
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [item for key, inner in pairs for item in flatten(inner, (*path, *str(key).split(".")))]
    return [(path, value)]


def assert_same(one, other):
    for (path, value), (twin_path, twin) in zip(one, other, strict=True):
        assert path == twin_path
        if isinstance(value, torch.Tensor):
            assert torch.equal(value.nan_to_num(), twin.nan_to_num()), path
        elif path[-1] != "lr":
            assert value == twin, path


def with_nan_in_a_weight(run, batch):
    with torch.no_grad():
        for model in (run.model.model, run.average.model):
            model.head.class_logits.weight[0, 0] = math.nan
    return batch


def with_nan_in_a_picture(run, batch):
    images = batch.images.float()
    images[0, 0, 0, 0] = math.nan
    return batch._replace(images=images)


def with_nan_in_a_box(run, batch):
    targets = [{**target, "boxes": target["boxes"] * math.nan} for target in batch.targets]
    return batch._replace(targets=targets)


def with_infinite_gradients(run, batch):
    run.model.model.head.class_logits.weight.register_hook(lambda gradient: gradient * math.inf)
    return batch


def with_an_overflowing_backbone(run, batch):
    """As in fp16: the batch norms see infinite values, and would keep them in their statistics."""
    run.model.model.backbone.conv1.weight.data.mul_(1e38)
    return batch


@pytest.mark.parametrize(
    "break_it",
    [
        with_nan_in_a_weight,
        with_nan_in_a_picture,
        with_nan_in_a_box,
        with_infinite_gradients,
        with_an_overflowing_backbone,
    ],
)
@pytest.mark.parametrize(("optimizer", "first"), [("sgd", True), ("adamw", False)], ids=["first step", "later step"])
def test_a_broken_step_changes_nothing(make_run, break_it, optimizer, first, caplog):
    run = make_run(ema_decay=0.9, optimizer=optimizer)
    source = batches(run)
    if not first:
        train_step(run, next(source))
        settle(run)
    (batch,) = next(source)
    batch = break_it(run, batch)
    before = memory(run)
    train_step(run, [batch])
    settle(run)
    assert_same(before, memory(run))
    assert (run.nonfinite_steps, run.nonfinite_in_a_row, run.window["steps"]) == (1, 1, 0 if first else 1)
    ids = [target["image_id"] for target in batch.targets]
    assert f"step {run.step} left out, its loss or gradient is not finite: box " in caplog.text
    assert f"learning rate 0.001; picture ids {ids}" in caplog.text


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_after_a_broken_first_step_is_as_if_it_had_not_been(make_run, optimizer):
    """torch's fused SGD leaves its momentum as the memory happens to be when its first step is left out."""
    runs = [make_run(optimizer=optimizer, ema_decay=0.9) for _ in range(2)]
    (first,), second = itertools.islice(batches(runs[0]), 2)
    train_step(runs[0], [with_nan_in_a_box(runs[0], first)])
    for run in runs:
        run.step = 1
        train_step(run, second)
    assert_same(*map(memory, runs))


@pytest.mark.parametrize("lr", [1e38, math.inf])
def test_a_learning_rate_without_bounds_is_stopped_and_never_saved(make_run, lr):
    run = make_run(lr=lr, max_nonfinite=3)
    source = batches(run)
    train_step(run, next(source))  # finite losses and gradients, but the weights are not afterwards
    settle(run)
    with pytest.raises(UserError, match=r"weights are not finite after step 1 \('.*lower train\.lr.*no checkpoint had"):
        run.save("last.pth")
    assert not list(run.folder.glob("*.pth*"))
    with pytest.raises(UserError, match=r"not finite in 3 steps in a row, the last at step 4 with picture ids \["):
        do_steps(run, source, 5)


def test_a_finite_step_ends_the_count(make_run):
    run = make_run()
    (batch,), *others = itertools.islice(batches(run), 3)
    do_steps(run, [[with_nan_in_a_box(run, batch)], *others], 3)
    assert (run.nonfinite_steps, run.nonfinite_in_a_row, run.window["steps"]) == (1, 0, 2)


def only(run, *numbers):
    """Restrict the data of a run to some pictures; of the six, number 5 has no objects, number 4 a crowd region."""
    run.train_data.images = [run.train_data.images[number] for number in numbers]
    objects = [run.train_data._objects[number] for number in numbers]
    if numbers == (4,):
        objects = [[item for item in objects[0] if item.iscrowd]]
    run.train_data._objects = objects


@pytest.mark.parametrize("numbers", [(5,), (4,), (4, 5)], ids=["no objects", "crowd only", "both"])
def test_batches_without_anything_positive_train(make_run, numbers):
    run = make_run()
    only(run, *numbers)
    before = run.model.model.head.class_logits.weight.clone()
    for group in itertools.islice(batches(run), 3):
        assert all(target["iscrowd"].all() for target in group[0].targets) or 5 not in numbers or len(numbers) == 2
        train_step(run, group)
        settle(run)
    assert (run.nonfinite_steps, run.window["steps"]) == (0, 3)
    assert not torch.equal(run.model.model.head.class_logits.weight, before)
    if numbers != (4, 5):
        assert run.window["box"] == run.window["mask"] == 0


def test_a_batch_without_a_positive_anchor_trains(make_run):
    """An object far smaller than every anchor gets one by force, so the objects are taken away from the matching."""
    run = make_run()
    (batch,) = next(batches(run))
    empty = [{key: value[:0] if isinstance(value, torch.Tensor) else value for key, value in target.items()}
             for target in batch.targets]  # fmt: skip
    train_step(run, [Batch(batch.images, empty, [])])
    settle(run)
    assert run.window["steps"] == 1
    assert run.window["class"] > 0


def test_fp16_overflow_lowers_the_scale_and_counts_as_no_fault(make_run):
    run = make_run(ema_decay=0.9)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # as fp16 does at 2 ** 16
    source = batches(run)
    before = memory(run)
    train_step(run, next(source))
    settle(run)
    assert_same(before, memory(run))
    assert run.scaler.get_scale() == 2.0**126
    assert (run.nonfinite_steps, run.window["steps"]) == (0, 1)
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    train_step(run, next(source))
    assert not torch.equal(before[0][1], memory(run)[0][1])


def test_a_scale_that_sinks_for_ever_is_stopped(make_run):
    run = make_run()
    run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-9)
    source = batches(run)
    next(iter(run.model.model.parameters())).register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match=r"fp16 overflow at every scale .*bf16 or fp32"):
        do_steps(run, source, 3)


def test_outcomes_read_late_are_those_read_at_once(make_run, caplog):
    """As on a GPU, where the host looks every `log_every` steps."""
    found = []
    for late in (False, True):
        run = make_run(ema_decay=0.9)
        for place, group in enumerate(itertools.islice(batches(run), 5)):
            train_step(run, [with_nan_in_a_box(run, group[0])] if place in (1, 2) else group)
            if not late:
                settle(run)
        settle(run)
        found.append((memory(run), dict(run.window), run.nonfinite_steps, run.nonfinite_in_a_row, caplog.messages))
        caplog.clear()
    assert_same(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]
    assert found[0][2] == 2


def test_running_statistics_of_frozen_batch_norms_are_left_alone(make_run):
    run = make_run(freeze_batch_norm="always")
    assert run.statistics.values == []
    assert make_run(freeze_batch_norm="never").statistics.values != []


def test_a_position_between_batches_is_rounded_up_on_resume(make_run, tmp_path):
    run = make_run()
    for group in itertools.islice(batches(run), 3):
        train_step(run, group)
    run.save("last.pth")
    found = train.find_checkpoint(str(run.folder), tmp_path)
    other = make_run(batch_size=4)
    other.restore(found.checkpoint, found.path)
    assert (run.position, other.position) == (6, 8)
    assert other.step == 3
    changed = make_run(optimizer="adamw", freeze_batch_norm="always")
    with pytest.raises(UserError, match=r"last\.pth does not fit this model or its optimizer \("):
        changed.restore(found.checkpoint, found.path)


def test_the_state_of_an_optimizer_is_given_the_layout_of_the_weights(make_run, tmp_path):
    """Its fused step goes through memory as it lies, and would mix up values or write beyond a small tensor."""
    run = make_run(optimizer="adamw")
    do_steps(run, batches(run), 2)
    run.save("last.pth")
    found = train.find_checkpoint(str(run.folder), tmp_path)
    states = found.checkpoint["optimizer"]["state"]
    for state in states.values():
        state["exp_avg"] = state["exp_avg"].clone(
            memory_format=torch.contiguous_format
        )  # the weights are channels last
    other = make_run(optimizer="adamw")
    other.restore(found.checkpoint, found.path)
    for one in (run, other):
        train_step(one, next(batches(other)))
    assert_same(*(flatten(one.optimizer.state_dict()) for one in (run, other)))
    states[0]["exp_avg"] = states[0]["exp_avg"][:1]
    with pytest.raises(UserError, match=r"the optimizer's exp_avg is \[1, 3, 7, 7\] for a parameter \[64, 3, 7, 7\]"):
        other.restore(found.checkpoint, found.path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found["param_groups"][0].update(lr="1e-3"), r"the optimizer's lr is '1e-3'"),
        (lambda found: found["param_groups"][0].update(betas=(0.9, None)), r"the optimizer's betas is \(0\.9, None\)"),
        (lambda found: found["param_groups"][0].update(fused=1), "the optimizer's fused is 1"),
        (lambda found: found["state"][0].update(exp_avg=3.0), r"the optimizer's exp_avg is no tensor but 3\.0"),
        (lambda found: found["state"].update({0: "nothing"}), "does not fit"),
        (lambda found: found.update(param_groups=3), "does not fit"),
    ],
)
def test_values_of_another_kind_in_the_state_of_an_optimizer_are_refused(make_run, tmp_path, change, said):
    run = make_run(optimizer="adamw")
    do_steps(run, batches(run), 1)
    run.save("last.pth")
    found = train.find_checkpoint(str(run.folder), tmp_path)
    change(found.checkpoint["optimizer"])
    with pytest.raises(UserError, match=said):
        make_run(optimizer="adamw").restore(found.checkpoint, found.path)
