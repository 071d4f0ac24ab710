import pytest
import torch
from torchvision.ops import batched_nms

from yolact.ops import nms
from yolact.ops.boxes import box_iou

# Three boxes in a row: the second overlaps both neighbours by more than one half, which do not overlap each other so.
ROW = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])


def test_fast_nms_lets_a_removed_box_remove_others_and_exact_nms_does_not():
    scores = torch.tensor([[0.9], [0.8], [0.7]])
    index, labels, kept = nms.fast_nms(ROW, scores, 0.5, top_k=200, max_detections=100)
    assert (index.tolist(), labels.tolist()) == ([0], [0])
    torch.testing.assert_close(kept, torch.tensor([0.9]))
    assert nms.exact_nms(ROW, scores, 0.5, 100, score_threshold=0.05)[0].tolist() == [0, 2]


def test_fast_nms_keeps_a_box_under_two_classes():
    scores = torch.tensor([[0.6, 0.3]])
    index, labels, kept = nms.fast_nms(ROW[:1], scores, 0.5, top_k=200, max_detections=100)
    assert (index.tolist(), labels.tolist(), kept.tolist()) == ([0, 0], [0, 1], scores[0].tolist())


def test_cross_class_nms_keeps_the_best_class_only():
    scores = torch.tensor([[0.6, 0.3], [0.1, 0.7]])
    index, labels, _ = nms.cross_class_nms(ROW[:2], scores, 0.5, top_k=200, max_detections=100)
    assert (index.tolist(), labels.tolist()) == ([1], [1])


def test_limits_cut_the_lowest_scores():
    boxes = torch.arange(6.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    scores = torch.tensor([[0.1], [0.6], [0.3], [0.5], [0.2], [0.4]])
    assert nms.fast_nms(boxes, scores, 0.5, top_k=4, max_detections=100)[0].tolist() == [1, 3, 5, 2]
    assert nms.fast_nms(boxes, scores, 0.5, top_k=200, max_detections=2)[0].tolist() == [1, 3]


def test_no_candidates_give_no_detections():
    nothing = torch.zeros(0, 4), torch.zeros(0, 3)
    for found in (
        nms.fast_nms(*nothing, 0.5, 200, 100),
        nms.cross_class_nms(*nothing, 0.5, 200, 100),
        nms.exact_nms(*nothing, 0.5, 100, 0.05),
    ):
        assert [len(x) for x in found] == [0, 0, 0]


def reference_fast_nms(boxes, scores, threshold, top_k, max_detections):
    """YOLACT section 3.4 as it is written: all classes, full matrices."""
    top, index = scores.T.sort(dim=1, descending=True, stable=True)
    top, index = top[:, :top_k], index[:, :top_k]
    keep = box_iou(boxes[index], boxes[index]).triu(1).amax(-2) <= threshold
    labels = torch.arange(len(top))[:, None].expand_as(index)
    order = top[keep].argsort(descending=True, stable=True)[:max_detections]
    return index[keep][order], labels[keep][order], top[keep][order]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("clusters", [1, 5, 100])
def test_looking_at_the_best_pairs_first_changes_nothing(seed, clusters):
    torch.manual_seed(seed)
    count, classes = 30 * (1 + seed), 1 + seed % 7
    centre = 300 * torch.rand(clusters, 2)[torch.randint(clusters, (count,))] + 4 * torch.randn(count, 2)
    half = 10 + 20 * torch.rand(count, 2)
    boxes, scores = torch.cat([centre - half, centre + half], 1), torch.rand(count, classes)
    if seed % 2 and classes > 1:
        scores = (scores * 20).round() / 20  # many equal scores
    limits = {"threshold": 0.5, "top_k": 1000 if classes == 1 else 40, "max_detections": 10}
    found, expected = nms.fast_nms(boxes, scores, **limits), reference_fast_nms(boxes, scores, **limits)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_exact_nms_agrees_with_torchvision_on_each_class():
    corners = torch.rand(60, 2) * 50
    boxes, scores = torch.cat([corners, corners + 5 + torch.rand(60, 2) * 30], 1), torch.rand(60, 3)
    index, labels, kept = nms.exact_nms(boxes, scores, 0.5, 1000, score_threshold=0.5)
    for label in range(3):
        own = (scores[:, label] > 0.5).nonzero()[:, 0]
        expected = own[batched_nms(boxes[own], scores[own, label], torch.zeros_like(own), 0.5)]
        assert index[labels == label].tolist() == expected.tolist()
    assert kept.tolist() == sorted(kept.tolist(), reverse=True)


def test_static_fast_nms_by_hand():
    scores = torch.tensor([[[0.9, 0.2], [0.8, -1], [0.7, 0.3]], [[-1.0, -1], [-1, -1], [-1, 0.4]]])
    index, labels, kept = nms.fast_nms_static(ROW.expand(2, 3, 4), scores, 0.5, top_k=200, max_detections=4)
    torch.testing.assert_close(kept, torch.tensor([[0.9, 0.3, 0.2, -1], [0.4, -1, -1, -1]]))
    assert (index[0, :3].tolist(), labels[0, :3].tolist()) == ([0, 2, 0], [0, 1, 1])
    assert (index[1, 0], labels[1, 0]) == (2, 1)


def test_static_fast_nms_breaks_ties_as_the_other_one():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10], [51, 0, 61, 10]])
    expected = nms.fast_nms(boxes, torch.ones(4, 2), 0.5, 4, 4)
    found = nms.fast_nms_static(boxes[None], torch.ones(1, 4, 2), 0.5, 4, 4)
    assert [x[0].tolist() for x in found] == [x.tolist() for x in expected] == [[0, 2, 0, 2], [0, 0, 1, 1], [1.0] * 4]
