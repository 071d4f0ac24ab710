import numpy as np
import pytest
import torch

from yolact.structures import Instances


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
        masks=masks,
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
        (torch.tensor([], dtype=torch.bool)[:0].new_zeros(3), []),
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


def test_to_coco_gives_the_category_ids_of_the_annotation_file(instances: Instances) -> None:
    records = instances.to_coco(image_id=4)
    assert [record["category_id"] for record in records] == [5, 2, 5]
    assert {record["image_id"] for record in records} == {4}


def test_polygons_has_one_list_per_instance_and_one_polygon_per_part(instances: Instances) -> None:
    assert [len(parts) for parts in instances.polygons()] == [1, 2, 0]


def test_plot_draws_on_the_kept_picture_or_on_another(instances: Instances) -> None:
    before = instances.image.copy()
    drawn = instances.plot()
    assert drawn.shape == (8, 10, 3)
    assert (drawn != before).any()
    assert (instances.image == before).all()
    assert instances.plot(np.zeros((8, 10, 3), np.uint8), masks=False, boxes=False, labels=False).max() == 0


def test_plot_without_a_picture_says_what_to_do(instances: Instances) -> None:
    instances.image = None
    with pytest.raises(ValueError, match=r"plot\(image\)"):
        instances.plot()
