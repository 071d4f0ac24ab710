import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou_loss

from yolact.ops import boxes as box_ops


def test_formats_by_hand():
    assert box_ops.cxcywh_to_xyxy(torch.tensor([5.0, 4.0, 2.0, 6.0])).tolist() == [4, 1, 6, 7]
    assert box_ops.xyxy_to_cxcywh(torch.tensor([4.0, 1.0, 6.0, 7.0])).tolist() == [5, 4, 2, 6]


def test_iou_by_hand():
    a = torch.tensor([[0.0, 0, 2, 2]])
    b = torch.tensor([[1.0, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2]])
    torch.testing.assert_close(box_ops.box_iou(a, b), torch.tensor([[1 / 7, 1.0, 0.0]]))


def test_covered_share_is_of_the_first_box():
    anchor, crowd = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 0, 100, 100]])
    assert box_ops.covered_share(anchor, crowd).tolist() == [[0.5]]


@given(st.integers(0, 10**6))
def test_generalised_iou_is_torchvisions(seed):
    """Whose function waits for an accelerator."""
    corners = torch.rand(2, 9, 2, 2, generator=torch.Generator().manual_seed(seed)) * 50
    a, b = (torch.cat([part[:, 0], part[:, 0] + part[:, 1] + 0.01], -1).requires_grad_() for part in corners)
    losses = 1 - box_ops.giou(a, b), generalized_box_iou_loss(a, b)
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)
    gradients = [torch.autograd.grad(loss.sum(), a)[0] for loss in losses]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
