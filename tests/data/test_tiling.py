"""Training on parts of images: where they lie, and what they show of the objects."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.conftest import box_record, rectangle
from yolact.data.annotations import ImageRecord, ObjectRecord
from yolact.data.dataset import CocoDataset
from yolact.data.loader import Place, TrainingSet
from yolact.data.segmentations import IDENTITY, Rle, draw_masks
from yolact.data.tiling import draw_view, objects_in, shown_parts
from yolact.data.transforms import boxes_of
from yolact.structures import Resize, Tiles

SIZE = (90, 120)  # (H, W) of the image


def rle(x0, y0, x1, y1):
    mask = np.zeros(SIZE, np.uint8)
    mask[y0:y1, x0:x1] = 1
    mask[y0:y1:3, x0:x1:2] = 0  # holes
    mask[y0, x0] = mask[y1 - 1, x1 - 1] = 1
    edges = np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0))
    runs = np.diff([0, *edges, mask.size]).astype(np.uint32)
    return ObjectRecord(0, (x0, y0, x1, y1), False, Rle(*SIZE, runs), float(mask.sum()), 1)


def arrays(*objects):
    return np.array([item.label for item in objects], np.int64), boxes_of(objects)


def test_objects_of_a_part_by_hand():
    view = (20, 10, 60, 50)
    objects = [
        box_record(25, 15, 35, 30, label=1),
        box_record(50, 40, 80, 70),
        box_record(0, 0, 20, 20),
        box_record(0, 0, 20.5, 20),
    ]
    first, second = objects_in(objects, view)
    assert (first.bbox, first.label, first.area) == ((5, 5, 15, 20), 1, 150)
    np.testing.assert_array_equal(first.segmentation[0][0], (5, 5))
    assert second.bbox == (30, 30, 40, 40)
    assert objects_in([box_record(5, 5, 130, 130, iscrowd=True)], view)[0].iscrowd
    loose = rle(0, 0, 10, 8)._replace(bbox=(0, 0, 60, 60))  # of which the part shows the box, and nothing of the mask
    assert not draw_masks([objects_in([loose], view)[0].segmentation], IDENTITY, (40, 40)).any()
    before = rle(100, 70, 110, 80)._replace(bbox=(0, 0, 110, 80))
    assert not draw_masks([objects_in([before], view)[0].segmentation], IDENTITY, (40, 40)).any()


@given(st.data())
def test_masks_of_a_part_are_those_of_the_image(data):
    x0, y0 = data.draw(st.integers(0, 100)), data.draw(st.integers(0, 70))
    box = (x0, y0, data.draw(st.integers(x0 + 3, 120)), data.draw(st.integers(y0 + 3, 90)))
    left, top = data.draw(st.integers(0, 80)), data.draw(st.integers(0, 50))
    view = (left, top, left + 40, top + 40)
    for item in (box_record(*box), rle(*box)):
        found = objects_in([item], view)
        inside = draw_masks([item.segmentation], IDENTITY, SIZE)[0, top : top + 40, left : left + 40]
        assert found or not inside.any()
        if found:
            np.testing.assert_array_equal(draw_masks([found[0].segmentation], IDENTITY, (40, 40))[0], inside)
            if isinstance(found[0].segmentation, Rle):
                assert found[0].segmentation.runs.sum() == 1600


def test_half_of_the_parts_hold_an_object_of_a_class_drawn_first():
    """A hundred objects of one class, one of another: it is seen in a quarter of the parts, not in a hundredth."""
    rng, size = np.random.default_rng(0), (1000, 1000)
    rare = box_record(500, 950, 560, 980, label=1)
    common = [box_record(x, y, x + 10, y + 10) for x in range(0, 1000, 100) for y in range(0, 900, 100)]
    seen, whole = Counter(), 0
    for _ in range(400):
        view = draw_view(rng, size, *arrays(*common, rare), (80, 100))
        assert (view[2] - view[0], view[3] - view[1]) == (100, 80)
        assert min(view) >= 0
        assert max(view) <= 1000
        labels = {item.label: item.bbox for item in objects_in([*common, rare], view)}
        seen.update(labels.keys())
        whole += labels.get(1, (0, 0, 0, 0))[2:] > (0, 0) and rare.bbox[0] >= view[0] and rare.bbox[2] <= view[2]
    assert 80 < seen[1] < 130
    assert whole > 0.9 * seen[1]


def test_a_part_of_a_small_image_or_of_a_large_object():
    rng = np.random.default_rng(0)
    assert draw_view(rng, (50, 60), *arrays(), (80, 80)) == (0, 0, 60, 50)
    assert {draw_view(rng, (80, 82), *arrays(), (80, 80))[0] for _ in range(100)} == {0, 1, 2}
    views = [draw_view(rng, (500, 500), *arrays(box_record(100, 100, 400, 400)), (80, 80)) for _ in range(100)]
    assert all(0 <= view[0] <= 420 for view in views)
    assert len(set(views)) > 90
    inside = [100 <= left <= 320 and 100 <= top <= 320 for left, top, *_ in views]
    assert sum(inside) > 50  # the half around the object, all of them within it, and some of the others


def test_every_object_is_shown_once_and_where_most_of_it_is():
    image, tiles = ImageRecord(1, "a.png", 100, 180), Tiles((100, 100), 20)
    objects = [box_record(10, 10, 20, 20), box_record(70, 10, 110, 20), box_record(90, 50, 170, 60)]
    assert list(shown_parts(image, objects, None)) == [(image, objects)]
    (left, first), (right, second) = shown_parts(image, objects, tiles)
    assert (left.width, left.height, right.width) == (100, 100, 100)
    assert [item.bbox for item in first] == [(10, 10, 20, 20), (70, 10, 100, 20)]
    assert [item.bbox for item in second] == [(10, 50, 90, 60)]
    assert [part for _, part in shown_parts(image, [], tiles)] == [[], []]


@pytest.fixture
def dataset(write_set):
    return CocoDataset(*write_set())


def test_samples_show_parts_at_their_own_size(dataset):
    """Three images of 40 x 60, each in two rows of two tiles. The input has the size of a tile, so no pixel moves."""
    samples = TrainingSet(dataset, Resize((32, 32)), [], seed=3, tiles=Tiles((32, 32), 0))
    assert len(samples) == 12
    whole = {index: dataset.load_image(index)[..., ::-1] for index in range(3)}
    masks = draw_masks([item.segmentation for item in dataset.objects(0)], IDENTITY, (40, 60))
    found = 0
    for position in range(20):
        image, target, _ = samples[Place(position, position % 12)]
        index = position % 12 // 4
        pixels = image.permute(1, 2, 0).numpy()
        places = [
            (top, left) for top in range(9) for left in range(29)
            if (whole[index][top : top + 32, left : left + 32] == pixels).all()
        ]  # fmt: skip
        assert places
        if index == 0 and len(places) == 1:
            (top, left), found = places[0], found + 1
            expected = masks[:, top : top + 32, left : left + 32]
            expected = expected[expected.any((1, 2))]
            np.testing.assert_array_equal(target["masks"], expected)
    assert found > 3


def test_an_unreadable_image_is_skipped_once_for_all_of_its_parts(write_set):
    annotations, folder = write_set()
    (folder / "a.png").write_bytes(b"broken")
    samples = TrainingSet(
        CocoDataset(annotations, folder), Resize((32, 32)), [], 0, unreadable="skip", tiles=Tiles((32, 32), 0)
    )
    *_, skipped = samples[Place(0, 1)]
    assert len(skipped) == 1
    assert "a.png" in skipped[0]


def test_objects_of_a_data_set_in_a_part(dataset):
    assert [item.label for item in dataset.objects(0)] == [2, 0]  # ids 42 and 7
    assert [item.label for item in dataset.objects(0, (5, 0, 60, 40))] == [2]
    assert dataset.objects(0, (30, 20, 60, 40)) == []
    labels, boxes = dataset.labels_and_boxes(0)  # without the crowd region
    assert (labels.tolist(), boxes.tolist()) == ([2], [[10, 5, 30, 20]])


def test_most_objects_of_a_tile_and_their_usual_size(dataset):
    assert dataset.most_objects() == (1, 1)  # crowd regions do not count
    assert dataset.most_objects(Tiles((32, 32), 4)) == (1, 1)
    np.testing.assert_array_equal(np.sort(dataset.longest_sides), [10, 20])


def test_most_objects_by_hand(write_set):
    def more(content):
        places = ((1, 1), (2, 20), (40, 20), (45, 20), (50, 20))
        content["annotations"][2:] = [rectangle(20 + n, 4, 7, *place, 8, 8) for n, place in enumerate(places)]

    dataset = CocoDataset(*write_set(more))
    assert dataset.most_objects() == (5, 5)
    assert dataset.most_objects(Tiles((40, 32), 4)) == (3, 3)  # of columns 0 to 31, and 28 to 59
