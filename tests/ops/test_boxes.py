import torch

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
