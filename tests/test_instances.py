import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from yolact.errors import UserError
from yolact.instances import Instances
from yolact.ops.regions import regions_of


@pytest.fixture
def instances() -> Instances:
    masks = torch.zeros(3, 8, 10, dtype=torch.bool)
    masks[0, 1:3, 1:4] = True
    masks[1, 4:8, 0:2] = True
    masks[1, 0, 9] = True
    return Instances(
        boxes=torch.tensor([[1.0, 1, 4, 3], [0, 0, 10, 8], [5, 5, 6, 6]]),
        scores=torch.tensor([0.9, 0.8, 0.7]),
        labels=torch.tensor([1, 0, 1]),
        regions=regions_of(masks),
        mask_scores=torch.tensor([0.8, 0.7, 0.6]),
        image_size=(8, 10),
        class_names=["cat", "dog"],
        category_ids=[2, 5],
        image=np.full((8, 10, 3), 100, np.uint8),
    )


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
def test_indexing_keeps_the_fields_together(instances: Instances, index: object, expected: list[int]) -> None:
    chosen = instances[index]
    assert len(chosen) == len(expected)
    for name in ("boxes", "scores", "labels", "masks", "mask_scores"):
        assert torch.equal(getattr(chosen, name), getattr(instances, name)[expected])
    assert chosen.image_size == (8, 10)
    assert chosen.class_names == ["cat", "dog"]
    assert chosen.image is instances.image


def test_iterating_gives_instances_of_one(instances: Instances) -> None:
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
        ({"classes": 0}, [1]),
        ({"classes": torch.tensor([0])}, [1]),
        ({"classes": iter([1, "cat"])}, [0, 1, 2]),
        ({"classes": []}, []),
        ({"min_score": float(np.float32(0.8))}, [0, 1]),
        ({"min_area": 9}, [1]),
        ({"min_area": 10}, []),
        ({"classes": "dog", "min_score": 0.75, "min_area": 6}, [0]),
    ],
)
def test_filter_keeps_what_meets_all_conditions(
    instances: Instances, options: dict[str, object], expected: list[int]
) -> None:
    chosen = instances.filter(**options)
    assert chosen.scores.tolist() == instances.scores[expected].tolist()
    assert chosen.regions == [instances.regions[place] for place in expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "dgo"}, "'dgo' is none of the 2 classes of this model; did you mean 'dog'?"),
        ({"classes": ["dog", "x"]}, "'x' is none of the 2 classes of this model; did you mean 'cat'?"),
        (
            {"classes": 2},
            "2 is none of the 2 classes of this model; give a name, or a number from 0 to 1.",
        ),
        ({"classes": [-1]}, "-1 is none of"),
        ({"min_score": 30}, "[0, 1], got 30"),
        ({"min_score": float("nan")}, "[0, 1], got nan"),
    ],
)
def test_filter_says_what_is_wrong(instances: Instances, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        instances.filter(**options)
    assert message in str(error.value)


def test_rle_decodes_to_the_masks(instances: Instances) -> None:
    decoded = [coco_mask.decode(rle) for rle in instances.rle()]
    assert (np.stack(decoded) == instances.masks.numpy()).all()


def test_crops_are_the_boxes_by_hand(instances: Instances) -> None:
    image = np.arange(240, dtype=np.uint8).reshape(8, 10, 3)
    instances.boxes = torch.tensor([[1.0, 1, 4, 3], [0.4, 4.6, 2.2, 7.9], [10, 8, 10, 8]])
    first, second, corner = instances.crops(image)
    assert (first == image[1:3, 1:4]).all()
    assert (second == image[4:8, 0:3]).all()
    assert (corner == image[7:, 9:]).all()  # a box without area
    first[:] = 0
    assert image[1, 1].any()  # copies


def test_crops_have_the_mask_as_alpha(instances: Instances) -> None:
    first, second, _ = instances.crops(masked=True)
    assert first.shape == (2, 3, 4)
    assert (first == [100, 100, 100, 255]).all()
    assert second.shape == (8, 10, 4)
    assert ((second[:, :, 3] == 255) == instances.masks[1].numpy()).all()
    assert set(np.unique(second[:, :, 3])) == {0, 255}


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
    shown = cv2.imdecode(np.frombuffer(drawn._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    assert (shown == drawn).all()
    assert instances.plot(np.zeros((8, 10, 3), np.uint8), masks=False, boxes=False, labels=False).max() == 0


@pytest.mark.parametrize("method", ["plot", "crops"])
def test_what_needs_a_image_says_so(instances: Instances, method: str) -> None:
    with pytest.raises(ValueError, match=r"\(8, 10\).*\(10, 8\)"):
        getattr(instances, method)(np.zeros((10, 8, 3), np.uint8))
    instances.image = None
    with pytest.raises(ValueError, match=rf"{method}\(image\)"):
        getattr(instances, method)()
    assert instances._repr_png_() is None


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
