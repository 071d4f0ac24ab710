import sys
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from tests.made import make_instances
from yolact.data.segmentations import IDENTITY, draw_masks
from yolact.errors import UserError
from yolact.instances import Instances, find_labels
from yolact.ops.regions import regions_of

SIZE = (60, 80)


@pytest.fixture
def instances() -> Instances:
    masks = np.zeros((3, 8, 10), bool)
    masks[0, 1:3, 1:4] = masks[1, 4:8, 0:2] = masks[1, 0, 9] = True
    boxes = torch.tensor([[1.0, 1, 4, 3], [0, 0, 10, 8], [5, 5, 6, 6]])
    image = np.full((8, 10, 3), 100, np.uint8)
    scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 1])
    return make_instances(masks, boxes=boxes, scores=scores, labels=labels, image=image)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (slice(1, None), [1, 2]),
        ([2, 0], [2, 0]),
        ([], []),
        ([True, False, True], [0, 2]),
        (torch.tensor([False, True, False]), [1]),
        (np.array([1, 1]), [1, 1]),
        (-1, [2]),
    ],
)
def test_indexing_keeps_the_fields_together(instances: Instances, index: Any, expected: list[int]) -> None:
    chosen = instances[index]
    assert len(chosen) == len(expected)
    for name in ("boxes", "scores", "labels", "masks", "mask_scores"):
        assert torch.equal(getattr(chosen, name), getattr(instances, name)[expected])
    assert (chosen.image_size, chosen.class_names) == ((8, 10), ["cat", "dog"])
    assert chosen.image is instances.image
    assert [round(float(one.scores), 1) for one in instances] == [0.9, 0.8, 0.7]


def test_to_coco_by_hand(instances: Instances) -> None:
    both, masks, boxes = (instances.to_coco(4, kind) for kind in (None, "segm", "bbox"))
    assert [(record["image_id"], record["category_id"]) for record in both] == [(4, 5), (4, 2), (4, 5)]
    assert both[0]["bbox"] == [1, 1, 3, 2]
    assert [record["score"] for record in masks] == pytest.approx([0.8, 0.7, 0.6])
    assert [record["score"] for record in boxes] == pytest.approx([0.9, 0.8, 0.7])
    for record, mask, box in zip(both, masks, boxes, strict=True):
        assert record == {**mask, "bbox": box["bbox"]}
        assert set(box) == {"image_id", "category_id", "bbox", "score"}
    decoded = [coco_mask.decode(rle) for rle in instances.rle()]
    assert (np.stack(decoded) == instances.masks.numpy()).all()


def test_the_text_counts_the_classes(instances: Instances) -> None:
    assert repr(instances) == "3 instances in 8 x 10 pixels (height x width): 2 dog, 1 cat"
    assert repr(instances[0]) == "1 instance in 8 x 10 pixels (height x width): 1 dog"
    assert repr(instances[:0]) == "0 instances in 8 x 10 pixels (height x width)"
    instances.class_names = [f"kind {number}" for number in range(20)]
    many = instances[list(range(3)) * 3]
    many.labels = torch.arange(9)
    assert repr(many).endswith("1 kind 6, 1 kind 7 and 1 more")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2]),
        ({"classes": "dog"}, [0, 2]),
        ({"classes": ["cat", "dog"]}, [0, 1, 2]),
        ({"classes": torch.tensor([0])}, [1]),
        ({"classes": iter([1, "cat"])}, [0, 1, 2]),
        ({"classes": []}, []),
        ({"min_score": float(np.float32(0.8))}, [0, 1]),
        ({"min_area": 9}, [1]),
        ({"classes": "dog", "min_score": 0.75, "min_area": 6}, [0]),
        ({"classes": "dgo"}, "'dgo' is none of the 2 classes of this model; did you mean 'dog'?"),
        ({"classes": ["dog", "x"]}, "'x' is none of the 2 classes of this model; known are cat, dog."),
        ({"classes": "dog, cat"}, [0, 1, 2]),
        ({"classes": "dog,person"}, "'person' is none of the 2 classes of this model; known are cat, dog."),
        ({"classes": 2}, "2 is none of the 2 classes of this model; give a name, or a number from 0 to 1."),
        ({"classes": [-1]}, "-1 is none of"),
        ({"min_score": 30}, "[0, 1], got 30"),
        ({"min_score": float("nan")}, "[0, 1], got nan"),
    ],
)
def test_filter_keeps_what_meets_all_conditions_and_says_what_is_wrong(
    instances: Instances, options: dict[str, Any], expected: list[int] | str
) -> None:
    if isinstance(expected, str):
        with pytest.raises(UserError) as error:
            instances.filter(**options)
        assert expected in str(error.value)
    else:
        chosen = instances.filter(**options)
        assert chosen.scores.tolist() == instances.scores[expected].tolist()
        assert chosen.regions == [instances.regions[place] for place in expected]


def test_crops_are_the_boxes_by_hand(instances: Instances) -> None:
    first, second, _ = instances.crops(masked=True)
    assert first.shape == (2, 3, 4)
    assert (first == [100, 100, 100, 255]).all()
    assert ((second[:, :, 3] == 255) == instances.masks[1].numpy()).all()
    assert set(np.unique(second[:, :, 3])) == {0, 255}
    image = np.arange(240, dtype=np.uint8).reshape(8, 10, 3)
    instances.boxes = torch.tensor([[1.0, 1, 4, 3], [0.4, 4.6, 2.2, 7.9], [10, 8, 10, 8]])
    first, second, corner = instances.crops(image)
    assert (first == image[1:3, 1:4]).all()
    assert (second == image[4:8, 0:3]).all()
    assert (corner == image[7:, 9:]).all()  # a box without area
    first[:] = 0
    assert image[1, 1].any()  # copies


def test_polygons_tell_holes_when_asked(instances: Instances) -> None:
    ring = np.ones((8, 10), bool)
    ring[2:4, 3:5] = False
    instances.regions[0] = regions_of(ring[None])[0]
    assert len(instances.polygons()[0]) == 1
    ((outline, (hole,)),) = instances.polygons(holes=True)[0]
    assert (outline.min(0).tolist(), outline.max(0).tolist()) == ([-0.25, -0.25], [9.25, 7.25])
    assert (hole.min(0).tolist(), hole.max(0).tolist()) == ([2.25, 1.25], [4.75, 3.75])
    assert [len(parts) for parts in instances.polygons(holes=True)] == [1, 2, 0]


def test_plot_draws_on_the_kept_image_or_on_another(instances: Instances) -> None:
    before = instances.image.copy()
    drawn = instances.plot()
    assert drawn.shape == (8, 10, 3)
    assert (drawn != before).any()
    assert (instances.image == before).all()
    assert instances.plot(np.zeros((8, 10, 3), np.uint8), masks=False, boxes=False, labels=False).max() == 0


@pytest.mark.parametrize("method", ["plot", "crops"])
def test_what_needs_an_image_says_so(instances: Instances, method: str) -> None:
    with pytest.raises(ValueError, match=r"\(8, 10\).*\(10, 8\)"):
        getattr(instances, method)(np.zeros((10, 8, 3), np.uint8))
    instances.image = None
    with pytest.raises(ValueError, match=rf"{method}\(image\)"):
        getattr(instances, method)()


def test_only_masks_makes_whole_masks(instances: Instances) -> None:
    instances.plot()
    instances._repr_png_()
    instances.crops(masked=True)
    instances.to_coco(1)
    instances.to_labelme("a.jpg")
    instances.polygons()
    instances.filter(min_area=2)
    assert "masks" not in vars(instances)
    assert instances.masks is instances.masks


@pytest.fixture
def masks() -> np.ndarray:
    """Return bool [6, H, W]: a rectangle, a ring with an island, two parts, a comb, speckles, and nothing."""
    found = np.zeros((6, *SIZE), bool)
    found[0, 10:20, 30:50] = True
    ring = np.zeros(SIZE, np.uint8)
    for centre, radius, value in (((40, 30), 25, 1), ((36, 28), 12, 0), ((52, 40), 4, 0), ((36, 28), 5, 1)):
        cv2.circle(ring, centre, radius, value, -1)
    found[1] = ring > 0
    found[2, :5, :5] = found[2, -5:, -9:] = True
    found[3, 20:50, 10:70:2] = found[3, 49, 10:70] = True
    found[4, 5:35, 5:45] = np.random.default_rng(0).random((30, 40)) > 0.3
    return found


def read_back(content: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """Return the (class, mask) of each object of a labelme file: the union of the shapes of one group."""
    objects: dict[Any, list[dict[str, Any]]] = {}
    for number, shape in enumerate(content["shapes"]):
        objects.setdefault(shape["group_id"] or f"shape {number}", []).append(shape)
    segmentations = [[np.array(shape["points"], np.float32) for shape in shapes] for shapes in objects.values()]
    names = [shapes[0]["label"] for shapes in objects.values()]
    return list(zip(names, draw_masks(segmentations, IDENTITY, SIZE) > 0, strict=True))


def test_a_labelme_file_by_hand() -> None:
    found = np.zeros((2, *SIZE), bool)
    found[0, 2:4, 3:7] = True
    found[1, 0, 0] = found[1, 9, 9] = True
    content = make_instances(found).to_labelme("photos/a.jpg")
    first, *parts = content.pop("shapes")
    about = {"imagePath": "photos/a.jpg", "imageData": None, "imageHeight": 60, "imageWidth": 80}
    assert content == {"version": "5.4.1", "flags": {}, **about}
    assert sorted(first.pop("points")) == [[3.25, 2.25], [3.25, 3.75], [6.75, 2.25], [6.75, 3.75]]
    rest = {"group_id": None, "description": "", "shape_type": "polygon", "flags": {}, "mask": None}
    assert first == {"label": "cat", **rest}
    assert [(part["label"], part["group_id"]) for part in parts] == [("dog", 2)] * 2


def test_labelme_files_come_back_as_the_same_masks(masks: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(size=(20, *SIZE)).astype(np.float32)
    smooth = [cv2.GaussianBlur(layer, None, 0.5 + 0.2 * place) for place, layer in enumerate(noise)]
    masks = np.concatenate([np.stack(smooth) > 0, masks])
    found = read_back(make_instances(masks).to_labelme("a.png", tolerance=0))
    assert [name for name, _ in found] == ["cat", "dog"] * 12 + ["cat"]  # the empty one is left out
    for (_, mask), expected in zip(found, masks[:-1], strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_fewer_points_change_smooth_masks_little(masks: np.ndarray) -> None:
    instances = make_instances(masks[:3])
    exact, easy = instances.to_labelme("a.png", tolerance=0), instances.to_labelme("a.png")
    points = [sum(len(shape["points"]) for shape in content["shapes"]) for content in (exact, easy)]
    assert points[1] < points[0] / 3
    for (_, mask), expected in zip(read_back(easy), masks, strict=False):
        assert (mask & expected).sum() > 0.95 * (mask | expected).sum()
    for tolerance in (-1, float("nan")):
        with pytest.raises(UserError, match=f"0 or more pixels, got {tolerance}"):
            instances.to_labelme("a.png", tolerance)


def test_supervision_detections_hold_everything(masks: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("supervision", reason="the extra 'supervision' is not installed")
    instances = make_instances(masks)
    found = instances.to_supervision()
    np.testing.assert_array_equal(found.xyxy, instances.boxes)
    np.testing.assert_array_equal(found.mask, masks)
    np.testing.assert_array_equal(found.confidence, instances.scores)
    assert found.class_id.tolist() == [0, 1] * 3
    assert [item.tolist() for item in found[found.confidence > 0.8]["class_name"]] == ["cat", "dog", "cat"]
    assert len(make_instances(np.zeros((0, *SIZE), bool)).to_supervision()) == 0
    found.xyxy[:] = 0
    assert instances.boxes.any()
    assert "masks" not in vars(instances)
    monkeypatch.setitem(sys.modules, "supervision", None)  # as if it were not installed
    with pytest.raises(UserError, match="pip install supervision"):
        instances.to_supervision()


def test_a_name_with_a_comma_is_one_name_before_it_is_two() -> None:
    classes = ["nut", "hex", "nut, hex", "bolt"]
    assert find_labels("nut, hex", classes) == {2}
    assert find_labels(["nut,hex", "nut, hex"], classes) == {0, 1, 2}
    assert find_labels("bolt , nut", classes) == {0, 3}
    assert find_labels("nut, hex", classes[2:]) == {0}
