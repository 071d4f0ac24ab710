from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from yolact.config import LossConfig
from yolact.losses import ModelWithLoss
from yolact.losses.criterion import compute_losses
from yolact.models import build_model
from yolact.structures import Target


def target(boxes, labels, crowd=()):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros(len(boxes), 64, 64, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    iscrowd = torch.zeros(len(boxes), dtype=torch.bool)
    iscrowd[list(crowd)] = True
    return Target(boxes=boxes, labels=torch.tensor(labels, dtype=torch.int64), masks=masks, iscrowd=iscrowd, image_id=1)


OBJECTS = target([[4, 4, 20, 24], [30, 30, 62, 60]], [0, 2])
EMPTY = target([], [])
CROWD_ONLY = target([[0, 0, 64, 64]], [1], crowd=[0])


@pytest.fixture
def model(tiny_config):
    return build_model(tiny_config)


def test_another_size_of_the_input_gives_the_losses_of_a_model_of_that_size(tiny_config):
    """The weights do not know their size; the anchors keep theirs in pixels."""
    both = replace(tiny_config, train=replace(tiny_config.train, image_sizes=(96,)))
    own = replace(tiny_config, model=replace(tiny_config.model, image_size=96))
    models = [build_model(config) for config in (both, own)]
    models[1].load_state_dict(models[0].state_dict())
    masks = torch.nn.functional.pad(OBJECTS["masks"], (0, 32, 0, 32))
    images, targets = torch.rand(1, 3, 96, 96), [Target(**{**OBJECTS, "masks": masks})]
    first, second = (ModelWithLoss(model, LossConfig(masks_to_train=1000))(images, targets) for model in models)
    assert first == second
    assert all(loss > 0 for loss in first.values())


def total_gradient(losses, model):
    sum(losses.values()).backward()
    return sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None)


def test_names_of_the_losses(model):
    losses = ModelWithLoss(model, LossConfig())(torch.rand(1, 3, 64, 64), [OBJECTS])
    assert set(losses) == {"box", "class", "semantic", "mask"}
    assert all(loss.ndim == 0 and loss > 0 for loss in losses.values())


def test_plus_models_add_the_mask_iou_loss(tiny_config):
    model = build_model(replace(tiny_config, model=replace(tiny_config.model, image_size=256, mask_iou=True)))
    large = dict(
        OBJECTS, boxes=OBJECTS["boxes"] * 4, masks=OBJECTS["masks"].repeat_interleave(4, 1).repeat_interleave(4, 2)
    )
    losses = ModelWithLoss(model, LossConfig())(torch.rand(1, 3, 256, 256), [large])
    assert losses["mask_iou"] > 0


def test_weights_scale_their_terms(model):
    model.eval()
    images = torch.rand(1, 3, 64, 64)
    plain = ModelWithLoss(model, LossConfig(masks_to_train=1000))(images, [OBJECTS])
    doubled = ModelWithLoss(model, LossConfig(masks_to_train=1000, mask_weight=2 * 6.125, semantic_weight=0))(
        images, [OBJECTS]
    )
    torch.testing.assert_close(doubled["mask"], 2 * plain["mask"])
    torch.testing.assert_close(doubled["box"], plain["box"])
    assert doubled["semantic"] == 0


@pytest.mark.parametrize("targets", [[EMPTY, EMPTY], [CROWD_ONLY, EMPTY], [OBJECTS, EMPTY]])
def test_pictures_without_objects_give_finite_losses_and_gradients(model, targets):
    losses = ModelWithLoss(model, LossConfig())(torch.rand(2, 3, 64, 64), targets)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert torch.isfinite(total_gradient(losses, model))


def test_an_empty_picture_teaches_background(model):
    losses = ModelWithLoss(model, LossConfig())(torch.rand(2, 3, 64, 64), [EMPTY, EMPTY])
    assert losses["class"] > 0
    assert losses["box"] == losses["mask"] == 0


@pytest.mark.parametrize("mask_iou", [False, True])
def test_every_parameter_gets_a_gradient_even_without_objects(tiny_config, mask_iou):
    """Distributed training waits for every parameter."""
    model = build_model(replace(tiny_config, model=replace(tiny_config.model, image_size=256, mask_iou=mask_iou)))
    losses = ModelWithLoss(model, LossConfig())(torch.rand(2, 3, 256, 256), [EMPTY, EMPTY])
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_crowds_are_not_learnt_as_objects(model):
    model.eval()
    images = torch.rand(1, 3, 64, 64)
    both = target([[4, 4, 20, 24], [0, 0, 2, 2]], [0, 1], crowd=[1])
    alone = target([[4, 4, 20, 24]], [0])
    criterion = ModelWithLoss(model, LossConfig(masks_to_train=1000))
    with_crowd, without = criterion(images, [both]), criterion(images, [alone])
    for name in ("box", "mask", "semantic"):
        torch.testing.assert_close(with_crowd[name], without[name])


def test_a_limit_on_masks_is_made_up_for(model):
    model.eval()
    images = torch.rand(1, 3, 64, 64)
    whole = ModelWithLoss(model, LossConfig(masks_to_train=1000))(images, [OBJECTS])["mask"]
    limited = [ModelWithLoss(model, LossConfig(masks_to_train=2))(images, [OBJECTS])["mask"] for _ in range(200)]
    assert torch.stack(limited).mean().item() == pytest.approx(whole.item(), rel=0.1)
    assert torch.stack(limited).std() > 0


@pytest.mark.parametrize("mask_iou", [False, True])
def test_fixed_shapes_give_the_same_losses_and_gradients(tiny_config, mask_iou):
    """What runs on accelerators, where the host must not wait to learn how many entries count."""
    model = build_model(replace(tiny_config, model=replace(tiny_config.model, image_size=256, mask_iou=mask_iou)))
    large = dict(
        OBJECTS, boxes=OBJECTS["boxes"] * 4, masks=OBJECTS["masks"].repeat_interleave(4, 1).repeat_interleave(4, 2)
    )
    crowd = dict(CROWD_ONLY, boxes=CROWD_ONLY["boxes"] * 4, masks=torch.ones(1, 256, 256, dtype=torch.uint8))
    predictions = model.eval()(torch.rand(3, 3, 256, 256))
    results = []
    for static in (False, True):
        losses = compute_losses(predictions, [large, crowd, large], 256, model, LossConfig(masks_to_train=2000), static)
        gradients = torch.autograd.grad(sum(losses.values()), predictions, retain_graph=True)
        results.append((losses, dict(enumerate(gradients))))
    for first, second in zip(*results, strict=True):
        for key, value in first.items():
            torch.testing.assert_close(second[key], value)


class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operators = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.operators[str(operator)] += 1
        return operator(*args, **(kwargs or {}))


VIEWS = ("view", "reshape", "expand", "select", "slice", "unbind", "split", "t", "transpose", "permute", "unsqueeze",
         "squeeze", "alias", "detach", "_unsafe_view", "as_strided")  # fmt: skip


def scattered(num_objects, seed):
    """Return objects of which no two are the same."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(num_objects, 2, generator=generator) * 40
    boxes = torch.cat([corners, corners + 2 + 22 * torch.rand(num_objects, 2, generator=generator)], 1)
    return target(boxes.tolist(), [0] * num_objects)


@pytest.mark.parametrize(("static", "limit"), [(False, 300), (True, 400)])
def test_the_number_of_operators_does_not_grow_with_the_objects(model, static, limit):
    predictions = model(torch.rand(8, 3, 64, 64))
    counts = []
    for num_objects in (2, 14, 60):
        targets = [scattered(num_objects, seed) for seed in range(8)]
        with Count() as counted, torch.no_grad():
            compute_losses(predictions, targets, 64, model, LossConfig(), static)
        counts.append(sum(n for name, n in counted.operators.items() if name.split(".")[1] not in VIEWS))
    print(counts)
    assert counts[0] == counts[1] == counts[2] <= limit


@pytest.mark.parametrize("limit", [2, 1000])
def test_on_fixed_shapes_the_host_never_asks_the_device(model, limit):
    predictions = model(torch.rand(3, 3, 64, 64))
    with Count() as counted:
        compute_losses(predictions, [OBJECTS, CROWD_ONLY, EMPTY], 64, model, LossConfig(masks_to_train=limit), True)
    waits = {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.masked_select.default"}
    assert not waits & counted.operators.keys()


def test_autocast_ends_where_the_losses_begin(model, monkeypatch):
    with torch.no_grad():
        predictions = model(torch.rand(1, 3, 64, 64))
    monkeypatch.setattr(model, "forward", lambda images: predictions)
    criterion = ModelWithLoss(model, LossConfig(masks_to_train=1000))
    plain = criterion(torch.rand(1, 3, 64, 64), [OBJECTS])
    with torch.autocast("cpu", torch.bfloat16):
        mixed = criterion(torch.rand(1, 3, 64, 64), [OBJECTS])
    assert plain == mixed
    assert {loss.dtype for loss in mixed.values()} == {torch.float32}
