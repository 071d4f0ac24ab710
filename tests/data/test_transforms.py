from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tests.data.conftest import augmented, box_record
from yolact.config.schema import AugmentConfig
from yolact.data.annotations import ObjectRecord
from yolact.data.rendering import FILL, build_target, frame_of, largest_reduction, prepare_image, render_image, to_unit
from yolact.data.segmentations import Rle, decode_counts
from yolact.data.transforms import Sample, map_boxes, view_matrix
from yolact.structures import Resize, Target

NOTHING = AugmentConfig(photometric=False, expand_probability=0, crop=False, mirror_probability=0)
ALL = AugmentConfig(photometric=False, flip_probability=0.5, rotate90_probability=0.5)
JITTERED = replace(ALL, scale_jitter=(0.1, 2.0))
SIZE = 96
SQUARE = Resize((SIZE, SIZE))


def smooth_image(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def draw(seed: int, height: int, width: int, records: list[ObjectRecord], augment: AugmentConfig) -> Sample:
    return augmented(np.random.default_rng(seed), Sample((height, width), records, SQUARE), augment)


def moved(matrix: Any, records: Any = (), image_size: tuple[int, int] = (SIZE, SIZE)) -> Sample:
    """Return a sample whose whole map is `matrix`."""
    sample = Sample(image_size, records, SQUARE)
    sample.view = (0, 0, SIZE, SIZE)
    sample.apply(matrix)
    return sample


def viewed(view: tuple[int, int, int, int], image_size: tuple[int, int]) -> Sample:
    sample = Sample(image_size, [], SQUARE)
    sample.view = view
    return sample


def single_steps(image: np.ndarray, sample: Sample) -> np.ndarray:
    """Paste on a canvas, cut, mirror, flip, turn, resize: each by its plain means. RGB [3, S, S]."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = sample.view
    pad = 4 * max(height, width)
    canvas = np.empty((height + 2 * pad, width + 2 * pad, 3), np.uint8)
    canvas[:] = FILL[::-1]
    canvas[pad : pad + height, pad : pad + width] = image
    result = canvas[pad + y0 : pad + y1, pad + x0 : pad + x1]
    linear = sample.matrix[:, :2]
    turned = linear[0, 0] == 0
    if turned:  # undo the counterclockwise turn in the map to see whether it mirrors or flips
        linear = np.array([[0, -1], [1, 0]]) @ linear
    result = result[:: -1 if linear[1, 1] < 0 else 1, :: -1 if linear[0, 0] < 0 else 1]
    if turned:
        result = np.rot90(result)
    return cv2.resize(np.ascontiguousarray(result), (SIZE, SIZE))[..., ::-1].transpose(2, 0, 1)


def inside_frame(sample: Sample, margin: float) -> np.ndarray:
    """Return bool [S, S]: pixels at least `margin` away from the border of the frame, on either side."""
    centres = np.arange(SIZE) + 0.5
    x0, y0, x1, y1 = frame_of(sample)
    near = np.zeros((SIZE, SIZE), bool)
    near[:, (np.abs(centres - x0) < margin) | (np.abs(centres - x1) < margin)] = True
    near[(np.abs(centres - y0) < margin) | (np.abs(centres - y1) < margin)] = True
    return ~near


def test_view_by_hand() -> None:
    np.testing.assert_allclose(view_matrix((10, 0, 50, 40), Resize((80, 80))), [[2, 0, -20], [0, 2, 0]])
    np.testing.assert_allclose(view_matrix((-20, -10, 20, 10), Resize((80, 80))), [[2, 0, 40], [0, 4, 40]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[2, 0, 0], [0, 4, 0]]),
        ({"mirror_probability": 1}, [[-2, 0, 96], [0, 4, 0]]),
        ({"flip_probability": 1}, [[2, 0, 0], [0, -4, 96]]),
        ({"rotate90_probability": 1}, [[0, 4, 0], [-2, 0, 96]]),
    ],
)
def test_mirror_flip_and_turn_by_hand(options: dict[str, float], expected: list[list[float]]) -> None:
    np.testing.assert_allclose(draw(0, 24, 48, [], replace(NOTHING, **options)).matrix, expected)


@pytest.mark.parametrize("augment", [ALL, replace(JITTERED, scale_jitter=(0.4, 2.0))], ids=["expand, crop", "jitter"])
@pytest.mark.parametrize("seed", range(30))
def test_one_warp_equals_the_sequence_of_steps(seed: int, augment: AugmentConfig) -> None:
    image = smooth_image(64, 120)
    sample = draw(seed, 64, 120, [box_record(30, 20, 80, 50)], augment)
    difference = np.abs(render_image(image, sample).numpy().astype(int) - single_steps(image, sample))
    # Along the frame the steps blend image and canvas over a pixel, and the one warp does not.
    zoom = np.abs(sample.matrix[:, :2]).max()
    assert difference[:, inside_frame(sample, max(1.0, zoom))].max() <= 2


@pytest.mark.parametrize("flips", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_a_rectangle_of_whole_pixels_is_cut_out_and_resized(flips: tuple[int, int]) -> None:
    image, sample = smooth_image(64, 120), viewed((10, 4, 90, 60), (64, 120))
    sample.apply([[flips[0], 0, SIZE * (flips[0] < 0)], [0, flips[1], SIZE * (flips[1] < 0)]])
    expected = cv2.resize(image[4:60, 10:90], (SIZE, SIZE))[:: flips[1], :: flips[0]]
    np.testing.assert_array_equal(render_image(image, sample).permute(1, 2, 0).numpy(), expected[..., ::-1])


@pytest.mark.parametrize(("view", "reduction"), [((0, 0, 192, 191), 1), ((0, 0, 192, 193), 2), ((-99, 0, 800, 768), 8)])
def test_an_image_is_never_decoded_smaller_than_it_is_shown(view: tuple[int, int, int, int], reduction: int) -> None:
    assert largest_reduction(viewed(view, (768, 800))) == reduction


@pytest.mark.parametrize("seed", range(12))
def test_an_image_decoded_smaller_lands_on_the_same_place(seed: int) -> None:
    image = cv2.resize(smooth_image(60, 80), (640, 480), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA)
    sample, shifted = draw(seed, 480, 640, [], ALL), draw(seed, 480, 640, [], ALL)
    x0, y0, x1, y1 = sample.view
    shifted.view = (x0 - 4, y0, x1 - 4, y1)  # half a small pixel to the right
    whole, reduced = render_image(image, sample).float(), render_image(small, sample, 8).float()
    assert (whole - reduced).abs().mean() < 0.3 * (whole - render_image(small, shifted, 8)).abs().mean()


def assert_aligned(image: torch.Tensor, target: Target) -> None:
    """Require the mask to lie on what is green, and the box to be that of what is green."""
    mask, box = target["masks"][0].numpy(), target["boxes"][0].numpy()
    green = (image[1] >= 128).numpy() & (image[0] < 64).numpy()  # the fill is gray
    rows, columns = np.flatnonzero(green.any(axis=1)), np.flatnonzero(green.any(axis=0))
    if len(rows) == 0:
        assert min(box[2] - box[0], box[3] - box[1]) < 2
        return
    tight = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(box - tight).max() <= 1
    disagreement = cv2.erode((green != (mask > 0)).astype(np.uint8), np.ones((2, 2), np.uint8), borderValue=0)
    assert not disagreement.any()  # at most one pixel wide


def green_rectangle(height: int, width: int, box: tuple[int, int, int, int], as_rle: bool) -> tuple[Any, ObjectRecord]:
    x0, y0, x1, y1 = box
    image = np.zeros((height, width, 3), np.uint8)
    image[y0:y1, x0:x1, 1] = 255
    record = box_record(*box)
    if as_rle:
        counts = coco_mask.encode(np.asfortranarray(image[..., 1] // 255))["counts"].decode()
        record = record._replace(segmentation=Rle(height, width, decode_counts(counts).astype(np.uint32)))
    return image, record


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([ALL, JITTERED]))
def test_image_box_and_mask_stay_aligned(seed: int, as_rle: bool, augment: AugmentConfig) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(40, 160, 2))
    x0, y0 = int(rng.integers(0, width - 20)), int(rng.integers(0, height - 20))
    x1, y1 = int(rng.integers(x0 + 10, width + 1)), int(rng.integers(y0 + 10, height + 1))
    image, record = green_rectangle(height, width, (x0, y0, x1, y1), as_rle)
    sample = draw(seed, height, width, [record], augment)
    target = build_target(sample, image_id=3)
    if not sample.kept[0]:  # too little of it is left
        assert augment is JITTERED
        assert len(target["masks"]) == 0
        return
    assert_aligned(render_image(image, sample), target)


class Rotate:
    """A transform as a user writes it: a turn by a few degrees around the middle of the input."""

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        angle, middle = np.radians(rng.uniform(5, 15)), sample.size[0] / 2
        cos, sin = np.cos(angle), np.sin(angle)
        sample.apply([[cos, -sin, middle * (1 - cos + sin)], [sin, cos, middle * (1 - sin - cos)]])
        return sample


@pytest.mark.parametrize("as_rle", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_a_rotation_of_ones_own_moves_image_boxes_and_masks_alike(seed: int, as_rle: bool) -> None:
    image, record = green_rectangle(100, 140, (50, 30, 100, 75), as_rle)
    sample = Rotate()(np.random.default_rng(seed), Sample((100, 140), [record], SQUARE))
    target, rendered = build_target(sample, 0), render_image(image, sample)
    assert_aligned(rendered, target)
    assert rendered[:, 0, 0].tolist() == list(FILL)  # what the image does not cover


def test_pixels_change_within_the_image_alone_in_the_order_asked_for() -> None:
    sample = viewed((-50, -50, 100, 100), (50, 50))
    seen = []
    sample.change_pixels(lambda pixels: seen.append(pixels.shape) or pixels + np.array([1, 2, 3], np.uint8))
    sample.change_pixels(lambda pixels: pixels * np.uint8(2))
    image = render_image(np.full((50, 50, 3), 100, np.uint8), sample)
    assert seen == [(32, 32, 3)]
    assert image[:, 32, 32].tolist() == image[:, 63, 63].tolist() == [206, 204, 202]  # RGB of BGR
    assert image[:, 31, 40].tolist() == list(FILL)
    assert (image[0] == 206).sum() == 32 * 32


def test_boxes_come_out_in_order_and_clipped_to_the_image() -> None:
    mirrored = moved([[-1, 0, 96], [0, 1, 0]], [box_record(10, -5, 30, 60)], (50, SIZE))
    assert build_target(mirrored, 0)["boxes"].tolist() == [[66, 0, 86, 50]]
    np.testing.assert_allclose(map_boxes(np.array([[10.0, 0, 30, 60]]), mirrored.matrix), [[66, 0, 86, 60]])


def test_target_leaves_out_what_the_crop_leaves_out_and_what_is_too_thin() -> None:
    records = [
        box_record(0, 0, 9, 9, label=0),
        box_record(10, 10, 20, 20, label=1),
        box_record(30, 30, 40, 30.005, label=2),
        box_record(50, 50, 60, 60, label=3, iscrowd=True),
    ]
    sample = Sample((SIZE, SIZE), records, SQUARE)
    sample.kept[0] = False
    target = build_target(sample, image_id=17)
    assert target["labels"].tolist() == [1, 3]
    assert target["iscrowd"].tolist() == [False, True]
    assert target["boxes"].tolist() == [[10, 10, 20, 20], [50, 50, 60, 60]]
    assert target["masks"].sum(dim=(1, 2)).tolist() == [100, 100]
    assert target["image_id"] == 17
    assert (target["boxes"].dtype, target["labels"].dtype) == (torch.float32, torch.int64)
    assert (target["masks"].dtype, target["iscrowd"].dtype) == (torch.uint8, torch.bool)
    empty = build_target(draw(0, 30, 40, [], ALL), 0)
    assert [tuple(empty[key].shape) for key in ("boxes", "labels", "masks")] == [(0, 4), (0,), (0, SIZE, SIZE)]


def test_the_draws_of_a_seed_stay_the_same() -> None:
    """What a run sees must not change when an augmentation that is off is added: the run would resume as another."""
    records = [box_record(50, 60, 250, 300), box_record(300, 200, 420, 260), box_record(0, 0, 9, 9, iscrowd=True)]
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        sample = augmented(rng, Sample((480, 640), records, SQUARE), AugmentConfig(photometric=False))
        found.append((*sample.view, sample.matrix[0, 0] < 0, sample.kept.tolist(), int(rng.integers(1000))))
    assert found == [
        (95, 84, 559, 474, False, [True, True, False], 554),
        (119, 7, 376, 470, False, [True, True, False], 85),
        (-423, 81, 499, 711, False, [True, True, False], 934),
        (-364, -198, 730, 623, True, [True, True, True], 691),
        (18, 138, 615, 442, False, [True, True, False], 573),
    ]


def test_crop_of_an_image_without_objects_or_with_crowds_alone() -> None:
    for records in ([], [box_record(0, 0, 1, 1, iscrowd=True)]):
        draws = [draw(seed, 100, 100, records, replace(NOTHING, crop=True)) for seed in range(600)]
        assert np.mean([sample.view == (0, 0, 100, 100) for sample in draws]) == pytest.approx(1 / 6, abs=0.06)


def test_jitter_by_hand() -> None:
    """An image of 24 x 48 in an input of 96 pixels: at half the scale it takes 48 x 48 of them, anywhere."""
    half, twice = (replace(NOTHING, scale_jitter=(scale, scale)) for scale in (0.5, 2))
    frames = np.array([frame_of(draw(seed, 24, 48, [], half)) for seed in range(300)])
    np.testing.assert_allclose(frames[:, 2:] - frames[:, :2], 48)
    np.testing.assert_allclose([frames.min(axis=0), frames.max(axis=0)], [[0, 0, 48, 48], [48, 48, 96, 96]])
    views = np.array([draw(seed, 24, 48, [], twice).view for seed in range(300)])
    np.testing.assert_allclose(views[:, 2:] - views[:, :2], np.tile([24, 12], (300, 1)))
    np.testing.assert_allclose([views.min(axis=0), views.max(axis=0)], [[0, 0, 24, 12], [24, 12, 48, 24]])


def test_jitter_keeps_what_shows_a_pixel() -> None:
    """At a tenth of the scale 25 pixels of this image's width and 10 of its height make one of the input."""
    records = [box_record(10, 10, 40, 25), box_record(10, 10, 30, 90), box_record(10, 10, 200, 15)]
    for seed in range(20):
        assert draw(seed, 96, 240, records, replace(ALL, scale_jitter=(0.1, 0.1))).kept.tolist() == [True, False, False]
    halves = [box_record(0, 0, 100, 100), box_record(-50, 0, 0.2, 100)]  # all of the image, and hardly any of it
    for scale in (0.5, 2):
        draws = [draw(seed, 100, 100, halves, replace(ALL, scale_jitter=(scale, scale))) for seed in range(50)]
        assert [sample.kept.tolist() for sample in draws] == [[True, False]] * 50  # also where a crop misses the centre


@pytest.mark.parametrize("augment", [ALL, replace(JITTERED, scale_jitter=(0.1, 9))], ids=["expand, crop", "jitter"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 7)])
def test_images_of_odd_shape_come_through(height: int, width: int, augment: AugmentConfig) -> None:
    image, record = np.full((height, width, 3), 200, np.uint8), box_record(0, 0, width, height)
    for seed in range(20):
        sample = draw(seed, height, width, [record], augment)
        assert render_image(image, sample).shape == (3, SIZE, SIZE)
        assert len(build_target(sample, 0)["labels"]) <= 1


@pytest.mark.parametrize(("edge", "first"), [(31.4, 31), (31.6, 32)])
def test_the_image_covers_the_pixels_whose_centre_it_covers(edge: float, first: int) -> None:
    image = render_image(np.full((SIZE, SIZE, 3), 200, np.uint8), moved([[1, 0, edge], [0, 1, 0]]))
    assert image[0, 0].tolist() == [FILL[0]] * first + [200] * (SIZE - first)


def test_prepared_images_are_rgb_stretched_and_become_shares() -> None:
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, :20] = (0, 51, 255)
    prepared = prepare_image(image, Resize((10, 10)))
    assert (prepared.shape, prepared.dtype) == ((3, 10, 10), torch.uint8)
    assert prepared[:, 0, 0].tolist() == [255, 51, 0]
    assert prepared[:, 9, 9].tolist() == [0, 0, 0]
    torch.testing.assert_close(to_unit(prepared)[:, 0, 0], torch.tensor([1, 0.2, 0]))
