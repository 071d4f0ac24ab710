from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from yolact.config.schema import AugmentConfig
from yolact.data.annotations import ObjectRecord
from yolact.data.masks import IDENTITY, Rle, decode_counts
from yolact.data.photometric import Photometric
from yolact.data.transforms import (
    Geometry,
    boxes_of,
    build_target,
    largest_reduction,
    map_boxes,
    prepare_image,
    sample_geometry,
    to_unit,
    view_matrix,
    warp_image,
)

FILL = (124, 117, 104)
ALL = AugmentConfig(flip_probability=0.5, rotate90_probability=0.5)
JITTERED = AugmentConfig(scale_jitter=(0.1, 2.0), flip_probability=0.5, rotate90_probability=0.5)
NOTHING = AugmentConfig(photometric=False, expand_probability=0, crop=False, mirror_probability=0)
SIZE = 96


def smooth_picture(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def box_record(x0: float, y0: float, x1: float, y1: float, **fields: Any) -> ObjectRecord:
    polygon = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    values = {"label": 0, "iscrowd": False, "segmentation": [polygon], "area": (x1 - x0) * (y1 - y0), "id": 1}
    return ObjectRecord(**{"bbox": (x0, y0, x1, y1), **values, **fields})


def draw(seed: int, height: int, width: int, records: list[ObjectRecord], augment: AugmentConfig) -> Geometry:
    crowds = np.array([record.iscrowd for record in records], bool)
    return sample_geometry(np.random.default_rng(seed), (height, width), boxes_of(records), crowds, augment, SIZE)


def view_of(geometry: Geometry) -> np.ndarray:
    """Return the rectangle xyxy of the picture's plane that the input shows."""
    linear, offset = geometry.matrix[:, :2], geometry.matrix[:, 2]
    corners = (np.array([[0, 0], [SIZE, SIZE]]) - offset) @ np.linalg.inv(linear).T
    return np.concatenate((corners.min(axis=0), corners.max(axis=0)))


def single_steps(picture: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Paste on a canvas, cut, mirror, flip, turn, resize: each by its plain means. RGB [3, S, S]."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = np.round(view_of(geometry)).astype(int)
    pad = 4 * max(height, width)
    canvas = np.empty((height + 2 * pad, width + 2 * pad, 3), np.uint8)
    canvas[:] = FILL[::-1]
    canvas[pad : pad + height, pad : pad + width] = picture
    result = canvas[pad + y0 : pad + y1, pad + x0 : pad + x1]
    linear = geometry.matrix[:, :2]
    turned = linear[0, 0] == 0
    if turned:  # undo the counterclockwise turn in the map to see whether it mirrors or flips
        linear = np.array([[0, -1], [1, 0]]) @ linear
    if linear[0, 0] < 0:
        result = result[:, ::-1]
    if linear[1, 1] < 0:
        result = result[::-1]
    if turned:
        result = np.rot90(result)
    return cv2.resize(np.ascontiguousarray(result), (SIZE, SIZE))[..., ::-1].transpose(2, 0, 1)


def inside_frame(geometry: Geometry, margin: float) -> np.ndarray:
    """Return bool [S, S]: pixels at least `margin` away from the border of the frame, on either side."""
    centres = np.arange(SIZE) + 0.5
    x0, y0, x1, y1 = geometry.frame
    near = np.zeros((SIZE, SIZE), bool)
    near[:, (np.abs(centres - x0) < margin) | (np.abs(centres - x1) < margin)] = True
    near[(np.abs(centres - y0) < margin) | (np.abs(centres - y1) < margin)] = True
    return ~near


def test_view_by_hand() -> None:
    np.testing.assert_allclose(view_matrix((10, 0, 50, 40), 80), [[2, 0, -20], [0, 2, 0]])
    np.testing.assert_allclose(view_matrix((-20, -10, 20, 10), 80), [[2, 0, 40], [0, 4, 40]])


def test_without_augmentation_the_picture_is_resized() -> None:
    picture = smooth_picture(64, 120)
    geometry = draw(0, 64, 120, [], NOTHING)
    assert geometry.frame == (0, 0, SIZE, SIZE)
    image = warp_image(picture, geometry, Photometric(), FILL, SIZE)
    assert image.dtype == torch.uint8
    np.testing.assert_allclose(image.int(), prepare_image(picture, SIZE).int(), atol=1)


@pytest.mark.parametrize("augment", [ALL, replace(JITTERED, scale_jitter=(0.4, 2.0))], ids=["expand, crop", "jitter"])
@pytest.mark.parametrize("seed", range(40))
def test_one_warp_equals_the_sequence_of_steps(seed: int, augment: AugmentConfig) -> None:
    picture = smooth_picture(64, 120)
    record = box_record(30, 20, 80, 50)
    geometry = draw(seed, 64, 120, [record], augment)
    image = warp_image(picture, geometry, Photometric(), FILL, SIZE).numpy().astype(int)
    difference = np.abs(image - single_steps(picture, geometry))
    # Along the frame the steps blend picture and canvas over a pixel, and the one warp does not.
    zoom = np.abs(geometry.matrix[:, :2]).max()
    assert difference[:, inside_frame(geometry, max(1.0, zoom))].max() <= 2


@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_a_rectangle_of_whole_pixels_is_cut_out_and_resized(flips: tuple[int, int]) -> None:
    picture = smooth_picture(64, 120)
    matrix = view_matrix((10, 4, 90, 60), SIZE)
    for axis, flip in enumerate(flips):
        if flip < 0:
            matrix[axis] *= -1
            matrix[axis, 2] += SIZE
    geometry = Geometry(matrix, (0, 0, SIZE, SIZE), np.ones(0, bool))
    expected = cv2.resize(picture[4:60, 10:90], (SIZE, SIZE))[:: flips[1], :: flips[0]]
    image = warp_image(picture, geometry, Photometric(), FILL, SIZE)
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected[..., ::-1])


@pytest.mark.parametrize(("view", "reduction"), [((0, 0, 192, 191), 1), ((0, 0, 192, 193), 2), ((-99, 0, 800, 768), 8)])
def test_a_picture_is_never_decoded_smaller_than_it_is_shown(view: tuple[int, int, int, int], reduction: int) -> None:
    geometry = Geometry(view_matrix(view, SIZE), (0, 0, SIZE, SIZE), np.ones(0, bool))
    assert largest_reduction(geometry) == reduction


@pytest.mark.parametrize("seed", range(12))
def test_a_picture_decoded_smaller_lands_on_the_same_place(seed: int) -> None:
    picture = cv2.resize(smooth_picture(60, 80), (640, 480), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(picture, (80, 60), interpolation=cv2.INTER_AREA)
    geometry = draw(seed, 480, 640, [], ALL)
    off = geometry.matrix.copy()
    off[:, 2] += off[:, :2] @ (4, 0)  # half a small pixel to the right
    whole, reduced, shifted = (
        warp_image(p, geometry._replace(matrix=matrix), Photometric(), FILL, SIZE, reduction).float()
        for p, matrix, reduction in ((picture, geometry.matrix, 1), (small, geometry.matrix, 8), (small, off, 8))
    )
    assert (whole - reduced).abs().mean() < 0.3 * (whole - shifted).abs().mean()


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        ({"mirror_probability": 1}, [[-2, 0, 96], [0, 4, 0]]),
        ({"mirror_probability": 0, "flip_probability": 1}, [[2, 0, 0], [0, -4, 96]]),
        ({"mirror_probability": 0, "rotate90_probability": 1}, [[0, 4, 0], [-2, 0, 96]]),
    ],
)
def test_mirror_flip_and_turn_by_hand(augment: dict[str, float], expected: list[list[float]]) -> None:
    geometry = draw(0, 24, 48, [], AugmentConfig(expand_probability=0, crop=False, **augment))
    np.testing.assert_allclose(geometry.matrix, expected)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([ALL, JITTERED]))
def test_picture_box_and_mask_stay_aligned(seed: int, as_rle: bool, augment: AugmentConfig) -> None:
    """A green rectangle on black: the mask lies on the green, and the box is that of the green."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(40, 160, 2))
    x0, y0 = int(rng.integers(0, width - 20)), int(rng.integers(0, height - 20))
    x1, y1 = int(rng.integers(x0 + 10, width + 1)), int(rng.integers(y0 + 10, height + 1))
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y0:y1, x0:x1, 1] = 255
    record = box_record(x0, y0, x1, y1)
    if as_rle:
        counts = coco_mask.encode(np.asfortranarray(picture[..., 1] // 255))["counts"]
        record = record._replace(segmentation=Rle(height, width, decode_counts(counts).astype(np.uint32)))
    geometry = draw(seed, height, width, [record], augment)
    image = warp_image(picture, geometry, Photometric(), FILL, SIZE)
    target = build_target([record], geometry, SIZE, image_id=3)
    if not geometry.kept[0]:  # too little of it is left
        assert augment is JITTERED
        assert len(target["masks"]) == 0
        return
    [mask] = target["masks"].numpy()
    [box] = target["boxes"].numpy()
    green = (image[1] >= 128).numpy() & (image[0] < 64).numpy()  # the fill is gray
    rows, columns = np.flatnonzero(green.any(axis=1)), np.flatnonzero(green.any(axis=0))
    if len(rows) == 0:
        assert min(box[2] - box[0], box[3] - box[1]) < 2
        return
    tight = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(box - tight).max() <= 1
    disagreement = cv2.erode((green != (mask > 0)).astype(np.uint8), np.ones((2, 2), np.uint8), borderValue=0)
    assert not disagreement.any()  # at most one pixel wide


def test_boxes_come_out_in_order_and_clipped_to_the_picture() -> None:
    mirrored = Geometry(np.array([[-1.0, 0, 96], [0, 1, 0]]), (0, 0, 96, 50), np.ones(1, bool))
    target = build_target([box_record(10, -5, 30, 60)], mirrored, SIZE, 0)
    assert target["boxes"].tolist() == [[66, 0, 86, 50]]
    np.testing.assert_allclose(map_boxes(np.array([[10.0, 0, 30, 60]]), mirrored.matrix), [[66, 0, 86, 60]])


def test_target_leaves_out_what_the_crop_leaves_out_and_what_is_too_thin() -> None:
    records = [
        box_record(0, 0, 9, 9, label=0),
        box_record(10, 10, 20, 20, label=1),
        box_record(30, 30, 40, 30.005, label=2),
        box_record(50, 50, 60, 60, label=3, iscrowd=True),
    ]
    geometry = Geometry(IDENTITY, (0, 0, 96, 96), np.array([False, True, True, True]))
    target = build_target(records, geometry, SIZE, image_id=17)
    assert target["labels"].tolist() == [1, 3]
    assert target["iscrowd"].tolist() == [False, True]
    assert target["boxes"].tolist() == [[10, 10, 20, 20], [50, 50, 60, 60]]
    assert target["masks"].sum(dim=(1, 2)).tolist() == [100, 100]
    assert target["image_id"] == 17
    assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
    assert (target["masks"].dtype, target["iscrowd"].dtype) == (torch.uint8, torch.bool)


def test_target_without_objects() -> None:
    target = build_target([], draw(0, 30, 40, [], ALL), SIZE, 0)
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].shape == (0,)
    assert target["masks"].shape == (0, SIZE, SIZE)
    assert target["iscrowd"].shape == (0,)


def test_the_draws_of_a_seed_stay_the_same() -> None:
    """What a run sees must not change when an augmentation that is off is added: the run would resume as another."""
    records = [box_record(50, 60, 250, 300), box_record(300, 200, 420, 260), box_record(0, 0, 9, 9, iscrowd=True)]
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        crowds = np.array([record.iscrowd for record in records])
        geometry = sample_geometry(rng, (480, 640), boxes_of(records), crowds, AugmentConfig(), SIZE)
        view = [round(edge) for edge in view_of(geometry)]
        found.append((*view, geometry.matrix[0, 0] < 0, geometry.kept.tolist(), int(rng.integers(1000))))
    assert found == [
        (95, 84, 559, 474, False, [True, True, False], 554),
        (119, 7, 376, 470, False, [True, True, False], 85),
        (-423, 81, 499, 711, False, [True, True, False], 934),
        (-364, -198, 730, 623, True, [True, True, True], 691),
        (18, 138, 615, 442, False, [True, True, False], 573),
    ]


def test_expand_and_mirror_as_often_and_as_far_as_asked() -> None:
    draws = [draw(seed, 100, 200, [], AugmentConfig(crop=False)) for seed in range(3000)]
    ratios = np.array([(view[2] - view[0]) / 200 for view in map(view_of, draws)])
    expanded = ratios[ratios > 1.005]
    assert len(expanded) / 3000 == pytest.approx(0.5, abs=0.03)
    assert expanded.mean() == pytest.approx(2.5, abs=0.1)
    assert expanded.max() == pytest.approx(4, abs=0.05)
    assert np.quantile(expanded, 0.25) == pytest.approx(1.75, abs=0.1)
    assert np.mean([geometry.matrix[0, 0] < 0 for geometry in draws]) == pytest.approx(0.5, abs=0.03)
    whole = [view[0] <= 1e-9 and view[2] >= 200 - 1e-9 for view in map(view_of, draws)]
    assert all(whole)  # the canvas always holds the picture


def test_crop_modes_sizes_and_centre_rule() -> None:
    records = [box_record(90, 40, 110, 60), box_record(10, 10, 30, 30), box_record(5, 70, 190, 90, iscrowd=True)]
    centres = (boxes_of(records)[:, :2] + boxes_of(records)[:, 2:]) / 2
    augment = AugmentConfig(expand_probability=0, mirror_probability=0)
    whole = 0
    widths, heights = [], []
    for seed in range(3000):
        geometry = draw(seed, 100, 200, records, augment)
        view = np.round(view_of(geometry)).astype(int)
        inside = ((centres > view[:2]) & (centres < view[2:])).all(axis=1)
        assert geometry.kept.tolist() == inside.tolist()
        assert geometry.kept[:2].any()
        if view.tolist() == [0, 0, 200, 100]:
            whole += 1
        else:
            widths.append((view[2] - view[0]) / 200)
            heights.append((view[3] - view[1]) / 100)
    assert whole / 3000 == pytest.approx(1 / 6, abs=0.02)
    assert min(widths) >= 0.29
    assert min(heights) >= 0.29
    assert max(*widths, *heights) <= 1
    # Uniform on the shares that these limits and the objects allow: large crops hold an object more often.
    assert np.mean(heights) > 0.65


def test_sides_and_aspect_of_crops() -> None:
    augment = AugmentConfig(expand_probability=0, mirror_probability=0)
    views = np.array([view_of(draw(seed, 1000, 1000, [], augment)) for seed in range(1500)])
    sides = views[:, 2:] - views[:, :2]
    np.testing.assert_allclose(sides.min(axis=0), 300, atol=20)  # width and height
    assert sides.max() == 1000
    aspects = sides[:, 1] / sides[:, 0]
    assert aspects.min() == pytest.approx(0.5, abs=0.03)
    assert aspects.max() == pytest.approx(2, abs=0.06)


def test_crop_of_a_picture_without_objects_or_with_crowds_alone() -> None:
    augment = AugmentConfig(expand_probability=0)
    for records in ([], [box_record(0, 0, 1, 1, iscrowd=True)]):
        draws = [draw(seed, 100, 100, records, augment) for seed in range(600)]
        whole = np.mean([geometry.matrix[1, 1] == pytest.approx(SIZE / 100) for geometry in draws])
        assert whole == pytest.approx(1 / 6, abs=0.06)


def test_jitter_by_hand() -> None:
    """A picture of 24 x 48 in an input of 96 pixels: at half the scale it takes 48 x 48 of them, anywhere."""
    still = {"mirror_probability": 0.0, "scale_jitter": (0.5, 0.5)}
    frames = np.array([draw(seed, 24, 48, [], AugmentConfig(**still)).frame for seed in range(300)])
    np.testing.assert_allclose(frames[:, 2:] - frames[:, :2], 48)
    np.testing.assert_allclose(frames.min(axis=0), [0, 0, 48, 48])
    np.testing.assert_allclose(frames.max(axis=0), [48, 48, 96, 96])
    twice = AugmentConfig(mirror_probability=0, scale_jitter=(2, 2))
    views = np.array([view_of(draw(seed, 24, 48, [], twice)) for seed in range(300)])
    np.testing.assert_allclose(views[:, 2:] - views[:, :2], np.tile([24, 12], (300, 1)))
    np.testing.assert_allclose(views.min(axis=0), [0, 0, 24, 12], atol=1e-9)
    np.testing.assert_allclose(views.max(axis=0), [24, 12, 48, 24])


def test_jitter_takes_the_place_of_expand_and_crop() -> None:
    one = AugmentConfig(expand_probability=1, mirror_probability=0, scale_jitter=(1, 1))
    np.testing.assert_allclose([draw(seed, 60, 80, [], one).matrix[0] for seed in range(9)], [[1.2, 0, 0]] * 9)


def test_jitter_keeps_what_shows_a_pixel() -> None:
    """At a tenth of the scale 25 pixels of this picture's width and 10 of its height make one of the input."""
    records = [box_record(10, 10, 40, 25), box_record(10, 10, 30, 90), box_record(10, 10, 200, 15)]
    tenth = AugmentConfig(scale_jitter=(0.1, 0.1))
    for seed in range(20):
        assert draw(seed, 96, 240, records, tenth).kept.tolist() == [True, False, False]
    halves = [box_record(0, 0, 100, 100), box_record(-50, 0, 0.2, 100)]  # all of the picture, and hardly any of it
    for scale in (0.5, 2):
        kept = [draw(seed, 100, 100, halves, AugmentConfig(scale_jitter=(scale, scale))).kept for seed in range(50)]
        assert np.array(kept).tolist() == [[True, False]] * 50  # also where a crop does not hold the centre


@pytest.mark.parametrize("augment", [ALL, replace(JITTERED, scale_jitter=(0.1, 9))], ids=["expand, crop", "jitter"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 7)])
def test_pictures_of_odd_shape_come_through(height: int, width: int, augment: AugmentConfig) -> None:
    picture = np.full((height, width, 3), 200, np.uint8)
    record = box_record(0, 0, width, height)
    for seed in range(20):
        geometry = draw(seed, height, width, [record], augment)
        assert warp_image(picture, geometry, Photometric(), FILL, SIZE).shape == (3, SIZE, SIZE)
        assert len(build_target([record], geometry, SIZE, 0)["labels"]) <= 1


def test_colours_change_in_the_picture_and_never_in_the_fill() -> None:
    geometry = Geometry(view_matrix((-50, -50, 100, 100), SIZE), (32, 32, 64, 64), np.ones(0, bool))
    image = warp_image(np.full((50, 50, 3), 100, np.uint8), geometry, Photometric(brightness=20), FILL, SIZE)
    assert image[:, 0, 0].tolist() == list(FILL)
    assert image[:, 31, 40].tolist() == list(FILL)
    assert image[:, 32, 32].tolist() == image[:, 63, 63].tolist() == [120, 120, 120]
    assert (image == 120).all(dim=0).sum() == 32 * 32


@pytest.mark.parametrize(("edge", "first"), [(31.4, 31), (31.6, 32)])
def test_the_picture_covers_the_pixels_whose_centre_it_covers(edge: float, first: int) -> None:
    geometry = Geometry(np.array([[1, 0, edge], [0, 1, 0]]), (edge, 0, SIZE, SIZE), np.ones(0, bool))
    image = warp_image(np.full((SIZE, SIZE, 3), 200, np.uint8), geometry, Photometric(), FILL, SIZE)
    assert image[0, 0].tolist() == [FILL[0]] * first + [200] * (SIZE - first)


def test_prepared_pictures_are_rgb_and_stretched() -> None:
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, :20] = (1, 2, 3)
    image = prepare_image(picture, 10)
    assert image.shape == (3, 10, 10)
    assert image.dtype == torch.uint8
    assert image[:, 0, 0].tolist() == [3, 2, 1]
    assert image[:, 9, 9].tolist() == [0, 0, 0]


def test_to_unit() -> None:
    unit = to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8))
    assert unit.dtype == torch.float32
    np.testing.assert_allclose(unit, [0, 0.2, 1])
