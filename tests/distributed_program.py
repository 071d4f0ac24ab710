"""What two processes find out about each other; tests/test_distributed.py starts this program by torchrun."""

import copy
import math

import pytest
import torch

from yolact.config import AnchorConfig, BackboneConfig, Config, LossConfig, ModelConfig
from yolact.distributed import Processes, joined_processes
from yolact.engine.optim import set_training_mode
from yolact.errors import GaveUpError, UserError
from yolact.losses import ModelWithLoss
from yolact.models import build_model
from yolact.structures import Target


def numbers(processes: Processes) -> None:
    rank = processes.rank
    values = torch.tensor([rank, 10])
    assert processes.total(values).tolist() == [1, 20]
    assert values.tolist() == [rank, 10]
    assert processes.largest(rank) == 1
    assert processes.largest(-rank) == 0


def json_data(processes: Processes) -> None:
    rank = processes.rank
    value = {"é": [0.1 + 0.2, None, True], "rank": rank, "long": "x" * 1000 * rank}
    collected = processes.collect(value)
    assert [part["rank"] for part in collected] == ([0, 1] if rank == 0 else [])
    assert [part["é"][0] for part in collected] == [0.1 + 0.2] * len(collected)
    assert processes.collect([]) == ([[], []] if rank == 0 else [])
    assert processes.all_of([rank]) == [[0], [1]]
    assert processes.from_first(lambda: {"from": rank}) == {"from": 0}


def fail_in_the_first(processes: Processes) -> None:
    with processes.together():
        if processes.first:
            raise ValueError


def failures(processes: Processes) -> None:
    rank = processes.rank
    with pytest.raises(ValueError if rank == 0 else GaveUpError):
        fail_in_the_first(processes)
    with pytest.raises(KeyError if rank == 0 else GaveUpError):
        processes.from_first(lambda: {}["absent"])
    with processes.together():
        pass
    processes.require_equal({"pictures": 3, "classes": ["a"]})
    if rank == 0:
        processes.require_equal({"pictures": 3})
    else:
        with pytest.raises(UserError, match=r"Process 1 .* same pictures, but got 4 and 3"):
            processes.require_equal({"pictures": 4})


def modules(processes: Processes) -> None:
    torch.manual_seed(processes.rank)
    norm = torch.nn.BatchNorm2d(3)
    norm.running_mean.normal_()
    mine = norm.running_mean.clone()
    processes.copy_from_first(norm)
    assert torch.equal(norm.running_mean, mine) == (processes.rank == 0)
    assert len({str(values) for values in processes.all_of(norm.running_mean.tolist())}) == 1


def example() -> tuple[Config, torch.Tensor, list[Target]]:
    """Return four pictures: two objects, none, a crowd alone, and an object with more anchors than are sampled."""
    model = ModelConfig(
        num_classes=3, image_size=64, backbone=BackboneConfig(name="resnet18"),
        anchors=AnchorConfig(scales=((8,), (16,), (32,), (48,), (64,))), fpn_channels=16, protonet_channels=16,
        num_prototypes=8,
    )  # fmt: skip
    boxes = [[[4, 4, 20, 24], [30, 30, 62, 60]], [], [[0, 0, 60, 60]], [[8, 8, 40, 40]]]
    targets = []
    for number, picture in enumerate(boxes):
        masks = torch.zeros(len(picture), 64, 64, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, picture, strict=True):
            mask[y1:y2, x1:x2] = True
        targets.append(
            Target(
                boxes=torch.tensor(picture, dtype=torch.float32).reshape(-1, 4),
                labels=torch.arange(len(picture)),
                masks=masks,
                iscrowd=torch.full((len(picture),), number == 2),
                image_id=number,
            )
        )
    torch.manual_seed(0)
    return Config(model=model, loss=LossConfig(masks_to_train=2)), torch.rand(4, 3, 64, 64), targets


def losses_and_gradients(processes: Processes) -> None:
    """The mean over processes of what each makes of its share is what one process makes of the whole batch."""
    config, images, targets = example()
    torch.manual_seed(0)
    networks = [build_model(config)]
    networks.append(copy.deepcopy(networks[0]))
    for network in networks:
        set_training_mode(network, frozen_batch_norm=True)
    criteria = [ModelWithLoss(networks[0], config.loss), ModelWithLoss(networks[1], config.loss, processes)]
    replica = processes.replicate(criteria[1])
    own = slice(processes.rank * 2, processes.rank * 2 + 2)
    for accumulated in (False, True):
        torch.manual_seed(1)
        whole = criteria[0](images, targets)
        sum(whole.values()).backward()
        torch.manual_seed(1)
        with processes.averaging(replica, now=accumulated):
            shared = replica(images[own], targets[own])
            sum(shared.values()).backward()
        for name, loss in whole.items():
            assert float(processes.total(shared[name]) / 2) == pytest.approx(float(loss), rel=1e-6), name
    for (name, one), two in zip(networks[0].named_parameters(), networks[1].parameters(), strict=True):
        if one.requires_grad:
            torch.testing.assert_close(two.grad, one.grad, rtol=1e-4, atol=1e-6 * float(one.grad.abs().max()), msg=name)


def nothing_to_learn_in_one_share(processes: Processes) -> None:
    """A share without objects still takes part, and what is not finite in one share is so for all."""
    config, images, targets = example()
    network = build_model(config)
    set_training_mode(network, frozen_batch_norm=True)
    replica = processes.replicate(ModelWithLoss(network, config.loss, processes))
    own = [0, 3] if processes.rank == 0 else [1, 1]
    losses = replica(images[own], [targets[number] for number in own])
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)
    assert (float(losses["box"]) == 0) == (processes.rank == 1)
    broken = torch.tensor(math.inf if processes.rank else 1.0)
    assert not math.isfinite(processes.total(broken))


if __name__ == "__main__":
    with joined_processes() as both:
        assert both.count == 2
        for check in (numbers, json_data, failures, modules, losses_and_gradients, nothing_to_learn_in_one_share):
            check(both)
            print(f"{check.__name__} holds in process {both.rank}\n", end="", flush=True)
