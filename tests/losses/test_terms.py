import math

import pytest
import torch
import torch.nn.functional as F

from tests.losses.conftest import make_inputs
from tests.made import make_target
from yolact.config import LossConfig
from yolact.data.rendering import MaskCrops
from yolact.losses import terms
from yolact.models.yolact import MaskIoUNet
from yolact.ops import masks as mask_ops

NEGATIVE = -1
SQUARE = [4.0, 4, 12, 12]  # the one anchor of `make_inputs`; 2..6 in pixels of the prototypes


def test_box_loss_is_quadratic_below_one_and_linear_above():
    """The object is the anchor, whose deltas are zero; a positive counts by its weight, also in the divisor."""
    deltas = torch.tensor([[[0.5, 0, 0, 0], [0, 3.0, 0, 0], [9, 9, 9, 9]]])
    target = make_target([SQUARE], [0], side=16)
    quadratic, linear = 0.5 * 0.25, 2.5
    for weight, expected in (([[1.0, 1, 1]], quadratic + linear), ([[1.5, 0.5, 1]], 1.5 * quadratic + 0.5 * linear)):
        inputs = make_inputs([target], [[0, 0, NEGATIVE]], weight, box_deltas=deltas)
        assert terms.box_loss(inputs).item() == pytest.approx(expected / 2)  # over two positives


def test_hard_negatives_are_the_least_background_like_of_each_image():
    hardness = torch.tensor([[0.1, 5, 3, 0.5, 9, 8], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    positive, ignored = torch.zeros(2, 2, 6, dtype=torch.bool)
    positive[0, 4] = ignored[0, 5] = True
    chosen = terms.hard_negatives(hardness, positive | ignored, torch.tensor([2, 1]))
    assert [row.nonzero()[:, 0].tolist() for row in chosen] == [[1, 2], [5]]
    everything = terms.hard_negatives(hardness, positive | ignored, torch.tensor([6, 0]))
    assert [row.nonzero()[:, 0].tolist() for row in everything] == [[0, 1, 2, 3], []]


def test_class_loss_is_cross_entropy_of_positives_and_their_hardest_negatives():
    """One positive of label 1, and of six others the three that are least sure of background."""
    background = torch.tensor([0.0, 9, 9, 9, 0, 0, 0])
    logits = torch.stack([background, torch.full((7,), -99.0), torch.zeros(7)], -1)[None]
    inputs = make_inputs([make_target([SQUARE], [1], side=16)], [[0] + [NEGATIVE] * 6], class_logits=logits)
    assert terms.class_loss(inputs).item() == pytest.approx((1 + 3) * math.log(2))


def test_an_image_without_objects_teaches_background():
    inputs = make_inputs([make_target([], [], side=16)], [[NEGATIVE] * 100])
    assert terms.class_loss(inputs).item() == pytest.approx(30 * math.log(3) / 10)  # three negatives stand for one
    assert terms.box_loss(inputs) == terms.mask_loss(inputs) == 0
    assert terms.semantic_loss(inputs).item() == pytest.approx(2 * math.log(2))


def mask_inputs(logits, **options):
    return make_inputs([make_target([SQUARE], [0], side=16)], [[0]], prototypes=logits[None, None], **options)


def test_mask_loss_is_the_mean_over_the_box_when_all_pixels_are_equal():
    loss = terms.mask_loss(mask_inputs(torch.zeros(8, 8)))
    padded = 6 * 6  # the crop is one pixel wider than the box on each side
    assert loss.item() == pytest.approx(math.log(2) * padded / 16)


def test_mask_loss_stays_finite_for_certain_and_wrong_logits():
    logits = torch.full((8, 8), -1e4, requires_grad=True)
    loss = terms.mask_loss(mask_inputs(logits))
    loss.backward()
    assert torch.isfinite(loss)
    assert loss > 0
    assert torch.isfinite(logits.grad).all()


def test_mask_loss_has_the_value_and_gradient_of_the_plain_form():
    prototypes, coefficients = torch.randn(1, 3, 8, 8, requires_grad=True), torch.randn(1, 4, 3)
    objects = [[2.0, 3, 9, 8], [0, 0, 3, 3], [5, 2, 15, 13]]
    index, weight = [[0, 1, NEGATIVE, 2]], [[1.0, 0, 1, 2.5]]
    inputs = make_inputs(
        [make_target(objects, [0, 1, 0], side=16)], index, weight, prototypes=prototypes, mask_coefficients=coefficients
    )
    kept = [0, 1, 3]
    logits, boxes = mask_ops.assemble(prototypes[0], coefficients[0, kept]), torch.tensor(objects) / 2
    plain = F.binary_cross_entropy_with_logits(logits, inputs.prototype_masks.float(), reduction="none")
    plain = mask_ops.crop(plain, boxes).sum((1, 2)) / (boxes[:, 2:] - boxes[:, :2]).prod(1)
    plain = (plain * torch.tensor(weight)[0, kept]).sum() / 3.5
    loss = terms.mask_loss(inputs)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(*(torch.autograd.grad(3 * x, prototypes)[0] for x in (loss, plain)))


def test_semantic_loss_takes_the_union_of_each_class_of_each_image():
    """Maps of 2 x 2; two objects of class 0 fill the first row, one of class 1 the last cell; the next image, none."""
    target = make_target([[0, 0, 8, 8], [0, 0, 16, 8], [8, 8, 16, 16]], [0, 0, 1], side=16)
    logits = torch.full((2, 2, 2, 2), -30.0)
    logits[0, 0, 0] = logits[0, 1, 1, 1] = 30
    targets, index = [target, make_target([], [], side=16)], [[NEGATIVE], [NEGATIVE]]
    right, swapped = (
        terms.semantic_loss(make_inputs(targets, index, semantic_logits=maps)) for maps in (logits, logits.flip(0))
    )
    assert right.item() == pytest.approx(0, abs=1e-6)
    assert swapped.item() == pytest.approx(2 * 3 * 30 / (4 * 2))


class HalfEverywhere(torch.nn.Module):
    def forward(self, masks):
        return torch.full((len(masks), 2), 0.5)


def test_mask_iou_loss_compares_with_the_true_iou():
    logits = torch.full((8, 8), -20.0)
    logits[2:4, 2:6] = 20  # half of the object's 4 x 4
    for maps, least, expected in ((logits, 15, 0), (-20 * torch.ones(8, 8), 15, 0.5 * 0.5**2), (logits - 40, 16, 0)):
        inputs = mask_inputs(maps, config=LossConfig(mask_iou_min_area=least))
        assert terms.mask_iou_loss(inputs, HalfEverywhere()).item() == pytest.approx(expected)


def test_mask_iou_loss_without_objects_keeps_the_graph():
    prototypes = torch.zeros(1, 1, 64, 64, requires_grad=True)
    inputs = make_inputs([make_target([], [], side=16)], [[NEGATIVE]], prototypes=prototypes)
    network = MaskIoUNet(2)
    loss = terms.mask_iou_loss(inputs, network)
    loss.backward()
    assert loss == 0
    assert prototypes.grad is not None
    assert all(p.grad is not None for p in network.parameters())


def test_giou_loss_by_hand():
    """Zero deltas are the anchor, 4..12; the object 8..16 shares 16 of 112, and a square of 144 holds both."""
    inputs = make_inputs([make_target([[8.0, 8, 16, 16]], [0], side=16)], [[0, NEGATIVE]])
    iou = 16 / 112
    assert terms.giou_loss(inputs).item() == pytest.approx(1 - iou + 32 / 144, rel=1e-5)


def test_quality_loss_is_cross_entropy_to_the_weight():
    """A positive of weight 0.8 and label 1, a negative, an ignored one; logits are zero, and two are two classes."""
    inputs = make_inputs(
        [make_target([SQUARE], [1], side=16)], [[0, NEGATIVE, -2]], [[0.8, 1, 1]], class_logits=torch.zeros(1, 3, 2)
    )
    assert terms.quality_loss(inputs).item() == pytest.approx(4 * math.log(2))  # half a chance is as far from all


def test_quality_loss_is_smallest_at_the_quality():
    logits = torch.full((1, 1, 2), math.log(0.8 / 0.2), requires_grad=True)
    inputs = make_inputs([make_target([SQUARE], [0], side=16)], [[0]], [[0.8]], class_logits=logits)
    (gradient,) = torch.autograd.grad(terms.quality_loss(inputs), logits)
    assert gradient[0, 0, 0].item() == pytest.approx(0, abs=1e-6)
    assert gradient[0, 0, 1].item() == pytest.approx(0.8)


@pytest.mark.parametrize("loss", ["class_loss", "quality_loss"])
def test_objects_count_by_the_weight_of_their_class(loss):
    """Two objects, of label 0 and 1; a candidate each, whose loss is all there is."""
    target = make_target([SQUARE, SQUARE], [0, 1], side=16)
    columns = 3 if loss == "class_loss" else 2
    losses = []
    for weights in ("none", (1.0, 1.0), (3.0, 1.0)):
        config = LossConfig(class_weights=weights, negatives_per_positive=0)
        inputs = make_inputs([target], [[0, 1]], config=config, class_logits=torch.zeros(1, 2, columns))
        losses.append(getattr(terms, loss)(inputs).item())
    assert losses[0] == losses[1]
    assert losses[2] == pytest.approx(2 * losses[0])


def roi_inputs(logits, boxes=(SQUARE,), index=((0,),), **options):
    config = LossConfig(roi_size=6)
    target = make_target([*boxes], [0] * len(boxes), side=16)
    return make_inputs([target], [*map(list, index)], config=config, prototypes=logits[None, None], **options)


def test_roi_mask_loss_by_hand():
    """Logits of zero: binary cross-entropy log 2; of 36 points, 25 lie on the object, which has 5 of 6 in each side."""
    inputs = roi_inputs(torch.zeros(8, 8))
    masks = inputs.roi_masks
    assert masks.sum().item() == pytest.approx(25, abs=0.5)
    shared, both = 0.5 * masks.sum(), 36 * 0.25 + masks.square().sum()
    expected = math.log(2) + 1 - (2 * shared + 1) / (both + 1)
    assert terms.roi_mask_loss(inputs).item() == pytest.approx(expected.item(), rel=1e-5)


def test_roi_mask_loss_counts_objects_alike_and_positives_by_weight():
    """One object with a perfect and a useless candidate, one with a useless one alone, one with none."""
    boxes = [SQUARE, [0.0, 0, 8, 8], [8.0, 8, 16, 16]]
    options = {"boxes": boxes, "weight": [[0.75, 0.25, 0.5]], "index": [(0, 0, 1)]}
    coefficients = torch.tensor([[[0.0], [1], [1]]])
    inputs = roi_inputs(torch.randn(8, 8), mask_coefficients=coefficients, **options)
    alone = []
    for number in range(3):
        weight = [[float(number == other) for other in range(3)]]
        alone.append(
            terms.roi_mask_loss(
                roi_inputs(
                    inputs.predictions.prototypes[0, 0], mask_coefficients=coefficients,
                    **{**options, "weight": weight},
                )
            )
        )  # fmt: skip
    torch.testing.assert_close(terms.roi_mask_loss(inputs), (0.75 * alone[0] + 0.25 * alone[1] + alone[2]) / 2)


def test_crops_of_the_loader_give_the_loss_of_whole_masks():
    boxes = [SQUARE, [1.0, 2, 7, 9]]
    whole = roi_inputs(torch.randn(8, 8), boxes=boxes, index=[(0, 1, 1)])
    cut = roi_inputs(whole.predictions.prototypes[0, 0], boxes=boxes, index=[(0, 1, 1)])
    cut.targets = [MaskCrops(6, {(16, 16): (2, 2)}).of(cut.targets[0])]
    assert "masks" not in cut.targets[0]
    for term in (terms.roi_mask_loss, terms.semantic_loss):
        assert torch.equal(term(cut), term(whole))
