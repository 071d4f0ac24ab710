from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from yolact.config import EvalConfig
from yolact.models.anchors import make_anchors
from yolact.models.mask_iou import MaskIoUNet
from yolact.ops.boxes import encode
from yolact.ops.paste import paste_masks
from yolact.postprocess import detection_masks, select_detections, select_detections_static, to_instances
from yolact.structures import Predictions

ANCHORS = torch.tensor([[0.0, 0, 32, 32], [32, 32, 64, 64], [0, 32, 32, 64]])
NAMES = {"class_names": ["a", "b"], "category_ids": [7, 3], "input_size": 64}


def predictions(probabilities, boxes=ANCHORS, prototypes=None):
    """Predictions of one picture whose softmax and decoding give these class probabilities [A, 1+C] and boxes."""
    return Predictions(
        class_logits=torch.tensor([probabilities]).log(),
        box_deltas=encode(boxes, ANCHORS)[None],
        mask_coefficients=torch.ones(1, len(ANCHORS), 1),
        prototypes=torch.ones(1, 1, 16, 16) if prototypes is None else prototypes,
        semantic_logits=torch.zeros(1, 2, 8, 8),
    )


TWO_OBJECTS = predictions([[0.1, 0.8, 0.1], [0.3, 0.1, 0.6], [0.98, 0.01, 0.01]])


def test_detections_by_hand():
    found = select_detections(TWO_OBJECTS, ANCHORS, EvalConfig())
    count = int(found.counts[0])
    assert found.scores[0, :2].tolist() == pytest.approx([0.8, 0.6])
    assert found.labels[0, :2].tolist() == [0, 1]
    torch.testing.assert_close(found.boxes[0, :2], ANCHORS[:2])
    assert count == 4  # both candidates under both classes: Fast NMS works class by class
    assert found.boxes.shape == (1, 100, 4)
    assert not found.scores[0, count:].any()


def test_an_anchor_below_the_threshold_is_no_candidate():
    found = select_detections(TWO_OBJECTS, ANCHORS, EvalConfig(score_threshold=0.7))
    assert int(found.counts[0]) == 2
    assert found.scores[0, :2].tolist() == pytest.approx([0.8, 0.1])


def test_cross_class_and_exact_nms_are_chosen_by_config():
    cross = select_detections(TWO_OBJECTS, ANCHORS, EvalConfig(nms="cross_class"))
    assert cross.labels[0, : int(cross.counts[0])].tolist() == [0, 1]
    exact = select_detections(TWO_OBJECTS, ANCHORS, EvalConfig(nms="exact", score_threshold=0.5))
    assert exact.scores[0, : int(exact.counts[0])].tolist() == pytest.approx([0.8, 0.6])


def test_exact_nms_finds_as_many_as_are_allowed_whatever_enters_fast_nms():
    apart = predictions([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    settings = EvalConfig(nms="exact", nms_top_k=2, max_detections=5)
    assert int(select_detections(apart, ANCHORS, settings).counts[0]) == 3
    assert int(select_detections(apart, ANCHORS, replace(settings, nms="fast")).counts[0]) == 2


def test_boxes_and_masks_land_in_the_pixels_of_the_picture():
    found = select_detections(TWO_OBJECTS, ANCHORS, EvalConfig(nms="cross_class"))
    instances = to_instances(found, TWO_OBJECTS.prototypes, 0, (128, 256), EvalConfig(), **NAMES)
    torch.testing.assert_close(instances.boxes, torch.tensor([[0.0, 0, 128, 64], [128, 64, 256, 128]]))
    assert instances.masks.shape == (2, 128, 256)
    assert instances.masks.dtype == torch.bool
    assert instances.masks[0, :60, :120].all()
    assert not instances.masks[0, 80:, 150:].any()
    assert instances.image_size == (128, 256)
    assert torch.equal(instances.scores, instances.mask_scores)


def test_boxes_are_clipped_to_the_picture():
    outside = predictions([[0.1, 0.8, 0.1]] * 3, boxes=ANCHORS + torch.tensor([-20.0, -20, 40, 40]))
    found = select_detections(outside, ANCHORS, EvalConfig(nms="cross_class"))
    instances = to_instances(found, outside.prototypes, 0, (64, 64), EvalConfig(), **NAMES)
    assert instances.boxes.min() >= 0
    assert instances.boxes.max() <= 64


def test_crop_order_decides_how_sharp_the_edge_is():
    found = select_detections(TWO_OBJECTS, ANCHORS, EvalConfig(nms="cross_class"))
    areas = {
        crop: to_instances(found, TWO_OBJECTS.prototypes, 0, (64, 64), EvalConfig(crop=crop), **NAMES).masks[0].sum()
        for crop in ("before_resize", "after_resize", "none")
    }
    assert areas["after_resize"] == 32 * 32
    assert areas["after_resize"] < areas["before_resize"] < areas["none"] == 64 * 64


def test_min_score_chooses_detections():
    found = select_detections(TWO_OBJECTS, ANCHORS, EvalConfig())
    make = lambda **options: to_instances(found, TWO_OBJECTS.prototypes, 0, (64, 64), EvalConfig(), **NAMES, **options)  # noqa: E731
    assert make(min_score=0.5).scores.tolist() == pytest.approx([0.8, 0.6])
    assert len(make(min_score=0.9)) == 0


def test_rescoring_multiplies_by_the_predicted_iou_of_the_class():
    class Predicted(MaskIoUNet):
        def forward(self, masks):
            return torch.tensor([[0.5, 0.25]]).expand(len(masks), 2)

    found = select_detections(TWO_OBJECTS, ANCHORS, replace(EvalConfig(), nms="cross_class"))
    instances = to_instances(found, TWO_OBJECTS.prototypes, 0, (64, 64), EvalConfig(), **NAMES, mask_iou=Predicted(2))
    assert instances.mask_scores.tolist() == pytest.approx([0.8 * 0.5, 0.6 * 0.25])
    assert instances.scores.tolist() == pytest.approx([0.8, 0.6])


@pytest.mark.parametrize("crop", ["before_resize", "after_resize", "none"])
def test_masks_do_not_depend_on_how_many_are_made_together(crop):
    logits = F.interpolate(3 * torch.randn(1, 100, 9, 9), (138, 138), mode="bicubic")[0]
    size, limits = (90, 150), torch.tensor([150, 90] if crop == "after_resize" else [138, 138])
    corners = torch.rand(100, 2, 2) * limits
    boxes = None if crop == "none" else torch.cat([corners.amin(1), corners.amax(1)], 1)

    def in_parts(number):
        parts = [slice(start, start + number) for start in range(0, 100, number)]
        chosen = ((logits[part], None if boxes is None else boxes[part]) for part in parts)
        return [region for part, box in chosen for region in paste_masks(part, size, box, crop == "after_resize")]

    together = in_parts(100)
    assert len(together) == 100
    assert sum(region.area > 0 for region in together) > 80
    assert in_parts(7) == together
    assert in_parts(1) == together


def test_a_picture_without_detections():
    nothing = predictions([[0.99, 0.005, 0.005]] * 3)
    found = select_detections(nothing, ANCHORS, EvalConfig())
    instances = to_instances(found, nothing.prototypes, 0, (30, 40), EvalConfig(), **NAMES)
    assert len(instances) == 0
    assert instances.masks.shape == (0, 30, 40)


GRID = make_anchors(64, [[16], [32]], [1, 0.5, 2], square=False) * 64


def random_predictions(kind):
    """Predictions of three pictures for five classes; "clustered" has none, a few and many objects on background."""
    logits = torch.randn(3, len(GRID), 6)
    if kind == "clustered":
        logits[..., 0] += 12
        for index, count in enumerate((0, 3, 40)):
            anchors = torch.randint(len(GRID), (count,))
            logits[index, anchors] = 3 * torch.randn(count, 6)
    return Predictions(
        class_logits=logits,
        box_deltas=0.3 * torch.randn(3, len(GRID), 4),
        mask_coefficients=torch.randn(3, len(GRID), 4).tanh(),
        prototypes=torch.rand(3, 4, 16, 16),
        semantic_logits=torch.zeros(3, 5, 8, 8),
    )


@pytest.mark.parametrize("nms", ["fast", "cross_class"])
@pytest.mark.parametrize("kind", ["random", "clustered"])
@pytest.mark.parametrize(("top_k", "limit"), [(200, 100), (20, 300), (5, 3)])
def test_static_selection_is_the_same(kind, nms, top_k, limit):
    counts = set()
    for score_threshold in (0.0, 0.05, 0.4, 0.9):
        for nms_threshold in (0.0, 0.3, 0.5, 1.0):
            settings = EvalConfig(
                nms=nms,
                score_threshold=score_threshold,
                nms_threshold=nms_threshold,
                nms_top_k=top_k,
                max_detections=limit,
            )
            predictions = random_predictions(kind)
            expected = select_detections(predictions, GRID, settings)
            found = select_detections_static(predictions, GRID, settings)
            assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(expected, found, strict=True))
            counts.update(expected.counts.tolist())
    assert len(counts) > 1


def test_static_selection_has_no_exact_nms():
    with pytest.raises(ValueError, match="exact"):
        select_detections_static(TWO_OBJECTS, ANCHORS, EvalConfig(nms="exact"))


@pytest.mark.parametrize("crop", ["before_resize", "after_resize", "none"])
def test_masks_of_a_batch_are_those_of_the_instances(crop):
    settings = EvalConfig(max_detections=20)
    predictions = random_predictions("clustered")
    found = select_detections(predictions, GRID, settings)
    masks = detection_masks(found, predictions.prototypes, replace(settings, crop=crop), 64)
    cropped = replace(settings, crop="before_resize" if crop == "before_resize" else "none")
    for index, count in enumerate(found.counts):
        instances = to_instances(found, predictions.prototypes, index, (16, 16), cropped, **NAMES, min_score=-1)
        assert torch.equal(masks[index, :count] > 0.5, instances.masks)
        assert not masks[index, count:].any()
