import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as mask_tools
from pycocotools.coco import COCO

from tests.evaluation.conftest import CAT, DOG, scores_of_pycocotools
from yolact.data import CocoDataset
from yolact.errors import UserError
from yolact.evaluation.coco import RECALLS, SUMMARY_KEYS, compute_metrics, curves_of
from yolact.ops.regions import MaskRegion
from yolact.ops.rle import encode_region

KINDS = pytest.mark.parametrize("kind", ["segm", "bbox"])
HERE, THERE = (0, 0, 40, 40), (50, 50, 40, 40)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_encoding_is_that_of_pycocotools(mask) -> None:
    expected = mask_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    encoded = encode_region(MaskRegion.of(mask), mask.shape)
    assert encoded == {"size": list(mask.shape), "counts": expected["counts"].decode()}


@KINDS
def test_a_perfect_detection_scores_one_and_none_zero(scene, kind) -> None:
    scene.object(DOG, (10, 10, 50, 50))
    nothing = compute_metrics(scene.dataset(), [], kind)
    assert nothing.summary["AP"] == 0
    assert nothing.per_class == {"cat": None, "dog": 0}
    scene.detection(DOG, (10, 10, 50, 50), 0.9)
    metrics = compute_metrics(scene.dataset(), scene.detections, kind)
    # 50 x 50 pixels are medium; nothing small or large, and no cat, exists.
    assert metrics.summary == {
        key: None if key in ("APs", "APl", "ARs", "ARl") else pytest.approx(1.0) for key in SUMMARY_KEYS
    }
    assert metrics.per_class == {"cat": None, "dog": pytest.approx(1.0)}


def test_images_without_objects_count(scene) -> None:
    scene.num_images = 2
    scene.add([(CAT, HERE)], [(CAT, HERE, 0.95, 2), (CAT, HERE, 0.9)])
    assert compute_metrics(scene.dataset(), scene.detections, "segm").summary["AP"] == pytest.approx(0.5)
    first = compute_metrics(scene.dataset(max_images=1), scene.detections[1:], "segm")
    assert first.summary["AP"] == pytest.approx(1.0)


def test_an_object_with_the_id_zero_counts(scene) -> None:
    scene.add([(CAT, HERE), (CAT, THERE)], [(CAT, HERE, 0.9), (CAT, THERE, 0.9)])
    scene.objects[0]["id"] = 0
    assert compute_metrics(scene.dataset(), scene.detections, "segm").summary["AP"] == pytest.approx(1.0)


def test_annotations_may_lack_area_and_crowd_flag_and_a_mask(scene, caplog) -> None:
    small = (20, 20, 10, 10)
    for category_id, box in ((CAT, HERE), (CAT, THERE), (DOG, small)):
        scene.object(category_id, box)
        scene.detection(category_id, box, 0.9)
    scene.objects[1]["segmentation"] = [[50, 50, 90, 50, 90, 90, 50, 90]]
    scene.objects[2]["segmentation"] = []
    for annotation in scene.objects:
        del annotation["area"], annotation["iscrowd"]
    masks, boxes = (compute_metrics(scene.dataset(), scene.detections, kind) for kind in ("segm", "bbox"))
    assert masks.summary["APm"] == pytest.approx(1.0)
    assert masks.per_class == {"cat": pytest.approx(1.0), "dog": None}
    assert boxes.per_class == {"cat": pytest.approx(1.0), "dog": pytest.approx(1.0)}
    assert boxes.summary["APs"] == pytest.approx(1.0)
    assert "1 annotations without a mask" in caplog.text


def test_more_than_a_hundred_detections_may_count(scene) -> None:
    for number, (x, y) in enumerate((x, y) for x in range(0, 96, 6) for y in range(0, 60, 6)):  # 160 squares
        scene.object(CAT, (x, y, 5, 5))
        scene.detection(CAT, (x, y, 5, 5), 0.9 - number / 1000)
    hundred = compute_metrics(scene.dataset(), scene.detections, "segm").summary
    assert tuple(hundred) == SUMMARY_KEYS
    assert hundred["AR100"] == pytest.approx(100 / 160)
    more = compute_metrics(scene.dataset(), scene.detections, "segm", max_detections=300).summary
    assert tuple(more) == (*SUMMARY_KEYS, "ARmax")
    assert more["AP"] == more["APs"] == more["ARs"] == more["ARmax"] == pytest.approx(1.0)
    assert {key: more[key] for key in ("AR1", "AR10", "AR100")} == {
        key: hundred[key] for key in ("AR1", "AR10", "AR100")
    }


@KINDS
def test_metrics_equal_those_of_pycocotools_on_photographs(shared, kind) -> None:
    """The detections are the ground truth shifted, some left out, some of wrong classes, with random scores."""
    annotation_file = shared / "coco_tiny/annotations/instances_val2017.json"
    coco, rng, found = COCO(str(annotation_file)), np.random.default_rng(1), []
    for annotation in coco.dataset["annotations"]:
        if rng.random() < 0.2:
            continue
        mask = np.roll(coco.annToMask(annotation), rng.integers(-4, 5, 2), (0, 1)).astype(bool)
        x, y, width, height = annotation["bbox"]
        box = [x + float(rng.normal(0, 2)), y, width, height * float(rng.uniform(0.8, 1.2))]
        own = {"segmentation": encode_region(MaskRegion.of(mask), mask.shape)} if kind == "segm" else {"bbox": box}
        other = int(rng.choice(coco.getCatIds()))
        category_id = annotation["category_id"] if rng.random() < 0.9 else other
        score = float(rng.random())
        found.append({"image_id": annotation["image_id"], "category_id": category_id, "score": score, **own})
    metrics = compute_metrics(CocoDataset(annotation_file, shared / "coco_tiny/val2017"), found, kind)
    assert list(metrics.summary.values()) == scores_of_pycocotools(annotation_file, found, kind)
    assert metrics.summary["AP"] > 0.1


@KINDS
@pytest.mark.parametrize("seed", range(3))
def test_hotcoco_gives_the_same_metrics(scene, kind, seed) -> None:
    pytest.importorskip("hotcoco", reason="an optional extra: pip install hotcoco")
    rng, scene.num_images = np.random.default_rng(seed), 2
    for image_id in rng.integers(1, 3, 30).tolist():
        category_id, side = int(rng.choice([CAT, DOG])), int(rng.integers(3, 40))
        x, y = rng.integers(3, 57, 2).tolist()
        scene.object(category_id, (x, y, side, side), image_id)
        for shift in rng.integers(-3, 4, 6).tolist():
            scene.detection(category_id, (x + shift, y, side, side), float(rng.random()), image_id)
    for records in (scene.detections, []):
        ours, fast = (
            compute_metrics(scene.dataset(), records, kind, 200, engine) for engine in ("pycocotools", "hotcoco")
        )
        assert fast == ours
    assert compute_metrics(scene.dataset(), scene.detections, kind).summary["AP"] > 0.1


def test_hotcoco_that_is_not_there_is_named(scene, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(UserError, match="hotcoco, which is not installed: run `pip install hotcoco`"):
        compute_metrics(scene.dataset(), [], "segm", engine="hotcoco")


def test_curves_are_the_table_at_two_thresholds_and_its_mean() -> None:
    table = np.full((10, 101, 2, 4, 3), -1.0)
    table[:, :, 0, 0, 2] = 0.5
    table[0, :51, 0, 0, 2], table[5, :, 0, 0, 2] = 1, 0.2
    table[:, :, 0, 1, 2] = 0.3
    table[..., 0] = table[..., 1] = 0.9  # of fewer detections
    curves = curves_of(table)
    assert curves.precision[:, [0, 100], 0] == pytest.approx(np.array([[1, 0.5], [0.2, 0.2], [0.52, 0.47]]))
    assert np.isnan(curves.precision[:, :, 1]).all()
    assert curves.by_size == pytest.approx(np.array([[0.3, np.nan, np.nan], [np.nan] * 3]), nan_ok=True)
    assert curves.per_class()[0] == pytest.approx([(51 + 25) / 101, 0.2, curves.precision[2, :, 0].mean()])
    assert curves.average() == pytest.approx(curves.precision[:, :, 0])
    assert np.isnan(curves_of(np.full((10, 101, 3, 4, 3), -1.0)).average()).all()  # no objects


def test_a_curve_by_hand(scene) -> None:
    objects = [(CAT, (0, 0, 10, 10)), (CAT, (40, 40, 10, 10))]
    scene.add(objects, [(CAT, (80, 80, 10, 10), 0.9), (CAT, (0, 0, 10, 6), 0.8)])
    metrics = compute_metrics(scene.dataset(), scene.detections, "bbox")
    curves = metrics.curves
    assert curves.average().mean(1) == pytest.approx([metrics.summary[key] for key in ("AP50", "AP75", "AP")])
    # Wrong, right: at IoU 0.5 a precision of 1/2 up to a recall of 1/2, at 0.75 none.
    assert curves.precision[0, :, 0].tolist() == pytest.approx([0.5 if recall <= 0.5 else 0 for recall in RECALLS])
    assert not curves.precision[1, :, 0].any()
