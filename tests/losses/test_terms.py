import math

import pytest
import torch
import torch.nn.functional as F

from yolact.losses import terms
from yolact.models.mask_iou import MaskIoUNet
from yolact.ops import masks as mask_ops

ONE = torch.tensor([1.0])


def test_box_loss_is_quadratic_below_one_and_linear_above():
    deltas = torch.tensor([[0.5, 0, 0, 0], [0, 3.0, 0, 0]])
    loss = terms.box_loss(deltas, torch.zeros(2, 4), torch.tensor([1.0, 1.0]))
    assert loss.item() == pytest.approx(0.5 * 0.25 + 2.5)
    assert terms.box_loss(deltas, torch.zeros(2, 4), torch.tensor([3.0, 0.0])).item() == pytest.approx(1.5 * 0.25)


def test_hard_negatives_are_the_least_background_like():
    background = torch.tensor([[5.0, -1, 0, 3, -5, -6]])
    logits = torch.stack([background, torch.zeros(1, 6)], -1)
    positive = torch.tensor([[False, False, False, False, True, False]])
    neutral = torch.tensor([[False, False, False, False, False, True]])
    chosen = terms.hard_negatives(logits, positive, neutral, torch.tensor([2]))
    assert chosen[0].nonzero()[:, 0].tolist() == [1, 2]


def test_positives_and_neutrals_are_never_negatives_however_many_are_wanted():
    positive = torch.tensor([[True, False, False]])
    neutral = torch.tensor([[False, True, False]])
    chosen = terms.hard_negatives(torch.rand(1, 3, 2), positive, neutral, torch.tensor([3]))
    assert chosen.tolist() == [[False, False, True]]


def test_hard_negatives_are_counted_for_each_picture():
    chosen = terms.hard_negatives(
        torch.rand(3, 10, 4), *torch.zeros(2, 3, 10, dtype=torch.bool), torch.tensor([0, 1, 4])
    )
    assert chosen.sum(1).tolist() == [0, 1, 4]


def test_class_loss_sums_cross_entropy_by_weight():
    logits = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    loss = terms.class_loss(logits, torch.tensor([1, 1]), torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(math.log(2))


def test_mask_loss_is_the_mean_over_the_box_when_all_pixels_are_equal():
    logits = torch.zeros(1, 8, 8)
    loss = terms.mask_loss(logits, torch.ones(1, 8, 8, dtype=torch.bool), torch.tensor([[2.0, 2, 6, 6]]), ONE)
    padded = 6 * 6  # the crop is one pixel wider than the box on each side
    assert loss.item() == pytest.approx(math.log(2) * padded / 16)


def test_mask_loss_ignores_the_outside_of_the_box():
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    box = torch.tensor([[3.0, 3, 5, 5]])
    logits = torch.zeros(1, 8, 8)
    changed = logits.clone()
    changed[0, 0, 0] = 50
    assert torch.equal(terms.mask_loss(logits, masks, box, ONE), terms.mask_loss(changed, masks, box, ONE))


def test_mask_loss_stays_finite_for_certain_and_wrong_logits():
    logits = torch.full((1, 4, 4), 1e4, requires_grad=True)
    loss = terms.mask_loss(logits, torch.zeros(1, 4, 4, dtype=torch.bool), torch.tensor([[0.0, 0, 4, 4]]), ONE)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("static", [False, True])
def test_mask_loss_has_the_gradient_of_the_plain_form(static):
    logits = torch.randn(4, 9, 12, requires_grad=True)
    masks, weights = torch.rand(4, 9, 12) > 0.5, torch.tensor([1.0, 0.0, 2.5, 1.0])
    boxes = torch.tensor([[2.0, 3, 9, 8], [0, 0, 3, 3], [4.5, 1.2, 11.9, 8.1], [0, 0, 12, 9]])
    plain = F.binary_cross_entropy_with_logits(logits, masks.float(), reduction="none")
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    plain = (mask_ops.crop(plain, boxes).sum((1, 2)) / area * weights).sum()
    loss = terms.mask_loss(logits, masks, boxes, weights, static)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(*(torch.autograd.grad(3 * x, logits)[0] for x in (loss, plain)))


def test_semantic_loss_takes_the_union_of_a_class():
    masks = torch.zeros(3, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = masks[1, 0, 0] = masks[1, 0, 1] = masks[2, 1, 1] = True
    logits = torch.full((1, 2, 2, 2), -30.0)
    logits[0, 0, 0] = 30  # class 0: objects 0 and 1 fill the first row
    logits[0, 1, 1, 1] = 30
    assert terms.semantic_loss(logits, masks, torch.tensor([0, 0, 1])).item() == pytest.approx(0, abs=1e-6)


def test_semantic_loss_keeps_pictures_apart():
    masks = torch.ones(1, 2, 2, dtype=torch.bool)
    logits = torch.full((2, 3, 2, 2), -30.0)
    logits[1, 2] = 30
    assert terms.semantic_loss(logits, masks, torch.tensor([5])).item() == pytest.approx(0, abs=1e-6)
    assert terms.semantic_loss(logits, masks, torch.tensor([2])).item() == pytest.approx(60)


def test_semantic_loss_of_an_empty_picture_teaches_background():
    loss = terms.semantic_loss(
        torch.zeros(1, 3, 4, 4), torch.zeros(0, 4, 4, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
    )
    assert loss.item() == pytest.approx(3 * math.log(2))


def test_mask_iou_loss_compares_with_the_true_iou():
    class HalfEverywhere(torch.nn.Module):
        def forward(self, masks):
            return torch.full((len(masks), 2), 0.5)

    logits = torch.full((1, 16, 16), -20.0)
    logits[0, 4:8, 4:12] = 20  # predicted 4 x 8
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[0, 4:12, 4:12] = True  # true 8 x 8: IoU one half
    box, label = torch.tensor([[4.0, 4, 12, 12]]), torch.tensor([1])
    assert terms.mask_iou_loss(HalfEverywhere(), logits, masks, box, label, ONE).item() == pytest.approx(0)
    assert terms.mask_iou_loss(HalfEverywhere(), logits, ~masks, box, label, ONE).item() > 0


def test_mask_iou_loss_of_weight_zero_keeps_the_graph():
    logits = torch.zeros(1, 64, 64, requires_grad=True)
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)  # no union either
    box, label = torch.tensor([[0.0, 0, 0, 0]]), torch.tensor([0])
    loss = terms.mask_iou_loss(MaskIoUNet(1), logits, masks, box, label, torch.tensor([0.0]))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0
