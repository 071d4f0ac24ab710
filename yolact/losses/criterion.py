"""Network and losses as one module, so that distributed training sees every parameter."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from yolact.config import LossConfig
from yolact.distributed import SINGLE, World
from yolact.losses.assigners import ASSIGNERS, Assigner, Assignment, Candidates
from yolact.losses.terms import TERMS, LossTerm, MaskIoULoss
from yolact.ops import masks as mask_ops
from yolact.structures import BoxCoder, Objects, Predictions, Target, join_targets


class MaskSample(NamedTuple):
    """The positives that get a mask loss, P of each image; those of weight 0 do not count."""

    logits: Tensor  # float32 [B * P, Hp, Wp], mask logits
    masks: Tensor  # bool [B * P, Hp, Wp], of their objects
    boxes: Tensor  # float32 [B * P, 4] xyxy of their objects, pixels of the prototypes
    labels: Tensor  # int64 [B * P]
    weight: Tensor  # float32 [B * P], by which the sampled stand for all positives of their image


class LossInputs:
    """What a loss term may look at; masks are computed when they are first used.

    Attributes:
        predictions: float32.
        objects: of the batch, T in all.
        assignment: of the candidates [B, A] to these.
        coder: of the head.
        image_size: side S of the network input in pixels.
        num_positives: scalar to divide sums by. Each rank divides by the global number of positives / world size, so
            that averaging over ranks yields the loss, and the gradient, of the whole batch.
        positive_weight: float32 [B, A], the assignment's weight for positives and 0 elsewhere.
    """

    def __init__(
        self,
        predictions: Predictions,
        targets: Sequence[Target],
        assignment: Assignment,
        objects: Objects,
        coder: BoxCoder,
        config: LossConfig,
        world: World = SINGLE,
    ) -> None:
        self.predictions, self.targets, self.objects, self.assignment = predictions, targets, objects, assignment
        self.coder, self.config, self.world, self.image_size = coder, config, world, coder.image_size
        positives = world.all_reduce(assignment.positive.sum())
        self.num_positives = positives.clamp(min=1) / world.size
        self.positive_weight = assignment.weight * assignment.positive
        self.no_box = objects.boxes.new_tensor([0, 0, 1, 1])

    def of_objects(self, values: Tensor, otherwise: Tensor) -> Tensor:
        """Return for each candidate what `values` [T, ...] holds for its object, or `otherwise`: [B, A, ...]."""
        return _gather_or(values, self.assignment.object_index, otherwise)

    @cached_property
    def prototype_masks(self) -> Tensor:
        """The objects' masks at the size of the prototypes, bool [T, Hp, Wp]."""
        return self._small_masks[0]

    @cached_property
    def semantic_masks(self) -> Tensor:
        """The objects' masks at the size of the semantic maps, bool [T, Hs, Ws]."""
        return self._small_masks[1]

    @cached_property
    def _small_masks(self) -> list[Tensor]:
        # Full-size masks become floats one image at a time.
        maps = (self.predictions.prototypes, self.predictions.semantic_logits)
        sizes = [(one.shape[-2], one.shape[-1]) for one in maps]
        per_image = [
            [mask_ops.resize(masks, size) for size in sizes] for masks in (t["masks"].float() for t in self.targets)
        ]
        return [torch.cat(small) > 0.5 for small in zip(*per_image, strict=True)]

    @cached_property
    def mask_sample(self) -> MaskSample:
        """At most `masks_to_train` positives of each image, at random."""
        prototypes = self.predictions.prototypes
        anchors, weight = sample_positives(self.assignment.positive, self.config.masks_to_train, self.world)
        index = self.assignment.object_index.gather(1, anchors).where(weight > 0, -1)
        own = anchors[..., None].expand(-1, -1, self.predictions.mask_coefficients.shape[-1])
        logits = mask_ops.assemble(prototypes, self.predictions.mask_coefficients.gather(1, own))
        boxes = _gather_or(self.objects.boxes, index, self.no_box) * (prototypes.shape[-1] / self.image_size)
        masks = _gather_or(self.prototype_masks, index, torch.zeros_like(prototypes[0, 0], dtype=torch.bool))
        labels = _gather_or(self.objects.labels, index, self.objects.labels.new_zeros(()))
        weight = weight * self.assignment.weight.gather(1, anchors)
        return MaskSample(*(field.flatten(0, 1) for field in (logits, masks, boxes, labels, weight)))


def _gather_or(values: Tensor, index: Tensor, otherwise: Tensor) -> Tensor:
    """Return values[index], and `otherwise` where the index is negative."""
    return torch.cat([values, otherwise[None]])[torch.where(index < 0, len(values), index)]


def sample_positives(positive: Tensor, limit: int, world: World = SINGLE) -> tuple[Tensor, Tensor]:
    """Choose at most `limit` positives of each image at random.

    Every rank draws the numbers of the whole batch, so that an image's do not depend on the number of ranks.

    Args:
        positive: bool [B, A].

    Returns:
        Their numbers among the candidates, int64 [B, P], and by what each counts, float32 [B, P]: more than 1 where it
        stands for others too, 0 where an image has fewer than P.
    """
    num_positives = positive.sum(1)
    priority = positive.float()
    # A CPU knows at once how many there are; another device would have to be waited for.
    most = int(num_positives.max()) if positive.device.type == "cpu" else positive.shape[1]
    if most > limit:
        priority = torch.rand(world.size, *positive.shape, device=positive.device)[world.rank]
        priority = priority.masked_fill(~positive, -1)
    chosen, anchors = priority.topk(min(limit, most))
    is_chosen = (chosen >= 0) & positive.gather(1, anchors)
    return anchors, is_chosen * (num_positives / is_chosen.sum(1).clamp(min=1))[:, None]


class Criterion:
    """Weighted losses of predictions, by name."""

    def __init__(
        self, config: LossConfig, terms: Mapping[str, LossTerm], assigner: Assigner, world: World = SINGLE
    ) -> None:
        for name, term in terms.items():
            if not isinstance(term, LossTerm):
                raise TypeError(f"The loss term '{name}' must be a LossTerm(function, weight), got {term!r}.")
        self.config, self.terms, self.assigner, self.world = config, dict(terms), assigner, world

    def __call__(self, predictions: Predictions, targets: Sequence[Target], coder: BoxCoder) -> dict[str, Tensor]:
        """Assign candidates to objects and return each term times its weight.

        Args:
            predictions: float32.
            targets: of B images.
            coder: of the head, for the size of this batch.
        """
        objects = join_targets(targets)
        with torch.no_grad():
            assignment = self.assigner(Candidates(predictions, coder), objects)
        inputs = LossInputs(predictions, targets, assignment, objects, coder, self.config, self.world)
        losses = {name: term.weight * term.compute(inputs) for name, term in self.terms.items()}
        for name, loss in losses.items():
            if loss.dim():
                raise ValueError(f"The loss term '{name}' must return a scalar, got a tensor {list(loss.shape)}.")
        return losses


class ModelWithLoss(nn.Module):
    """The network and its weighted losses.

    Args:
        model: with `head`, and `mask_iou` for YOLACT++.
        config: weights, rules of the assigner.
        world: the ranks that share a batch.
        terms: further loss terms by name, or others in place of the paper's of that name.
        assigner: in place of the configured one.
    """

    def __init__(
        self,
        model: nn.Module,
        config: LossConfig,
        world: World = SINGLE,
        *,
        terms: Mapping[str, LossTerm] | None = None,
        assigner: Assigner | None = None,
    ) -> None:
        super().__init__()
        self.model, self.config = model, config
        table = {name: LossTerm(term, getattr(config, key)) for name, (term, key) in TERMS.items()}
        if model.mask_iou is not None:
            table["mask_iou"] = LossTerm(MaskIoULoss(model.mask_iou, config), config.mask_iou_weight)  # type: ignore[arg-type]
        self.criterion = Criterion(
            config, {**table, **(terms or {})}, assigner or ASSIGNERS[config.assigner](config), world
        )

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the weighted losses "box", "class", "mask", "semantic" and, for YOLACT++, "mask_iou", scalars.

        Over several ranks, the means of their losses are the losses of the whole batch.

        Args:
            images: float32 [B, 3, S, S], RGB in [0, 1]; S is a size that the model takes.
            targets: B targets on the device of the images.
        """
        predictions = self.model(images)
        with torch.autocast(images.device.type, enabled=False):
            predictions = Predictions(*(field.float() for field in predictions))
            return self.criterion(predictions, targets, self.model.head.coder(images.shape[-1]))  # type: ignore[union-attr, operator]
