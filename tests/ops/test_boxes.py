import torch
from hypothesis import given
from hypothesis import strategies as st

from yolact.ops import boxes as box_ops

UNIT = st.floats(0, 1, width=32)


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


def test_encode_by_hand():
    anchor = torch.tensor([[0.0, 0, 10, 20]])
    box = torch.tensor([[1.0, 0, 11, 20 * torch.e]])
    got = box_ops.encode(box, anchor)[0]
    expected = torch.tensor([1 / (0.1 * 10), (10 * torch.e - 10) / (0.1 * 20), 0, 1 / 0.2])
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@given(st.tuples(UNIT, UNIT, UNIT, UNIT), st.tuples(UNIT, UNIT, UNIT, UNIT))
def test_decode_inverts_encode(first, second):
    def box(values):
        x, y, w, h = values
        return torch.tensor([[100 * x, 100 * y, 100 * x + 5 + 50 * w, 100 * y + 5 + 50 * h]])

    decoded = box_ops.decode(box_ops.encode(box(first), box(second)), box(second))
    torch.testing.assert_close(decoded, box(first), atol=1e-3, rtol=1e-4)
