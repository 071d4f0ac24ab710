import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolact.data.dataset import CocoDataset
from yolact.data.masks import IDENTITY, draw_masks
from yolact.errors import UserError
from yolact.ops.regions import regions_of
from yolact.structures import Instances
from yolact.tools.convert.labelme import read_labelme
from yolact.tools.convert.writing import write_conversion

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


def read_back(content: dict[str, object], folder: Path) -> list[tuple[str, np.ndarray]]:
    """Return the (class, mask) of each object that our reader of labelme's files finds in this one."""
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((*SIZE, 3), np.uint8))
    (folder / "a.json").write_text(json.dumps(content))
    [written] = write_conversion(read_labelme(folder), folder.with_name("out"), True)
    dataset = CocoDataset(written.annotations, written.folder)
    objects = dataset.objects(0)
    drawn = draw_masks([item.segmentation for item in objects], IDENTITY, SIZE) > 0
    return [(dataset.categories.names[item.label], mask) for item, mask in zip(objects, drawn, strict=True)]


def test_a_labelme_file_by_hand() -> None:
    found = np.zeros((2, *SIZE), bool)
    found[0, 2:4, 3:7] = True
    found[1, 0, 0] = found[1, 9, 9] = True
    content = make_instances(found).to_labelme("pictures/a.jpg")
    assert {key: value for key, value in content.items() if key != "shapes"} == {
        "version": "5.4.1",
        "flags": {},
        "imagePath": "pictures/a.jpg",
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


def test_labelme_files_come_back_as_the_same_masks(masks: np.ndarray, tmp_path: Path) -> None:
    content = make_instances(masks).to_labelme(Path("a.png"), tolerance=0)
    found = read_back(content, tmp_path / "labelled")
    assert [name for name, _ in found] == ["cat", "dog", "cat", "dog", "cat"]  # the empty one is left out
    for (_, mask), expected in zip(found, masks, strict=False):
        np.testing.assert_array_equal(mask, expected)


def test_random_masks_come_back_from_labelme(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(40, *SIZE)).astype(np.float32)
    masks = np.stack([cv2.GaussianBlur(layer, None, 0.5 + 0.1 * place) for place, layer in enumerate(noise)]) > 0
    found = read_back(make_instances(masks).to_labelme("a.png", 0), tmp_path / "labelled")
    for (_, mask), expected in zip(found, masks, strict=True):
        np.testing.assert_array_equal(mask, expected)


def test_fewer_points_change_smooth_masks_little(masks: np.ndarray, tmp_path: Path) -> None:
    instances = make_instances(masks[:3])
    exact, easy = instances.to_labelme("a.png", tolerance=0), instances.to_labelme("a.png")
    points = [sum(len(shape["points"]) for shape in content["shapes"]) for content in (exact, easy)]
    assert points[1] < points[0] / 3
    for (_, mask), expected in zip(read_back(easy, tmp_path / "labelled"), masks, strict=False):
        assert (mask & expected).sum() > 0.95 * (mask | expected).sum()


def test_nothing_found_is_a_labelme_file_too() -> None:
    assert make_instances(np.zeros((0, *SIZE), bool)).to_labelme("a.png")["shapes"] == []


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
    found.xyxy[:] = 0
    assert instances.boxes.any()
    assert "masks" not in vars(instances)


def test_supervision_takes_a_picture_without_objects() -> None:
    supervision = pytest.importorskip("supervision", reason="the extra 'supervision' is not installed")
    found = make_instances(np.zeros((0, *SIZE), bool)).to_supervision()
    assert len(found) == 0
    picture = np.zeros((*SIZE, 3), np.uint8)
    assert not supervision.MaskAnnotator().annotate(picture.copy(), found).any()


def test_supervision_annotates_and_counts(masks: np.ndarray) -> None:
    supervision = pytest.importorskip("supervision", reason="the extra 'supervision' is not installed")
    found = make_instances(masks[:3]).to_supervision()
    picture = np.full((*SIZE, 3), 90, np.uint8)
    drawn = supervision.MaskAnnotator(opacity=1).annotate(picture.copy(), found)
    np.testing.assert_array_equal((drawn != picture).any(axis=2), masks[:3].any(axis=0))
    labelled = supervision.LabelAnnotator().annotate(picture.copy(), found)
    assert (labelled != picture).any()
    zone = supervision.PolygonZone(np.array([[20, 0], [79, 0], [79, 59], [20, 59]]))
    assert zone.trigger(found).tolist() == [True, True, False]


def tracker() -> Callable:
    """Return the update of a ByteTrack, which newer versions of supervision leave to the package trackers."""
    supervision = pytest.importorskip("supervision", reason="the extra 'supervision' is not installed")
    if hasattr(supervision, "ByteTrack"):
        return supervision.ByteTrack().update_with_detections
    trackers = pytest.importorskip("trackers", reason="neither supervision.ByteTrack nor trackers is installed")
    return trackers.ByteTrackTracker().update


def test_a_tracker_follows_objects() -> None:
    update = tracker()
    numbers = []
    for step in range(8):
        masks = np.zeros((2, *SIZE), bool)
        masks[0, 10:30, 5 + step : 25 + step] = True
        masks[1, 35:55, 50 - step : 70 - step] = True
        order = [0, 1] if step % 2 else [1, 0]
        found = update(make_instances(masks[order], labels=order).to_supervision())
        np.testing.assert_array_equal(found.mask.reshape(-1, *SIZE)[np.argsort(found.class_id)], masks[: len(found)])
        numbers.append(dict(zip(found.class_id.tolist(), found.tracker_id.tolist(), strict=True)))
    assert set(numbers[-1]) == {0, 1}
    assert numbers[-1][0] != numbers[-1][1]
    assert numbers[-1] == numbers[-2] == numbers[-3]


def test_without_supervision_the_sentence_says_what_to_install(
    masks: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="pip install supervision"):
        make_instances(masks).to_supervision()
