from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.made import make_target
from yolact.config import LossConfig
from yolact.data.rendering import MaskCrops
from yolact.errors import ConfigError
from yolact.losses import Assignment, LossTerm, ModelWithLoss
from yolact.losses.criterion import sample_positives
from yolact.models import build_model
from yolact.structures import Target

ALL_MASKS = LossConfig(masks_to_train=1000)
OBJECTS = make_target([[4, 4, 20, 24], [30, 30, 62, 60]], [0, 2])


@pytest.fixture
def model(tiny_config):
    return build_model(tiny_config)


def plus_model(config):
    return build_model(replace(config, model=replace(config.model, image_size=256, mask_iou=True)))


def test_plus_models_add_the_mask_iou_loss(tiny_config):
    large = make_target([[16, 16, 80, 96], [120, 120, 248, 240]], [0, 2], side=256)
    losses = ModelWithLoss(plus_model(tiny_config), LossConfig())(torch.rand(1, 3, 256, 256), [large])
    assert set(losses) == {"box", "class", "semantic", "mask", "mask_iou"}
    assert all(loss.ndim == 0 and loss > 0 for loss in losses.values())


def test_weights_scale_their_terms(model):
    model.eval()
    images = torch.rand(1, 3, 64, 64)
    plain = ModelWithLoss(model, ALL_MASKS)(images, [OBJECTS])
    changed = replace(ALL_MASKS, mask_weight=2 * ALL_MASKS.mask_weight, semantic_weight=0)
    doubled = ModelWithLoss(model, changed)(images, [OBJECTS])
    torch.testing.assert_close(doubled["mask"], 2 * plain["mask"])
    torch.testing.assert_close(doubled["box"], plain["box"])
    assert doubled["semantic"] == 0


def test_a_further_term_enters_by_its_name_and_weight_and_may_replace_one(model):
    seen = []

    def largest_coefficient(inputs):
        seen.append(inputs)
        return inputs.predictions.mask_coefficients.abs().amax()

    terms = {"coefficients": LossTerm(largest_coefficient, 0.5), "box": LossTerm(lambda inputs: torch.ones(()), 3)}
    images = torch.rand(1, 3, 64, 64)
    losses = ModelWithLoss(model.eval(), LossConfig(), terms=terms)(images, [OBJECTS])
    assert set(losses) == {"box", "class", "semantic", "mask", "coefficients"}
    torch.testing.assert_close(losses["coefficients"], 0.5 * model(images).mask_coefficients.abs().amax())
    assert losses["box"] == 3
    assert (seen[0].image_size, seen[0].objects.labels.tolist()) == ((64, 64), [0, 2])


@pytest.mark.parametrize("value", [0.0, 2, torch.zeros(3), None])
def test_a_term_gives_a_number_or_one_sentence(model, value):
    criterion = ModelWithLoss(model.eval(), LossConfig(), terms={"own": LossTerm(lambda inputs: value, 0.5)})
    if isinstance(value, int | float):
        losses = criterion(torch.rand(1, 3, 64, 64), [OBJECTS])
        assert torch.equal(losses["own"], torch.tensor(0.5 * value))
        sum(losses.values()).backward()
        return
    with pytest.raises(ValueError, match=r"The loss term 'own' must return a scalar, got (a tensor \[3\]|None)\."):
        criterion(torch.rand(1, 3, 64, 64), [OBJECTS])


def test_an_assigner_of_ones_own_is_used(model):
    """It may look at what the network predicts, and its weights count: twice as much, and twice to divide by."""

    def best_scores(candidates, batch):
        assert candidates.boxes.shape == (1, 86 * 3, 4)
        best = candidates.scores[..., 0].argmax(1)
        index = torch.full((1, 86 * 3), -1)
        index[0, best] = 1
        weight = torch.ones(1, 86 * 3)
        weight[0, best] = (len(chosen) + 1) / 2
        chosen.append((int(best), batch.counts))
        return Assignment(index, weight)

    chosen, boxes = [], []
    for _ in range(2):
        criterion = ModelWithLoss(model.eval(), LossConfig(), assigner=best_scores)
        boxes.append(criterion(torch.ones(1, 3, 64, 64), [OBJECTS])["box"])
    assert chosen[0] == chosen[1] == (chosen[0][0], [2])
    torch.testing.assert_close(boxes[1], 2 * boxes[0])


def test_an_unknown_assigner_is_one_sentence(model):
    with pytest.raises(ConfigError, match=r"loss\.assigner is 'maxiou'; did you mean 'max_iou'\?"):
        ModelWithLoss(model, LossConfig(assigner="maxiou"))


def test_another_size_of_the_input_gives_the_losses_of_a_model_of_that_size(tiny_config):
    """The weights do not know their size; the anchors keep theirs in pixels."""
    both = replace(tiny_config, train=replace(tiny_config.train, image_sizes=(96,)))
    own = replace(tiny_config, model=replace(tiny_config.model, image_size=96))
    models = [build_model(config) for config in (both, own)]
    models[1].load_state_dict(models[0].state_dict())
    masks = torch.nn.functional.pad(OBJECTS["masks"], (0, 32, 0, 32))
    images, targets = torch.rand(1, 3, 96, 96), [Target(**{**OBJECTS, "masks": masks})]
    first, second = (ModelWithLoss(model, ALL_MASKS)(images, targets) for model in models)
    assert first == second


@pytest.mark.parametrize("plus", [False, True])
def test_every_parameter_gets_a_finite_gradient_even_without_objects(tiny_config, plus):
    """Distributed training waits for every parameter."""
    model, side = (plus_model(tiny_config), 256) if plus else (build_model(tiny_config), 64)
    crowd = make_target([[0, 0, side, side]], [1], crowds=(0,), side=side)
    losses = ModelWithLoss(model, LossConfig())(torch.rand(2, 3, side, side), [make_target([], [], side=side), crowd])
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_crowds_are_not_learnt_as_objects(model):
    images = torch.rand(1, 3, 64, 64)
    both = make_target([[4, 4, 20, 24], [0, 0, 2, 2]], [0, 1], crowds=(1,))
    criterion = ModelWithLoss(model.eval(), ALL_MASKS)
    with_crowd, without = (criterion(images, [one]) for one in (both, make_target([[4, 4, 20, 24]], [0])))
    for name in ("box", "mask", "semantic"):
        torch.testing.assert_close(with_crowd[name], without[name])


def test_the_sampled_positives_stand_for_all_of_their_image():
    positive = torch.zeros(3, 10, dtype=torch.bool)
    positive[0, [1, 4, 7, 8, 9]] = positive[1, 3] = True
    counts = torch.zeros(3, 10)
    for _ in range(300):
        numbers, weight = sample_positives(positive, 2)
        assert weight.tolist() == [[2.5, 2.5], [1, 0], [0, 0]]
        counts.scatter_add_(1, numbers, weight)
    torch.testing.assert_close(counts / 300, positive.float(), atol=0.25, rtol=0)  # each as often as the others


class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operators = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.operators[str(operator)] += 1
        return operator(*args, **(kwargs or {}))


VIEWS = ("view", "reshape", "expand", "select", "slice", "unbind", "split", "t", "transpose", "permute", "unsqueeze",
         "squeeze", "alias", "detach", "_unsafe_view", "as_strided")  # fmt: skip


AFTER = LossConfig(assigner="task_aligned", class_loss="quality", box_loss="giou", mask_loss="roi_align")


@pytest.mark.parametrize(("config", "most"), [(LossConfig(masks_to_train=2), 310), (ALL_MASKS, 310), (AFTER, 225)])
def test_off_the_cpu_the_host_asks_nothing_and_starts_as_many_operators_for_any_batch(tiny_config, config, most):
    """The meta device computes shapes alone: what would wait for a value fails there."""
    head = "points" if config is AFTER else "anchors"
    model = build_model(replace(tiny_config, model=replace(tiny_config.model, head=head))).to("meta")
    criterion, counts = ModelWithLoss(model, config), []
    for num_images, num_objects in ((2, 1), (8, 4)):
        targets = [make_target([[4, 4, 20, 24]] * n, [0] * n) for n in [num_objects] * (num_images - 1) + [0]]
        if config is AFTER:
            targets = [MaskCrops(config.roi_size, model.map_sizes).of(target) for target in targets]
        targets = [
            Target(**{key: value.to("meta") if torch.is_tensor(value) else value for key, value in target.items()})
            for target in targets
        ]
        predictions = model(torch.rand(num_images, 3, 64, 64, device="meta"))
        with Count() as counted:
            losses = criterion.losses(predictions, targets, model.head.coder((64, 64)))
        assert [loss.shape for loss in losses.values()] == [()] * 4
        counts.append(sum(n for name, n in counted.operators.items() if name.split(".")[1] not in VIEWS))
    assert counts[0] == counts[1] <= most


def test_autocast_ends_where_the_losses_begin(model, monkeypatch):
    with torch.no_grad():
        predictions = model(torch.rand(1, 3, 64, 64))
    monkeypatch.setattr(model, "forward", lambda images: predictions)
    criterion, images = ModelWithLoss(model, ALL_MASKS), torch.rand(1, 3, 64, 64)
    plain = criterion(images, [OBJECTS])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = criterion(images, [OBJECTS])
    assert plain == mixed
    assert {loss.dtype for loss in mixed.values()} == {torch.float32}
