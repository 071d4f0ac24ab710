import pytest
import torch

from yolact.benchmark.synthetic import make_images, make_predictions, make_targets, settle
from yolact.config import EvalConfig
from yolact.models import build_model
from yolact.models.anchors import make_anchors
from yolact.ops.boxes import box_area, decode
from yolact.postprocess import select_detections

SIDE = 550
ANCHORS = make_anchors(SIDE, [[24], [48], [96], [192], [384]], [1, 0.5, 2], square=True) * SIDE


@pytest.mark.parametrize("count", [50, 1000, len(ANCHORS)])
def test_as_many_candidates_as_asked_for(count):
    predictions = make_predictions(count, ANCHORS, SIDE, 80, 32)
    best = predictions.class_logits[0].softmax(-1)[:, 1:].amax(1)
    assert int((best > 0.05).sum()) == count


def test_boxes_of_a_twentieth_of_the_picture():
    predictions = make_predictions(1000, ANCHORS, SIDE, 80, 32)
    rows = predictions.class_logits[0, :, 0] == 0
    boxes = decode(predictions.box_deltas[0, rows], ANCHORS[rows])
    assert box_area(boxes).mean().item() / SIDE**2 == pytest.approx(0.05, rel=0.1)
    assert boxes.min() >= -0.1
    assert boxes.max() <= SIDE + 0.1
    assert int(select_detections(predictions, ANCHORS, EvalConfig()).counts[0]) == 100


def test_ground_truth_fills_its_boxes():
    targets = make_targets([0, 3], 64, 5)
    assert [len(target["labels"]) for target in targets] == [0, 3]
    share = targets[1]["masks"].sum((1, 2)) / box_area(targets[1]["boxes"])
    assert share.tolist() == pytest.approx([torch.pi / 4] * 3, rel=0.1)


def test_settled_random_weights_find_as_many_objects_as_asked_for(tiny_config):
    torch.manual_seed(3)
    model = build_model(tiny_config)
    momenta = [module.momentum for module in model.modules() if hasattr(module, "momentum")]
    settle(model, num_candidates=40, score=0.3)
    assert not model.training
    assert [module.momentum for module in model.modules() if hasattr(module, "momentum")] == momenta
    with torch.no_grad():
        predictions = model(make_images(2, model.image_size)[:1])
    assert int((predictions.class_logits.softmax(-1)[..., 1:].amax(-1) > 0.3).sum()) == 40
    assert predictions.box_deltas.std().item() == pytest.approx(1, abs=0.01)
