import pytest
import torch
from torchvision.ops import batched_nms
from torchvision.ops import nms as torchvision_nms

from yolact.ops import nms
from yolact.ops.boxes import box_iou

# Three boxes in a row: the second overlaps both neighbours by more than one half, which do not overlap each other so.
ROW = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])


FAR_APART = torch.arange(6.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])


def of_one_image(suppress, boxes, scores, *limits):
    """Return candidates, labels and scores of what is found in one image, as lists."""
    index, labels, kept = (field[0] for field in suppress(boxes[None], scores[None], *limits))
    found = kept >= 0
    return index[found].tolist(), labels[found].tolist(), pytest.approx(kept[found].tolist())


def test_fast_nms_lets_a_removed_box_remove_others_and_exact_nms_does_not():
    scores = torch.tensor([[0.9], [0.8], [0.7]])
    assert of_one_image(nms.fast_nms, ROW, scores, 0.5, 200, 100) == ([0], [0], [0.9])
    assert of_one_image(nms.exact_nms, ROW, scores, 0.5, 100, 0.05) == ([0, 2], [0, 0], [0.9, 0.7])


def test_fast_nms_keeps_a_box_under_two_classes_and_cross_class_nms_under_the_best_only():
    scores = torch.tensor([[0.6, 0.3], [0.1, 0.7]])
    assert of_one_image(nms.fast_nms, ROW[:1], scores[:1], 0.5, 200, 100) == ([0, 0], [0, 1], [0.6, 0.3])
    assert of_one_image(nms.cross_class_nms, ROW[:2], scores, 0.5, 200, 100) == ([1], [1], [0.7])


def test_limits_cut_the_lowest_scores():
    scores = torch.tensor([[0.1], [0.6], [0.3], [0.5], [0.2], [0.4]])
    assert of_one_image(nms.fast_nms, FAR_APART, scores, 0.5, 4, 100)[0] == [1, 3, 5, 2]
    assert of_one_image(nms.fast_nms, FAR_APART, scores, 0.5, 200, 2)[0] == [1, 3]
    assert of_one_image(nms.exact_nms, FAR_APART, scores, 0.5, 2, 0.05)[0] == [1, 3]


def test_what_is_no_candidate_is_never_kept():
    scores = torch.tensor([[[0.9, 0.2], [0.8, -1], [0.7, 0.3]], [[-1.0, -1], [-1, -1], [-1, 0.4]]])
    index, labels, kept = nms.fast_nms(ROW.expand(2, 3, 4), scores, 0.5, top_k=200, max_detections=4)
    torch.testing.assert_close(kept, torch.tensor([[0.9, 0.3, 0.2, -1], [0.4, -1, -1, -1]]))
    assert (index[0, :3].tolist(), labels[0, :3].tolist()) == ([0, 2, 0], [0, 1, 1])
    assert (index[1, 0], labels[1, 0]) == (2, 1)
    nothing = torch.full((1, 6, 2), -1.0)
    for suppress, limits in ((nms.fast_nms, (200, 9)), (nms.cross_class_nms, (200, 9)), (nms.exact_nms, (9, 0.05))):
        assert of_one_image(suppress, FAR_APART, nothing[0], 0.5, *limits) == ([], [], [])
        assert [tuple(field.shape) for field in suppress(FAR_APART[None], nothing, 0.5, *limits)] == [(1, 9)] * 3


def reference_fast_nms(boxes, scores, threshold, top_k, max_detections):
    """YOLACT section 3.4 as it is written, class by class."""
    found = []
    for label, column in enumerate(scores.T):
        order = column.argsort(descending=True, stable=True)[:top_k]
        keep = box_iou(boxes[order], boxes[order]).triu(1).amax(0) <= threshold
        found += [(index, label, float(column[index])) for index in order[keep].tolist()]
    return [list(field) for field in zip(*sorted(found, key=lambda pair: -pair[2])[:max_detections], strict=True)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("clusters", [1, 5, 100])
def test_fast_nms_is_that_of_the_paper(seed, clusters):
    torch.manual_seed(seed)
    count, classes = 30 * (1 + seed), 1 + seed % 7
    centre = 300 * torch.rand(clusters, 2)[torch.randint(clusters, (count,))] + 4 * torch.randn(count, 2)
    half = 10 + 20 * torch.rand(count, 2)
    boxes, scores = torch.cat([centre - half, centre + half], 1), torch.rand(count, classes)
    top_k = 40
    if seed % 2:  # many equal scores, of which none may be cut off by `top_k`
        scores, top_k = (scores * 20).round() / 20, 1000
    found, expected = (
        of_one_image(nms.fast_nms, boxes, scores, 0.5, top_k, 10),
        reference_fast_nms(boxes, scores, 0.5, top_k, 10),
    )
    assert list(found) == expected


def test_exact_nms_lets_no_class_remove_another():
    """Neither where boxes lie beyond the edge, nor where the classes are many and the boxes small."""
    boxes = torch.tensor([[[90.0, 90, 100, 100], [-11, -11, -1, -1]]])
    assert nms.exact_nms(boxes, torch.eye(2)[None], 0.5, 10, 0.5)[2].tolist() == [[1, 1, *[-1] * 8]]
    corners = torch.rand(400, 2) * 500
    boxes, scores = torch.cat([corners, corners + 2 + torch.rand(400, 2)], 1), torch.rand(400)
    boxes[200:] = boxes[:200] + torch.rand(200, 1)  # IoUs about the threshold
    expected = torchvision_nms(boxes, scores, 0.5)
    of_class = torch.zeros(400, 1000).index_copy_(1, torch.tensor([999]), scores[:, None])
    assert nms.exact_nms(boxes[None], of_class[None], 0.5, len(expected), 0.0)[0][0].tolist() == expected.tolist()


def test_exact_nms_agrees_with_torchvision_on_each_class():
    corners = torch.rand(60, 2) * 50
    boxes, scores = torch.cat([corners, corners + 5 + torch.rand(60, 2) * 30], 1), torch.rand(60, 3)
    index, labels, kept = (field[0] for field in nms.exact_nms(boxes[None], scores[None], 0.5, 1000, 0.5))
    index, labels, kept = (field[kept > 0] for field in (index, labels, kept))
    for label in range(3):
        own = (scores[:, label] > 0.5).nonzero()[:, 0]
        expected = own[batched_nms(boxes[own], scores[own, label], torch.zeros_like(own), 0.5)]
        assert index[labels == label].tolist() == expected.tolist()
    assert kept.tolist() == sorted(kept.tolist(), reverse=True)
