import torch
from torchvision.ops import batched_nms

from yolact.ops import nms

# Three boxes in a row: the second overlaps both neighbours by more than one half, which do not overlap each other so.
ROW = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])


def test_fast_nms_lets_a_removed_box_remove_others():
    scores = torch.tensor([[0.9], [0.8], [0.7]])
    index, labels, kept = nms.fast_nms(ROW, scores, 0.5, top_k=200, max_detections=100)
    assert index.tolist() == [0]
    assert labels.tolist() == [0]
    torch.testing.assert_close(kept, torch.tensor([0.9]))


def test_exact_nms_does_not():
    scores = torch.tensor([[0.9], [0.8], [0.7]])
    index, _, _ = nms.exact_nms(ROW, scores, 0.5, 200, 100, score_threshold=0.05)
    assert index.tolist() == [0, 2]


def test_fast_nms_keeps_a_box_under_two_classes():
    scores = torch.tensor([[0.6, 0.3]])
    index, labels, kept = nms.fast_nms(ROW[:1], scores, 0.5, top_k=200, max_detections=100)
    assert index.tolist() == [0, 0]
    assert labels.tolist() == [0, 1]
    assert kept.tolist() == scores[0].tolist()


def test_cross_class_nms_keeps_the_best_class_only():
    scores = torch.tensor([[0.6, 0.3], [0.1, 0.7]])
    index, labels, _ = nms.cross_class_nms(ROW[:2], scores, 0.5, top_k=200, max_detections=100)
    assert index.tolist() == [1]
    assert labels.tolist() == [1]


def test_limits_cut_the_lowest_scores():
    boxes = torch.arange(6.0)[:, None] * 20 + torch.tensor([0.0, 0, 10, 10])
    scores = torch.tensor([[0.1], [0.6], [0.3], [0.5], [0.2], [0.4]])
    assert nms.fast_nms(boxes, scores, 0.5, top_k=4, max_detections=100)[0].tolist() == [1, 3, 5, 2]
    assert nms.fast_nms(boxes, scores, 0.5, top_k=200, max_detections=2)[0].tolist() == [1, 3]


def test_no_candidates_give_no_detections():
    for found in (
        nms.fast_nms(torch.zeros(0, 4), torch.zeros(0, 3), 0.5, 200, 100),
        nms.cross_class_nms(torch.zeros(0, 4), torch.zeros(0, 3), 0.5, 200, 100),
        nms.exact_nms(torch.zeros(0, 4), torch.zeros(0, 3), 0.5, 200, 100, 0.05),
    ):
        assert [len(x) for x in found] == [0, 0, 0]


def test_exact_nms_agrees_with_torchvision_on_each_class():
    boxes = torch.rand(60, 2) * 50
    boxes = torch.cat([boxes, boxes + 5 + torch.rand(60, 2) * 30], 1)
    scores = torch.rand(60, 3)
    index, labels, kept = nms.exact_nms(boxes, scores, 0.5, 200, 1000, score_threshold=0.5)
    for label in range(3):
        own = (scores[:, label] > 0.5).nonzero()[:, 0]
        expected = own[batched_nms(boxes[own], scores[own, label], torch.zeros_like(own), 0.5)]
        assert index[labels == label].tolist() == expected.tolist()
    assert kept.tolist() == sorted(kept.tolist(), reverse=True)
