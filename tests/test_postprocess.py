from dataclasses import replace

import pytest
import torch

from yolact.config import EvalConfig
from yolact.models.heads import AnchorCoder, make_anchors
from yolact.postprocess import Detector
from yolact.structures import Predictions, Resize

CODER = AnchorCoder(64 * torch.tensor([[0.0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.5, 0.5, 1]]), (64, 64))
SQUARE = Resize((64, 64))
NAMES = {"class_names": ["a", "b"], "category_ids": [7, 3]}


def predictions(probabilities, boxes=CODER.anchors):
    """Predictions of one image whose softmax and decoding give these class probabilities [A, 1+C] and boxes."""
    return Predictions(
        class_logits=torch.tensor([probabilities]).log(),
        box_deltas=CODER.encode(boxes)[None],
        mask_coefficients=torch.ones(1, 3, 1),
        prototypes=torch.ones(1, 1, 16, 16),
        semantic_logits=torch.zeros(1, 2, 8, 8),
    )


TWO_OBJECTS = predictions([[0.1, 0.8, 0.1], [0.3, 0.1, 0.6], [0.98, 0.01, 0.01]])


def instances_of(source, size, mask_iou=None, min_score=0.0, **settings):
    detector = Detector(CODER, SQUARE, EvalConfig(nms="cross_class", **settings), mask_iou)
    return detector.instances(detector.detect(source), 0, size, **NAMES, min_score=min_score)


def test_detections_by_hand():
    found = Detector(CODER, SQUARE, EvalConfig()).detect(TWO_OBJECTS)
    assert int(found.counts[0]) == 4  # both candidates under both classes: Fast NMS works class by class
    assert found.scores[0, :2].tolist() == pytest.approx([0.8, 0.6])
    assert found.labels[0, :2].tolist() == [0, 1]
    torch.testing.assert_close(found.boxes[0, :2], CODER.anchors[:2])
    assert found.boxes.shape == (1, 100, 4)
    assert not any(field[0, 4:].any() for field in found[:4])


@pytest.mark.parametrize(
    ("settings", "scores"),
    [
        ({"score_threshold": 0.7}, [0.8, 0.1]),  # the second anchor is no candidate
        ({"nms": "cross_class"}, [0.8, 0.6]),
        ({"nms": "exact", "score_threshold": 0.5}, [0.8, 0.6]),
        ({"nms": "exact", "nms_top_k": 1, "max_detections": 3}, [0.8, 0.6, 0.1]),  # the limit is not for exact NMS
        ({"nms": "fast", "nms_top_k": 1, "max_detections": 3}, [0.8, 0.6]),
    ],
)
def test_settings_choose_candidates_and_nms(settings, scores):
    found = Detector(CODER, SQUARE, EvalConfig(**settings)).detect(TWO_OBJECTS)
    assert found.scores[0, : int(found.counts[0])].tolist() == pytest.approx(scores)


class PointCoder:
    """Another kind of head: sigmoid scores without background, and distances from points to the sides of a box."""

    image_size = 64
    points = torch.tensor([[16.0, 16], [48, 48], [16, 48]])

    def scores(self, class_logits):
        return class_logits.sigmoid()

    def decode(self, box_deltas):
        return torch.cat([self.points - box_deltas[..., :2], self.points + box_deltas[..., 2:]], -1)


def test_the_detector_knows_the_head_by_its_coder_alone():
    logits = torch.tensor([[[0.8, 0.1], [0.1, 0.6], [0.01, 0.01]]]).logit()
    source = TWO_OBJECTS._replace(class_logits=logits, box_deltas=torch.full((1, 3, 4), 16.0))
    detector, expected = (
        Detector(PointCoder(), SQUARE, EvalConfig()),
        Detector(CODER, SQUARE, EvalConfig()).detect(TWO_OBJECTS),
    )
    found = detector.detect(source)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(detector.instances(found, 0, (30, 40), **NAMES)) == 4


def test_boxes_and_masks_land_in_the_pixels_of_the_image():
    instances = instances_of(TWO_OBJECTS, (128, 256))
    torch.testing.assert_close(instances.boxes, torch.tensor([[0.0, 0, 128, 64], [128, 64, 256, 128]]))
    assert (instances.masks.shape, instances.masks.dtype) == ((2, 128, 256), torch.bool)
    assert instances.masks[0, :60, :120].all()
    assert not instances.masks[0, 80:, 150:].any()
    assert instances.image_size == (128, 256)
    assert torch.equal(instances.scores, instances.mask_scores)


def test_crop_order_decides_how_sharp_the_edge_is():
    before, after, none = (
        instances_of(TWO_OBJECTS, (64, 64), crop=crop).masks[0].sum()
        for crop in ("before_resize", "after_resize", "none")
    )
    assert after == 32 * 32
    assert after < before < none == 64 * 64


def test_rescoring_multiplies_by_the_predicted_iou_of_the_class():
    def network(masks):
        return torch.tensor([[0.5, 0.25]]).expand(len(masks), 2)

    instances = instances_of(TWO_OBJECTS, (64, 64), network)
    assert instances.mask_scores.tolist() == pytest.approx([0.8 * 0.5, 0.6 * 0.25])
    assert instances.scores.tolist() == pytest.approx([0.8, 0.6])


def test_few_detections_or_none():
    assert instances_of(TWO_OBJECTS, (64, 64), min_score=0.7).scores.tolist() == pytest.approx([0.8])
    assert len(instances_of(TWO_OBJECTS, (64, 64), min_score=0.9)) == 0
    instances = instances_of(predictions([[0.99, 0.005, 0.005]] * 3), (30, 40))
    assert len(instances) == 0
    assert instances.masks.shape == (0, 30, 40)


GRID = AnchorCoder(64 * make_anchors((64, 64), [(8, 8), (4, 4)], [[16], [32]], [1, 0.5, 2], square=False), (64, 64))


def random_predictions():
    """Predictions of three images for five classes: none, a few and many objects on background."""
    num_anchors = len(GRID.anchors)
    logits = torch.randn(3, num_anchors, 6)
    logits[..., 0] += 12
    for index, count in enumerate((0, 3, 40)):
        logits[index, torch.randint(num_anchors, (count,))] = 3 * torch.randn(count, 6)
    return Predictions(
        class_logits=logits,
        box_deltas=0.3 * torch.randn(3, num_anchors, 4),
        mask_coefficients=torch.randn(3, num_anchors, 4).tanh(),
        prototypes=torch.rand(3, 4, 16, 16),
        semantic_logits=torch.zeros(3, 5, 8, 8),
    )


@pytest.mark.parametrize("nms", ["fast", "cross_class", "exact"])
def test_an_image_of_a_batch_gives_what_it_gives_alone(nms):
    """Those of a batch have no, a few and more detections than fit."""
    detector, source = Detector(GRID, SQUARE, EvalConfig(nms=nms, max_detections=20)), random_predictions()
    found = detector.detect(source)
    alone = [detector.detect(Predictions(*(field[[i]] for field in source))) for i in range(3)]
    fields = zip(found[:-1], zip(*(one[:-1] for one in alone), strict=True), strict=True)
    assert all(torch.equal(ours, torch.cat(parts)) for ours, parts in fields)
    assert found.counts[0] == 0 < found.counts[1] < found.counts[2] == 20


@pytest.mark.parametrize("crop", ["before_resize", "after_resize", "none"])
def test_masks_of_a_batch_are_those_of_the_instances(crop):
    settings, source = EvalConfig(max_detections=20, crop=crop), random_predictions()
    found = Detector(GRID, SQUARE, settings).detect(source)
    masks = Detector(GRID, SQUARE, settings).masks(found)
    plain = Detector(GRID, SQUARE, replace(settings, crop="before_resize" if crop == "before_resize" else "none"))
    for index, count in enumerate(found.counts):
        instances = plain.instances(found, index, (16, 16), **NAMES, min_score=-1)
        assert torch.equal(masks[index, :count] > plain.mask_threshold, instances.masks)
        assert not masks[index, count:].any()
