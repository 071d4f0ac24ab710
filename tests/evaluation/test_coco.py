import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as mask_tools
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolact.errors import UserError
from yolact.evaluation.coco import (
    SUMMARY_KEYS,
    coco_records,
    compute_metrics,
    decode_mask,
    encode_mask,
    result_records,
)
from yolact.instances import Instances
from yolact.ops.regions import regions_of


def square(x: int, y: int, side: int, size: tuple[int, int] = (100, 100)) -> dict:
    mask = np.zeros(size, np.uint8)
    mask[y : y + side, x : x + side] = 1
    return encode_mask(mask.astype(bool))


def truth(annotation_id: int, image_id: int, category_id: int, x: int, y: int, side: int) -> dict:
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x, y, side, side],
        "area": side * side,
        "iscrowd": 0,
        "segmentation": square(x, y, side),
    }


def detection(image_id: int, category_id: int, x: int, y: int, side: int, score: float) -> dict:
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x, y, side, side],
        "score": score,
        "segmentation": square(x, y, side),
    }


def write(folder: Path, annotations: list[dict], num_images: int = 1) -> Path:
    path = folder / "annotations.json"
    images = [{"id": 1 + i, "file_name": f"{i}.png", "height": 100, "width": 100} for i in range(num_images)]
    categories = [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@settings(deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_encoding_is_that_of_pycocotools(mask: np.ndarray) -> None:
    expected = mask_tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    encoded = encode_mask(mask)
    assert encoded == {"size": list(mask.shape), "counts": expected["counts"].decode()}
    assert (decode_mask(encoded) == mask).all()


def example_instances() -> Instances:
    masks = torch.zeros(2, 10, 20, dtype=torch.bool)
    masks[0, 2:5, 3:7] = True
    return Instances(
        boxes=torch.tensor([[3.0, 2.0, 7.0, 5.0], [0.5, 0.25, 20.0, 10.0]]),
        scores=torch.tensor([0.75, 0.5]),
        labels=torch.tensor([1, 0]),
        regions=regions_of(masks),
        mask_scores=torch.tensor([0.25, 0.125]),
        image_size=(10, 20),
        class_names=["cat", "dog"],
        category_ids=[2, 5],
    )


def test_records_hold_category_id_xywh_and_mask_score() -> None:
    first, second = coco_records(example_instances(), image_id=7)
    assert first["image_id"] == 7
    assert first["category_id"] == 5
    assert first["bbox"] == [3.0, 2.0, 4.0, 3.0]
    assert first["score"] == 0.25
    assert mask_tools.area(first["segmentation"]) == 12
    assert second["bbox"] == [0.5, 0.25, 19.5, 9.75]
    json.dumps([first, second])


def test_result_files_keep_masks_and_boxes_with_their_own_scores_apart() -> None:
    masks, boxes = result_records(example_instances(), image_id=7)
    assert [sorted(record) for record in masks] == [["category_id", "image_id", "score", "segmentation"]] * 2
    assert [sorted(record) for record in boxes] == [["bbox", "category_id", "image_id", "score"]] * 2
    assert [record["score"] for record in masks] == [0.25, 0.125]
    assert [record["score"] for record in boxes] == [0.75, 0.5]


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_a_perfect_detection_scores_one(tmp_path: Path, kind: str) -> None:
    figures = compute_metrics(write(tmp_path, [truth(1, 1, 5, 10, 10, 50)]), [detection(1, 5, 10, 10, 50, 0.9)], kind)
    # 50 x 50 pixels are medium; nothing small or large, and no cat, exists.
    assert figures.summary == {
        key: None if key in ("APs", "APl", "ARs", "ARl") else pytest.approx(1.0) for key in SUMMARY_KEYS
    }
    assert figures.per_class == {"cat": None, "dog": pytest.approx(1.0)}


def test_half_of_the_objects_found_is_half_recall(tmp_path: Path) -> None:
    path = write(tmp_path, [truth(1, 1, 2, 0, 0, 40), truth(2, 1, 2, 50, 50, 40)])
    figures = compute_metrics(path, [detection(1, 2, 0, 0, 40, 0.9)], "segm")
    assert figures.summary["AP"] == pytest.approx(51 / 101)  # precision 1 at the recalls 0.00, 0.01, ... 0.50
    assert figures.summary["AR100"] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_no_detections_score_zero(tmp_path: Path, kind: str) -> None:
    figures = compute_metrics(write(tmp_path, [truth(1, 1, 5, 10, 10, 50)]), [], kind)
    assert figures.summary["AP"] == 0
    assert figures.per_class == {"cat": None, "dog": 0}


def test_pictures_without_objects_count(tmp_path: Path) -> None:
    path = write(tmp_path, [truth(1, 1, 2, 0, 0, 40)], num_images=2)
    found = [detection(2, 2, 0, 0, 40, 0.95), detection(1, 2, 0, 0, 40, 0.9)]
    assert compute_metrics(path, found, "segm").summary["AP"] == pytest.approx(0.5)
    assert compute_metrics(path, found, "segm", image_ids=[1]).summary["AP"] == pytest.approx(1.0)


def test_an_object_with_the_id_zero_counts(tmp_path: Path) -> None:
    path = write(tmp_path, [truth(0, 1, 2, 0, 0, 40), truth(1, 1, 2, 50, 50, 40)])
    found = [detection(1, 2, 0, 0, 40, 0.9), detection(1, 2, 50, 50, 40, 0.8)]
    assert compute_metrics(path, found, "segm").summary["AP"] == pytest.approx(1.0)


def test_annotations_may_lack_area_and_crowd_flag_and_a_mask(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bare = truth(1, 1, 2, 0, 0, 40)
    polygon = {**truth(2, 1, 2, 50, 50, 40), "segmentation": [[50, 50, 90, 50, 90, 90, 50, 90]]}
    boxed = {**truth(3, 1, 5, 20, 20, 10), "segmentation": []}
    for annotation in (bare, polygon, boxed):
        del annotation["area"], annotation["iscrowd"]
    path = write(tmp_path, [bare, polygon, boxed])
    found = [detection(1, 2, 0, 0, 40, 0.9), detection(1, 2, 50, 50, 40, 0.8), detection(1, 5, 20, 20, 10, 0.7)]
    masks, boxes = (compute_metrics(path, found, kind) for kind in ("segm", "bbox"))
    assert masks.summary["APm"] == pytest.approx(1.0)
    assert masks.per_class == {"cat": pytest.approx(1.0), "dog": None}
    assert boxes.per_class == {"cat": pytest.approx(1.0), "dog": pytest.approx(1.0)}
    assert boxes.summary["APs"] == pytest.approx(1.0)
    assert "1 annotations without a mask" in caplog.text


def test_more_than_a_hundred_detections_may_count(tmp_path: Path) -> None:
    places = [(x, y) for x in range(0, 96, 6) for y in range(0, 60, 6)]  # 160 squares of 5 x 5
    path = write(tmp_path, [truth(i, 1, 2, x, y, 5) for i, (x, y) in enumerate(places, 1)])
    found = [detection(1, 2, x, y, 5, 0.9 - i / 1000) for i, (x, y) in enumerate(places)]
    assert compute_metrics(path, found, "segm").summary["AR100"] == pytest.approx(100 / 160)
    more = compute_metrics(path, found, "segm", max_detections=160).summary
    assert more["AP"] == more["APs"] == more["AR100"] == pytest.approx(1.0)
    assert more["AR10"] == pytest.approx(10 / 160)


def test_the_size_of_a_mask_is_that_of_the_mask_and_not_of_its_box(tmp_path: Path) -> None:
    path = write(tmp_path, [truth(1, 1, 2, 0, 0, 20)])
    wrong = {**detection(1, 2, 60, 60, 10, 0.95), "bbox": [40, 40, 60, 60]}
    # The wrong mask is small, so that it counts among the small objects; a box of 60 x 60 would be medium.
    assert compute_metrics(path, [wrong, detection(1, 2, 0, 0, 20, 0.9)], "segm").summary["APs"] == pytest.approx(0.5)


def test_nothing_is_printed_and_the_records_stay_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [detection(1, 2, 0, 0, 40, 0.9)]
    before = json.dumps(found)
    compute_metrics(write(tmp_path, [truth(1, 1, 2, 0, 0, 40)]), found, "segm")
    assert json.dumps(found) == before
    assert capsys.readouterr().out == ""


def noisy_detections(coco: COCO) -> list[dict]:
    """Return the ground truth shifted, with some objects left out, some wrong classes and random scores."""
    rng = np.random.default_rng(1)
    category_ids = coco.getCatIds()
    found = []
    for annotation in coco.dataset["annotations"]:
        if rng.random() < 0.2:
            continue
        mask = np.roll(coco.annToMask(annotation), rng.integers(-4, 5, 2), (0, 1)).astype(bool)
        x, y, width, height = annotation["bbox"]
        category_id = annotation["category_id"] if rng.random() < 0.9 else int(rng.choice(category_ids))
        found.append(
            {
                "image_id": annotation["image_id"],
                "category_id": category_id,
                "bbox": [x + float(rng.normal(0, 2)), y, width, height * float(rng.uniform(0.8, 1.2))],
                "score": float(rng.random()),
                "segmentation": encode_mask(mask),
            }
        )
    return found


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_figures_equal_those_of_pycocotools_on_photographs(shared: Path, tmp_path: Path, kind: str) -> None:
    annotation_file = shared / "coco_tiny/annotations/instances_val2017.json"
    coco = COCO(str(annotation_file))
    key = "segmentation" if kind == "segm" else "bbox"
    found = [
        {name: record[name] for name in ("image_id", "category_id", "score", key)} for record in noisy_detections(coco)
    ]
    (tmp_path / "detections.json").write_text(json.dumps(found))
    oracle = COCOeval(coco, coco.loadRes(str(tmp_path / "detections.json")), kind)
    oracle.evaluate()
    oracle.accumulate()
    oracle.summarize()
    figures = compute_metrics(annotation_file, found, kind)
    assert list(figures.summary.values()) == list(oracle.stats)
    assert figures.summary["AP"] > 0.1


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(6))
def test_hotcoco_gives_the_same_figures(tmp_path: Path, kind: str, seed: int) -> None:
    pytest.importorskip("hotcoco", reason="an optional extra: pip install hotcoco")
    rng = np.random.default_rng(seed)
    boxes = [(int(image), int(rng.choice([2, 5])), *rng.integers(0, 60, 2).tolist(), int(rng.integers(3, 40)))
             for image in rng.integers(1, 3, 30)]  # fmt: skip
    path = write(tmp_path, [truth(number, *box) for number, box in enumerate(boxes, start=1)], num_images=2)
    found = [
        detection(image, category, x + int(rng.integers(-3, 4)), y, side, float(rng.random()))
        for image, category, x, y, side in boxes * 6
    ]
    for records in (found, []):
        ours, fast = (
            compute_metrics(path, records, kind, 200, [1, 2], engine) for engine in ("pycocotools", "hotcoco")
        )
        assert fast == ours
    assert compute_metrics(path, found, kind).summary["AP"] > 0.1


def test_hotcoco_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(UserError, match="hotcoco, which is not installed: run `pip install hotcoco`"):
        compute_metrics(write(tmp_path, [truth(1, 1, 2, 0, 0, 40)]), [], "segm", engine="hotcoco")
