"""What a run goes on with, and what it refuses to go on with."""

import logging

import pytest
import torch

from tests.engine.conftest import batches, do_steps, memory
from tests.reliability.trainings import equal
from yolact.engine.checkpoint import load_checkpoint
from yolact.engine.state import restore
from yolact.engine.step import train_step
from yolact.engine.trainer import Parts
from yolact.errors import UserError
from yolact.losses import LossTerm


@pytest.fixture
def saved(make_trainer):
    """Return a function that does a step, and gives the path of the checkpoint and what stands in it."""

    def save(**settings):
        trainer = make_trainer(**settings)
        do_steps(trainer, batches(trainer), 1)
        trainer.save("last.pth")
        path = trainer.folder / "last.pth"
        return path, load_checkpoint(path)

    return save


def test_a_position_between_batches_is_rounded_up(make_trainer, saved):
    path, checkpoint = saved()
    other = make_trainer(batch_size=4)
    restore(other, checkpoint, path)
    assert (checkpoint["position"], other.position, other.step) == (2, 4, 1)


def test_a_run_that_goes_on_without_its_parts_says_so(make_trainer, saved, caplog):
    caplog.set_level(logging.INFO)
    parts = Parts(loss_terms={"own": LossTerm(lambda inputs: 0.0, 1.0)}, transforms=[lambda rng, sample: sample])
    path, checkpoint = saved(parts=parts)
    assert "loss_terms: own, as given" in caplog.text
    restore(make_trainer(parts=parts), checkpoint, path)
    assert "WARNING" not in caplog.text
    restore(make_trainer(), checkpoint, path)
    assert "WARNING: loss_terms= is [], and was ['own']: give the same again" in caplog.text
    assert "WARNING: transforms= is [], and was ['<lambda>']" in caplog.text


def test_the_state_of_an_optimizer_is_given_the_layout_of_the_weights(make_trainer, saved):
    """Its fused step goes through memory as it lies, and would mix up values or write beyond a small tensor."""
    path, checkpoint = saved(optimizer="adamw")
    for state in checkpoint["optimizer"]["state"].values():
        state["exp_avg"] = state["exp_avg"].clone(memory_format=torch.contiguous_format)  # weights are channels last
    trainers = [make_trainer(optimizer="adamw") for _ in range(2)]
    restore(trainers[0], load_checkpoint(path), path)
    restore(trainers[1], checkpoint, path)
    for one in trainers:
        train_step(one, next(batches(one)))
    assert equal(*map(memory, trainers))


def test_an_optimizer_goes_on_with_the_settings_of_the_configuration(make_trainer, saved):
    path, checkpoint = saved(weight_decay=0.1)
    del checkpoint["optimizer"]["state"][0]  # as of a parameter that had no gradient in an older version's run
    trainer = make_trainer(weight_decay=0.2)
    restore(trainer, checkpoint, path)
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0.2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: found["state"][0].update(exp_avg=3.0), "no attribute"),
        (lambda found: found["state"][0].update(exp_avg=torch.zeros(1)), r"is \[1\] for a parameter \[64, 3, 7"),
        (lambda found: found["state"][0].pop("step"), "the optimizer's state was exp_avg, exp_avg_sq"),
        (lambda found: found["state"].update({0: "nothing"}), "no attribute"),
        (lambda found: found.update(param_groups=3), "not iterable"),
    ],
)
def test_the_state_of_another_optimizer_is_refused(make_trainer, saved, change, said):
    path, checkpoint = saved(optimizer="adamw")
    change(checkpoint["optimizer"])
    with pytest.raises(UserError, match=rf"last\.pth does not fit this model or its optimizer \(.*{said}"):
        restore(make_trainer(optimizer="adamw"), checkpoint, path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"optimizer": "adamw"}, "the optimizer's state was momentum_buffer"),
        ({"freeze_batch_norm": "always"}, r"had groups of \[\d+\] parameters to train, and has \[\d+\] now"),
    ],
)
def test_other_settings_that_make_another_training_of_it_are_refused(make_trainer, saved, settings, said):
    path, checkpoint = saved()
    with pytest.raises(UserError, match=said):
        restore(make_trainer(**settings), checkpoint, path)


def test_other_classes_are_refused(make_trainer, saved):
    path, checkpoint = saved()
    with pytest.raises(UserError, match=r"trained on \['cat'\].* data now declare .*resume on the same data"):
        restore(make_trainer(), {**checkpoint, "class_names": ["cat"]}, path)


@pytest.mark.parametrize(("frozen", "ranks", "warned"), [("never", 2, 1), ("always", 2, 0), ("never", None, 0)])
def test_what_makes_it_another_training_is_told(make_trainer, saved, caplog, frozen, ranks, warned):
    path, checkpoint = saved(freeze_batch_norm=frozen)
    checkpoint["processes"] = ranks
    if ranks is None:
        del checkpoint["processes"]  # as in the first checkpoints
    checkpoint["num_pictures"], checkpoint["config"]["data"]["tiles"] = 8, 32
    restore(make_trainer(freeze_batch_norm=frozen), checkpoint, path)
    assert "WARNING: there are 6 images to train on, and there were 8: they come in another order now" in caplog.text
    assert "WARNING: data.tiles is None, and was 32: an epoch has other samples now" in caplog.text
    assert caplog.text.count("batch norms see 2 images at once now, and saw 1") == warned
