import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from yolact.data.masks import IDENTITY, draw_masks
from yolact.errors import UserError
from yolact.instances import Instances
from yolact.ops.regions import regions_of

SIZE = (60, 80)


def make_instances(masks: np.ndarray, labels: list[int] | None = None) -> Instances:
    """Return cats and dogs with these masks, each in a box that holds it."""
    regions = regions_of(masks)
    corners = [(r.left, r.top, r.left + r.width, r.top + r.height) for r in regions]
    count = len(regions)
    return Instances(
        boxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        scores=torch.linspace(0.9, 0.7, count),
        labels=torch.tensor(labels if labels is not None else [n % 2 for n in range(count)], dtype=torch.int64),
        regions=regions,
        mask_scores=torch.linspace(0.8, 0.6, count),
        image_size=(masks.shape[1], masks.shape[2]),
        class_names=["cat", "dog"],
        category_ids=[3, 8],
    )


@pytest.fixture
def masks() -> np.ndarray:
    """Return bool [6, H, W]: a rectangle, a ring with an island, two parts, a comb, speckles, and nothing."""
    found = np.zeros((6, *SIZE), bool)
    found[0, 10:20, 30:50] = True
    cv2.circle(ring := np.zeros(SIZE, np.uint8), (40, 30), 25, 1, -1)
    cv2.circle(ring, (36, 28), 12, 0, -1)
    cv2.circle(ring, (52, 40), 4, 0, -1)
    cv2.circle(ring, (36, 28), 5, 1, -1)
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
    assert {key: value for key, value in content.items() if key != "shapes"} == {
        "version": "5.4.1",
        "flags": {},
        "imagePath": "photos/a.jpg",
        "imageData": None,
        "imageHeight": 60,
        "imageWidth": 80,
    }
    first, *parts = content["shapes"]
    assert sorted(first.pop("points")) == [[3.25, 2.25], [3.25, 3.75], [6.75, 2.25], [6.75, 3.75]]
    assert first == {
        "label": "cat",
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {},
        "mask": None,
    }
    assert [(part["label"], part["group_id"]) for part in parts] == [("dog", 2)] * 2


def test_labelme_files_come_back_as_the_same_masks(masks: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(size=(20, *SIZE)).astype(np.float32)
    smooth = [cv2.GaussianBlur(layer, None, 0.5 + 0.2 * place) for place, layer in enumerate(noise)]
    masks = np.concatenate([np.stack(smooth) > 0, masks])
    found = read_back(make_instances(masks).to_labelme(Path("a.png"), tolerance=0))
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


@pytest.mark.parametrize("tolerance", [-1, float("nan")])
def test_a_tolerance_below_zero_is_refused(masks: np.ndarray, tolerance: float) -> None:
    with pytest.raises(UserError, match=f"0 or more pixels, got {tolerance}"):
        make_instances(masks).to_labelme("a.png", tolerance)


def test_supervision_detections_hold_everything(masks: np.ndarray) -> None:
    pytest.importorskip("supervision", reason="the extra 'supervision' is not installed")
    instances = make_instances(masks)
    found = instances.to_supervision()
    assert len(found) == 6
    np.testing.assert_array_equal(found.xyxy, instances.boxes)
    np.testing.assert_array_equal(found.mask, masks)
    np.testing.assert_array_equal(found.confidence, instances.scores)
    assert found.class_id.tolist() == [0, 1] * 3
    assert found.data["class_name"].tolist() == ["cat", "dog"] * 3
    assert [item.tolist() for item in found[found.confidence > 0.8]["class_name"]] == ["cat", "dog", "cat"]
    assert len(make_instances(np.zeros((0, *SIZE), bool)).to_supervision()) == 0
    found.xyxy[:] = 0
    assert instances.boxes.any()
    assert "masks" not in vars(instances)


def test_without_supervision_the_sentence_says_what_to_install(
    masks: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="pip install supervision"):
        make_instances(masks).to_supervision()
