"""Network and losses as one module, so that distributed training sees every parameter."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolact.config import LossConfig
from yolact.distributed import SINGLE, World
from yolact.errors import ConfigError
from yolact.losses.assigners import Assigner, Assignment, Candidates, MaxIoUAssigner
from yolact.losses.task_aligned import TaskAlignedAssigner
from yolact.losses.terms import TERMS, LossTerm, mask_iou_loss, semantic_loss
from yolact.ops import masks as mask_ops
from yolact.ops.boxes import resize_boxes
from yolact.structures import BoxCoder, Objects, Predictions, Target, join_targets
from yolact.text import did_you_mean

ASSIGNERS: dict[str, Callable[[LossConfig], Assigner]] = {
    "max_iou": MaxIoUAssigner,
    "task_aligned": TaskAlignedAssigner,
}


class MaskSample(NamedTuple):
    """The positives that get a mask loss, P of each image; those of weight 0 do not count."""

    logits: Tensor  # float32 [B * P, Hp, Wp], mask logits
    masks: Tensor  # bool [B * P, Hp, Wp], of their objects
    boxes: Tensor  # float32 [B * P, 4] xyxy of their objects, pixels of the prototypes
    labels: Tensor  # int64 [B * P]
    weight: Tensor  # float32 [B * P], by which the sampled stand for all positives of their image


@dataclass(eq=False)
class LossInputs:
    """What a loss term may look at; what follows from the fields is computed when it is first used."""

    predictions: Predictions  # float32
    targets: Sequence[Target]
    assignment: Assignment  # of the candidates [B, A] to `objects`
    objects: Objects  # of the batch, T in all
    coder: BoxCoder  # of the head
    config: LossConfig
    world: World = SINGLE

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the network input in pixels."""
        return self.coder.image_size

    @cached_property
    def num_positives(self) -> Tensor:
        """Scalar to divide sums by: the number of positives, each counting by its weight.

        Each rank divides by the global number of positives / world size, so that averaging over ranks yields the loss,
        and the gradient, of the whole batch.
        """
        return self.world.all_reduce(self.positive_weight.sum()).clamp(min=1) / self.world.size

    @cached_property
    def positive_weight(self) -> Tensor:
        """The assignment's weight for positives and 0 elsewhere, float32 [B, A]."""
        return self.assignment.weight * self.assignment.positive

    @cached_property
    def class_weight(self) -> Tensor:
        """What the class of each candidate's object counts, float32 [B, A]; 1 where there is no object."""
        weights = self.config.class_weights
        if isinstance(weights, str):
            return torch.ones_like(self.assignment.weight)
        of_class = torch.tensor(weights).to(self.objects.boxes.device, non_blocking=True)  # `new_tensor` waits
        of_object = of_class[self.objects.labels]
        return _gather_or(of_object, self.assignment.object_index, of_object.new_ones(()))

    @cached_property
    def object_boxes(self) -> Tensor:
        """The box of each candidate's object, float32 [B, A, 4] xyxy; a small one where there is no object."""
        return _gather_or(self.objects.boxes, self.assignment.object_index, self._no_box)

    @cached_property
    def _no_box(self) -> Tensor:
        return F.pad(self.objects.boxes.new_zeros(2), (0, 2), value=1.0)

    @cached_property
    def class_indices(self) -> Tensor:
        """The column of the class logits that each candidate should choose, int64 [B, A]; 0 is background."""
        labels = self.objects.labels
        return _gather_or(labels + 1, self.assignment.object_index, labels.new_zeros(()))

    @cached_property
    def prototype_masks(self) -> Tensor:
        """The objects' masks at the size of the prototypes, bool [T, Hp, Wp]."""
        return self._shrunk_masks(self.predictions.prototypes)

    @cached_property
    def semantic_masks(self) -> Tensor:
        """The objects' masks at the size of the semantic maps, bool [T, Hs, Ws]."""
        if "semantic_masks" in self.targets[0]:
            return torch.cat([target["semantic_masks"] for target in self.targets])  # of the loader
        return self._shrunk_masks(self.predictions.semantic_logits)

    def _shrunk_masks(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        return mask_ops.shrink(torch.cat([target["masks"] for target in self.targets]), (height, width))

    @cached_property
    def roi_masks(self) -> Tensor:
        """The objects' masks on grids of their own, float32 [T, M, M] in [0, 1]; see `yolact.ops.masks.align`."""
        crops = [
            target["mask_crops"]  # of the loader
            if "mask_crops" in target
            else mask_ops.align_masks(target["masks"], target["boxes"], self.config.roi_size)
            for target in self.targets
        ]
        return torch.cat(crops).float() / 255

    @cached_property
    def mask_sample(self) -> MaskSample:
        """At most `masks_to_train` positives of each image, at random."""
        prototypes = self.predictions.prototypes
        anchors, weight = sample_positives(self.assignment.positive, self.config.masks_to_train, self.world)
        index = self.assignment.object_index.gather(1, anchors).where(weight > 0, -1)
        own = anchors[..., None].expand(-1, -1, self.predictions.mask_coefficients.shape[-1])
        logits = mask_ops.assemble(prototypes, self.predictions.mask_coefficients.gather(1, own))
        boxes = _gather_or(self.objects.boxes, index, self._no_box)
        boxes = resize_boxes(boxes, self.image_size, prototypes.shape[-2:])
        masks = _gather_or(self.prototype_masks, index, torch.zeros_like(prototypes[0, 0], dtype=torch.bool))
        labels = _gather_or(self.objects.labels, index, self.objects.labels.new_zeros(()))
        weight = weight * self.assignment.weight.gather(1, anchors)
        return MaskSample(*(field.flatten(0, 1) for field in (logits, masks, boxes, labels, weight)))


def _gather_or(values: Tensor, index: Tensor, otherwise: Tensor) -> Tensor:
    """Return values[index], and `otherwise` where the index is negative."""
    return torch.cat([values, otherwise[None]])[index.clamp(min=-1)]


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


def configured_assigner(config: LossConfig) -> Assigner:
    """Return the assigner that the configuration names; ConfigError where there is none of that name."""
    if config.assigner not in ASSIGNERS:
        raise ConfigError(f"loss.assigner is '{config.assigner}'{did_you_mean(config.assigner, ASSIGNERS)}")
    return ASSIGNERS[config.assigner](config)


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
        self.model, self.config, self.world = model, config, world
        self.assigner = assigner or configured_assigner(config)
        self.terms = {
            name: LossTerm(choices[getattr(config, f"{name}_loss")], getattr(config, f"{name}_weight"))
            for name, choices in TERMS.items()
        }
        self.terms["semantic"] = LossTerm(semantic_loss, config.semantic_weight)
        if isinstance(model.mask_iou, nn.Module):
            self.terms["mask_iou"] = LossTerm(partial(mask_iou_loss, network=model.mask_iou), config.mask_iou_weight)
        self.terms |= terms or {}
        for name, term in self.terms.items():
            if not isinstance(term, LossTerm):
                raise TypeError(f"The loss term '{name}' must be a LossTerm(function, weight), got {term!r}.")

    def forward(self, images: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the weighted losses "box", "class", "mask", "semantic" and, for YOLACT++, "mask_iou", scalars.

        Over several ranks, the means of their losses are the losses of the whole batch.

        Args:
            images: float32 [B, C, H, W] in [0, 1], RGB if C is 3, of a size that the model takes.
            targets: B targets on the device of the images.
        """
        predictions = self.model(images)
        with torch.autocast(images.device.type, enabled=False):
            predictions = Predictions(*(field.float() for field in predictions))
            return self.losses(predictions, targets, self.model.head.coder(tuple(images.shape[2:])))  # type: ignore[union-attr, operator]

    def losses(self, predictions: Predictions, targets: Sequence[Target], coder: BoxCoder) -> dict[str, Tensor]:
        """Assign candidates to objects and return each term times its weight, for float32 predictions."""
        objects = join_targets(targets)
        with torch.no_grad():
            assignment = self.assigner(Candidates(predictions, coder), objects)
        inputs = LossInputs(predictions, targets, assignment, objects, coder, self.config, self.world)
        return {
            name: term.weight * _scalar(name, term.compute(inputs), predictions) for name, term in self.terms.items()
        }


def _scalar(name: str, loss: object, predictions: Predictions) -> Tensor:
    """Return what a term computed, a number as a tensor; ValueError if it is no scalar."""
    if isinstance(loss, int | float):
        return predictions.prototypes.new_full((), loss)
    if not isinstance(loss, Tensor) or loss.dim():
        found = f"a tensor {list(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise ValueError(f"The loss term '{name}' must return a scalar, got {found}.")
    return loss
