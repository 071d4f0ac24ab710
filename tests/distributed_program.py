"""What two ranks find out about each other; tests/test_distributed.py starts this program by torchrun."""

import copy
import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from tests.made import make_target
from yolact.config import AnchorConfig, BackboneConfig, Config, EvalConfig, LossConfig, ModelConfig
from yolact.data import CocoDataset
from yolact.distributed import World, joined_world
from yolact.engine.optim import set_training_mode
from yolact.errors import GaveUpError, UserError
from yolact.evaluation.run import evaluate
from yolact.losses import LossTerm, ModelWithLoss
from yolact.models import build_model
from yolact.runtimes.pytorch import PyTorchRuntime
from yolact.structures import Target
from yolact.tools.shapes import write_shapes


def numbers(world: World) -> None:
    rank = world.rank
    values = torch.tensor([rank, 10])
    assert world.all_reduce(values).tolist() == [1, 20]
    assert values.tolist() == [rank, 10]
    assert world.maximum(rank) == 1
    assert world.maximum(-rank) == 0


def objects(world: World) -> None:
    rank = world.rank
    value = {"é": [0.1 + 0.2, None, True], "rank": rank, "long": "x" * 1000 * rank}
    collected = world.gather(value)
    assert [part["rank"] for part in collected] == ([0, 1] if rank == 0 else [])
    assert [part["é"][0] for part in collected] == [0.1 + 0.2] * len(collected)
    assert world.gather([]) == ([[], []] if rank == 0 else [])
    assert world.all_gather([rank]) == [[0], [1]]
    assert world.broadcast(lambda: {"from": rank}) == {"from": 0}


def fail_in_the_first(world: World) -> None:
    with world.raising_on_all():
        if world.is_main_process:
            raise ValueError


def failures(world: World) -> None:
    rank = world.rank
    with pytest.raises(ValueError if rank == 0 else GaveUpError):
        fail_in_the_first(world)
    with pytest.raises(KeyError if rank == 0 else GaveUpError):
        world.broadcast(lambda: {}["absent"])
    with world.raising_on_all():
        pass
    world.require_equal({"images": 3, "classes": ["a"]})
    if rank == 0:
        world.require_equal({"images": 3})
    else:
        with pytest.raises(UserError, match=r"Rank 1 .* same images, but got 4 and 3"):
            world.require_equal({"images": 4})


def modules(world: World) -> None:
    torch.manual_seed(world.rank)
    norm = torch.nn.BatchNorm2d(3)
    norm.running_mean.normal_()
    mine = norm.running_mean.clone()
    world.broadcast_weights(norm)
    assert torch.equal(norm.running_mean, mine) == (world.rank == 0)
    assert len({str(values) for values in world.all_gather(norm.running_mean.tolist())}) == 1


class Seen:
    """An evaluator that only keeps the images."""

    def __init__(self) -> None:
        self.image_ids, self.num_merged = [], 0

    def update(self, image_id, instances, target) -> None:
        self.image_ids.append(image_id)

    def merge(self, others) -> None:
        self.image_ids += [image_id for other in others for image_id in other.image_ids]
        self.num_merged += sum(bool(other.image_ids) for other in others)

    def compute(self):
        return {"seen": sorted(self.image_ids), "merged": self.num_merged}


def evaluators(world: World) -> None:
    """What evaluators took on each rank is merged, and all ranks get what they compute."""
    seen = Seen()
    with TemporaryDirectory() as folder:
        write_shapes(Path(folder), 2, 3, 64, 0)
        dataset = CocoDataset(Path(folder) / "instances_val.json", Path(folder) / "val")
        settings, model = EvalConfig(num_workers=0, score_threshold=0.9), build_model(example()[0])
        result = evaluate(PyTorchRuntime(model), dataset, settings, evaluators=[seen], progress=False, world=world)
    assert result.metrics["seen"] == sorted(image.id for image in dataset.images)
    assert result.metrics["merged"] == world.size - 1
    assert seen.image_ids == []


def example() -> tuple[Config, torch.Tensor, list[Target]]:
    """Return four images: two objects, none, a crowd alone, and an object with more anchors than are sampled."""
    model = ModelConfig(
        num_classes=3, image_size=64, backbone=BackboneConfig(name="resnet18"),
        anchors=AnchorConfig(scales=((8,), (16,), (32,), (48,), (64,))), fpn_channels=16, protonet_channels=16,
        num_prototypes=8,
    )  # fmt: skip
    boxes = [[[4, 4, 20, 24], [30, 30, 62, 60]], [], [[0, 0, 60, 60]], [[8, 8, 40, 40]]]
    targets = [make_target(image, crowds=[0] * (number == 2), image_id=number) for number, image in enumerate(boxes)]
    torch.manual_seed(0)
    return Config(model=model, loss=LossConfig(masks_to_train=2)), torch.rand(4, 3, 64, 64), targets


def losses_and_gradients(world: World) -> None:
    """The mean over ranks of what each makes of its share is what one rank makes of the whole batch."""
    config, images, targets = example()
    share_a_batch(world, config, images, targets)
    share_a_batch(world, after(config), images, targets)


def after(config: Config) -> Config:
    """Return YOLACT next of the same size."""
    loss = LossConfig(assigner="task_aligned", class_loss="quality", box_loss="giou", mask_loss="roi_align", roi_size=8)
    return replace(config, model=replace(config.model, head="points"), loss=loss)


def share_a_batch(world: World, config: Config, images: torch.Tensor, targets: list[Target]) -> None:
    torch.manual_seed(0)
    networks = [build_model(config)]
    networks.append(copy.deepcopy(networks[0]))
    for network in networks:
        set_training_mode(network, frozen_batch_norm=True)
    criteria = [ModelWithLoss(networks[0], config.loss), ModelWithLoss(networks[1], config.loss, world)]
    replica = world.replicate(criteria[1])
    own = slice(world.rank * 2, world.rank * 2 + 2)
    for accumulated in (False, True):
        torch.manual_seed(1)
        whole = criteria[0](images, targets)
        sum(whole.values()).backward()
        torch.manual_seed(1)
        with world.averaging(replica, now=accumulated):
            shared = replica(images[own], targets[own])
            sum(shared.values()).backward()
        for name, loss in whole.items():
            assert float(world.all_reduce(shared[name]) / 2) == pytest.approx(float(loss), rel=1e-6), name
    for (name, one), two in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-6 * float(one.grad.abs().max()), msg=name)


def nothing_to_learn_in_one_share(world: World) -> None:
    """A share without objects still takes part, and what is not finite in one share is so for all."""
    example_config, images, targets = example()
    for config in (example_config, after(example_config)):
        network = build_model(config)
        set_training_mode(network, frozen_batch_norm=True)
        replica = world.replicate(ModelWithLoss(network, config.loss, world))
        own = [0, 3] if world.rank == 0 else [1, 1]
        losses = replica(images[own], [targets[number] for number in own])
        sum(losses.values()).backward()
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
        assert (float(losses["box"]) == 0) == (world.rank == 1)
    broken = torch.tensor(math.inf if world.rank else 1.0)
    assert not math.isfinite(world.all_reduce(broken))


def what_gets_no_gradient(world: World) -> None:
    """A loss term may leave a part of the network alone, step after step."""
    config, images, targets = example()
    network = build_model(config)
    set_training_mode(network, frozen_batch_norm=True)
    model = ModelWithLoss(network, config.loss, world, terms={"semantic": LossTerm(lambda inputs: 0.0, 1.0)})
    replica = world.replicate(model, leaves_some_out=True)
    for _ in range(3):
        sum(replica(images[:2], targets[:2]).values()).backward()
    assert network.semantic.weight.grad is None
    assert network.protonet.output.weight.grad.isfinite().all()


if __name__ == "__main__":
    with joined_world() as both:
        assert both.size == 2
        checks = (numbers, objects, failures, modules, evaluators, losses_and_gradients, nothing_to_learn_in_one_share,
                  what_gets_no_gradient)  # fmt: skip
        for check in checks:
            check(both)
            print(f"{check.__name__} holds on rank {both.rank}\n", end="", flush=True)
