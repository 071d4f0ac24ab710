"""Made-up predictions and ground truth with known numbers of candidates, objects and areas.

Random weights give a random number of detections, which would make the time of all that follows the network
meaningless.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolact.models import Yolact
from yolact.ops.boxes import cxcywh_to_xyxy, encode
from yolact.structures import Predictions, Target

BACKGROUND_LOGIT = 12.0


def make_predictions(
    num_candidates: int, anchors: Tensor, side: int, num_classes: int, num_prototypes: int, seed: int = 0
) -> Predictions:
    """Return predictions for one picture of which exactly `num_candidates` anchors exceed a score of 0.05.

    The candidates lie in clusters, as they do around real objects. The boxes' areas are 0.5 to 12 % of the picture, 5 %
    on average.

    Args:
        anchors: [A, 4] xyxy, pixels of the input.
        side: of the input in pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    num_candidates = min(num_candidates, len(anchors))
    boxes = _boxes(num_candidates, side, generator)
    rows = torch.randperm(len(anchors), generator=generator)[:num_candidates]
    logits = torch.randn(len(anchors), 1 + num_classes, generator=generator)
    logits[:, 0] = BACKGROUND_LOGIT
    logits[rows, 0] = 0
    label = torch.randint(1, 1 + num_classes, (num_candidates,), generator=generator)
    logits[rows, label] = 4 + 4 * torch.rand(num_candidates, generator=generator)
    deltas = torch.zeros(len(anchors), 4)
    deltas[rows] = encode(boxes, anchors[rows])
    coefficients = torch.randn(len(anchors), num_prototypes, generator=generator).tanh()
    cells = -(-side // 8)
    coarse = torch.randn(1, num_prototypes, 12, 12, generator=generator)
    prototypes = torch.nn.functional.interpolate(coarse, (2 * cells, 2 * cells), mode="bicubic").relu()
    semantic = torch.randn(1, num_classes, cells, cells, generator=generator)
    return Predictions(logits[None], deltas[None], coefficients[None], prototypes, semantic)


def _boxes(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Return `count` boxes xyxy around a quarter as many centres, inside the picture where they fit."""
    centres = torch.rand(max(1, count // 4), 2, generator=generator)
    chosen = centres[torch.randint(len(centres), (count,), generator=generator)]
    area = 0.005 + 0.09 * torch.rand(count, generator=generator) + 0.025 * torch.rand(count, generator=generator).pow(4)
    width = (area * (0.5 + 1.5 * torch.rand(count, generator=generator))).sqrt()
    size = torch.stack([width, area / width], 1)
    centre = (chosen + 0.02 * torch.randn(count, 2, generator=generator)).clamp(0, 1)
    centre = centre.maximum(size / 2).minimum(1 - size / 2)
    return cxcywh_to_xyxy(torch.cat([centre, size], 1)) * side


def make_targets(counts: list[int], side: int, num_classes: int, seed: int = 0) -> list[Target]:
    """Return ground truth with `counts` objects, whose masks are the ellipses in their boxes."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    targets = []
    for image_id, count in enumerate(counts):
        boxes = _boxes(count, side, generator)
        centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
        inside = [((x - cx) / w) ** 2 + ((y - cy) / h) ** 2 < 1 for (cx, cy), (w, h) in zip(centre, half, strict=True)]
        masks = torch.stack(inside) if inside else torch.zeros(0, side, side)
        targets.append(
            Target(
                boxes=boxes,
                labels=torch.randint(0, num_classes, (count,), generator=generator),
                masks=masks.to(torch.uint8),
                iscrowd=torch.zeros(count, dtype=torch.bool),
                image_id=image_id,
            )
        )
    return targets


def make_images(count: int, side: int, seed: int = 0) -> Tensor:
    """Return smooth random images, float32 [count, 3, side, side], RGB in [0, 1]."""
    coarse = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


@torch.no_grad()
def settle(model: Yolact, num_candidates: int = 1000, score: float = 0.05) -> None:
    """Make a network of random weights find a usual number of objects, in place.

    Its batch norms and the outputs of its head take the spread that they have in trained networks, and on the first of
    `make_images` exactly `num_candidates` anchors exceed `score`. On other pictures the number differs.
    """
    images = make_images(2, model.image_size)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the statistics become those of this batch
    model.train()(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    predictions = model.eval()(images[:1])
    for layer, values in (
        (model.head.class_logits, predictions.class_logits),
        (model.head.box_deltas, predictions.box_deltas),
        (model.head.mask_coefficients, predictions.mask_coefficients.clamp(-0.999, 0.999).atanh()),
    ):
        layer.weight /= values.std()
    logits = model(images[:1]).class_logits[0].double()
    best, others = logits[:, 1:].amax(1), logits[:, 1:].exp().sum(1)
    # What must be added to an anchor's background logit for its best class to have just this score.
    limit = (best.exp() / score - others).clamp(min=1e-9).log() - logits[:, 0]
    ordered = limit.sort(descending=True).values
    last = min(num_candidates, len(ordered) - 1)
    bias = model.head.class_logits.get_parameter("bias").view(-1, 1 + model.num_classes)
    bias[:, 0] += ordered[last - 1 : last + 1].mean()
