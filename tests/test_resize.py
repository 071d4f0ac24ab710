"""How images become the network input and results come back: stretched or padded, into squares and other rectangles."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.data.conftest import augmented, box_record
from yolact.config import Config, EvalConfig, LossConfig, override_config
from yolact.config.schema import AugmentConfig
from yolact.data.rendering import FILL, build_target, prepare_image, render_image
from yolact.data.transforms import FLIP, MIRROR, Sample, map_boxes, turn, view_matrix
from yolact.errors import ConfigError
from yolact.losses.assigners import Candidates, MaxIoUAssigner
from yolact.models.heads import AnchorHead, make_anchors
from yolact.models.points import PointHead, make_points
from yolact.ops.boxes import unit_boxes
from yolact.ops.masks import align
from yolact.postprocess import Detector
from yolact.structures import Detections, Resize, Target, join_targets

SIDES = st.integers(1, 3000)
RESIZES = st.builds(Resize, st.sampled_from([(96, 96), (64, 128), (160, 48)]), st.booleans())


@pytest.mark.parametrize(
    ("image_size", "window"),
    [
        ((200, 1450), (36, 256)),  # 256 / 1450 * 200 is 35.3, and 36 the nearest multiple of 4
        ((1450, 200), (256, 36)),
        ((480, 640), (192, 256)),
        ((256, 256), (256, 256)),
        ((10, 10), (256, 256)),  # small images are enlarged
        ((1, 5000), (4, 256)),
    ],
)
def test_the_part_of_a_padded_input_by_hand(image_size, window):
    assert Resize((256, 256), pad=True).window(image_size) == window
    assert Resize((256, 256)).window(image_size) == (256, 256)
    maps = torch.arange(64 * 64).view(1, 64, 64)
    part = Resize((256, 256), pad=True).part(maps, image_size)
    assert part.equal(maps[:, : window[0] // 4, : window[1] // 4])


def test_a_padded_image_keeps_its_shape_and_the_rest_has_the_mean_colour():
    prepared = prepare_image(np.full((20, 40, 3), (1, 2, 3), np.uint8), Resize((32, 64), pad=True))
    assert (prepared.shape, prepared[:, 31, 63].tolist()) == ((3, 32, 64), [3, 2, 1])
    tall = prepare_image(np.full((40, 20, 3), (1, 2, 3), np.uint8), Resize((32, 64), pad=True))
    assert tall[:, :, :16].eq(torch.tensor([3, 2, 1])[:, None, None]).all()
    assert tall[:, :, 16:].eq(torch.tensor(FILL)[:, None, None]).all()


def found_by(resize, boxes, prototypes, image_size):
    """Return the instances of what NMS would keep: one class, the first prototype as the mask, descending scores."""
    count = len(boxes)
    kept = Detections(
        torch.tensor(boxes, dtype=torch.float32)[None],
        torch.linspace(0.9, 0.5, count)[None],
        torch.zeros(1, count, dtype=torch.int64),
        torch.ones(1, count, 1),
        torch.tensor([count]),
        prototypes[None, None],
    )
    return Detector(None, resize, EvalConfig(crop="none")).instances(kept, 0, image_size, ["a"], [1])


@given(RESIZES, st.tuples(SIDES, SIDES), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_comes_back_from_the_input(resize, image_size, shares):
    """To a thousandth of a pixel, whatever the shape."""
    (x0, x1), (y0, y1), (height, width) = sorted(shares[:2]), sorted(shares[2:]), image_size
    box = np.array([[x0 * width, y0 * height, x1 * width, y1 * height]])
    inside = map_boxes(box, view_matrix((0, 0, width, height), resize))
    small = (inside[:, 2:] <= np.array(resize.window(image_size)[::-1]) + 1e-6).all()
    assert small, "the image lies within its part of the input"
    empty = torch.zeros(resize.size[0] // 4, resize.size[1] // 4)
    found = found_by(resize, inside.tolist(), empty, image_size)
    if len(found):  # a box of no extent at the very edge has its centre on the padding
        np.testing.assert_allclose(found.boxes.numpy(), box, atol=1e-3 * max(image_size) / 96)


@given(RESIZES, st.tuples(st.integers(40, 700), st.integers(40, 700)), st.floats(0.3, 0.7), st.booleans())
def test_an_edge_of_a_mask_comes_back_to_half_a_pixel(resize, image_size, share, is_vertical):
    """Logits that fall in a straight line across an edge are resized without error, so that it must be met exactly."""
    axis = 1 if is_vertical else 0
    length, window, full = image_size[axis], resize.window(image_size)[axis], resize.size[axis]
    edge, shown = share * length, window // 4
    if shown < 4:
        return  # fewer pixels of the prototypes show nothing of a middle
    centres = (torch.arange(full // 4) + 0.5) * 4 * (length / window)  # in pixels of the image
    line = edge - centres
    line[shown:] = 1e3  # on the padding, which must not be seen
    small = (resize.size[0] // 4, resize.size[1] // 4)
    prototypes = (line if is_vertical else line[:, None]).expand(*small)
    whole = [[0, 0, resize.window(image_size)[1], resize.window(image_size)[0]]]
    found = found_by(resize, whole, prototypes, image_size)
    pixels = np.arange(length) + 0.5
    clear = np.abs(pixels - edge) > 0.01
    seen = found.masks[0].numpy() if is_vertical else found.masks[0].numpy().T
    assert (seen[:, clear] == (pixels < edge)[clear]).all()


def test_nothing_is_found_on_the_padding():
    resize = Resize((64, 64), pad=True)  # an image twice as wide as high fills the upper half
    boxes = [[10, 20, 30, 30], [10, 30, 30, 50], [10, 40, 30, 60], [40, 0, 60, 40]]
    found = found_by(resize, boxes, torch.ones(16, 16), (100, 200))
    # The centres of the second and third lie below 32; what remains is clipped to the image.
    expected = [[31.25, 62.5, 93.75, 93.75], [125, 0, 187.5, 100]]
    torch.testing.assert_close(found.boxes, torch.tensor(expected))
    assert len(found_by(Resize((64, 64)), boxes, torch.ones(16, 16), (100, 200))) == 4


AUGMENTATIONS = [
    AugmentConfig(photometric=False),
    AugmentConfig(photometric=False, scale_jitter=(0.3, 2.0)),
    AugmentConfig(photometric=False, flip_probability=1.0, rotate90_probability=0.5),
]


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("size", [(96, 96), (64, 128)])
@pytest.mark.parametrize("image_size", [(40, 160), (160, 40), (100, 130)])
@pytest.mark.parametrize("pad", [True, False])
def test_training_sees_no_object_beside_the_image(augment, size, image_size, pad):
    """The image is white and its object goes on beyond it; where it is not white is the fill, and no mask may be."""
    if size[0] != size[1] and augment.rotate90_probability:
        augment = AugmentConfig(photometric=False, flip_probability=1.0)
    height, width = image_size
    for seed in range(20):
        records, resize = [box_record(-5, -5, width + 5, height + 5)], Resize(size, pad)
        sample = augmented(np.random.default_rng(seed), Sample(image_size, records, resize), augment)
        image = render_image(np.full((height, width, 3), 255, np.uint8), sample)
        target = build_target(sample, 0)
        padding = image.eq(torch.tensor(FILL, dtype=torch.uint8)[:, None, None]).all(0)
        assert (image[0][~padding] == 255).all()
        if len(target["masks"]):
            assert torch.equal(target["masks"][0].bool(), ~padding)
            x0, y0, x1, y1 = target["boxes"][0].tolist()
            rows, columns = padding.logical_not().nonzero().T
            assert abs(x0 - columns.min()) <= 0.5
            assert abs(y1 - 1 - rows.max()) <= 0.5
            assert abs(x1 - 1 - columns.max()) <= 0.5
            assert abs(y0 - rows.min()) <= 0.5


def test_rectangles_are_mirrored_and_flipped_within_their_own_sides():
    record = box_record(2, 3, 6, 4)
    for matrix, expected in ((MIRROR, [128 - 48, 48, 128 - 16, 64]), (FLIP, [16, 96 - 64, 48, 96 - 48])):
        sample = Sample((6, 16), [record], Resize((96, 128)))  # pixels of 8 x 16
        turn(np.random.default_rng(0), sample, 1.0, matrix)
        np.testing.assert_allclose(map_boxes(sample.boxes, sample.matrix), [expected])


def test_anchors_and_points_of_a_rectangle_by_hand():
    """Two rows and four columns of cells of 8 pixels; anchors of one side and two ratios."""
    head = AnchorHead(1, {(16, 32): make_anchors((16, 32), [(2, 4)], [[8]], [1, 4], square=False)}, 2, 1, 1)
    anchors = head.coder((16, 32)).anchors
    torch.testing.assert_close(anchors[:2], torch.tensor([[0.0, 0, 8, 8], [-4, 2, 12, 6]]))
    torch.testing.assert_close(anchors[-2], torch.tensor([24.0, 8, 32, 16]))
    head = PointHead(4, {(16, 32): make_points([(2, 4)], [8], (16, 32))}, 1, 1, 1, 1)
    coder = head.coder((16, 32))
    assert coder.points[[0, 1, 4, 7]].tolist() == [[4, 4], [12, 4], [4, 12], [28, 12]]
    assert coder.strides.tolist() == 8 * [8]


def test_an_object_of_a_rectangle_gets_the_anchor_on_it():
    head = AnchorHead(1, {(16, 32): make_anchors((16, 32), [(2, 4)], [[8]], [1], square=False)}, 1, 1, 1)
    box, label = torch.tensor([[16.0, 8, 24, 16]]), torch.zeros(1, dtype=torch.int64)
    target = Target(boxes=box, labels=label, iscrowd=torch.tensor([False]), image_id=0)
    assignment = MaxIoUAssigner(LossConfig())(Candidates(None, head.coder((16, 32))), join_targets([target]))
    assert assignment.object_index.tolist() == [[-1, -1, -1, -1, -1, -1, 0, -1]]


def test_an_objects_own_grid_lies_on_it_in_a_rectangle():
    """The middle of the box, x 20 of 32, lies between the columns 4 and 5 of a map of 8, whose values are these."""
    maps = torch.arange(8.0).expand(1, 1, 4, 8)
    boxes = unit_boxes(torch.tensor([[16.0, 2, 24, 6]]), (16, 32))
    assert boxes.tolist() == [[0.5, 0.125, 0.75, 0.375]]
    assert align(maps, torch.tensor([0]), boxes, 1).item() == pytest.approx(4.5)
    assert align(maps.mT.contiguous(), torch.tensor([0]), boxes[:, [1, 0, 3, 2]], 1).item() == pytest.approx(4.5)


def test_a_training_image_as_it_is_looks_as_at_inference():
    image = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    for resize in (Resize((96, 96), pad=True), Resize((64, 128), pad=True), Resize((64, 128))):
        rendered = render_image(image, Sample((120, 200), [], resize)).int()
        assert (rendered - prepare_image(image, resize).int()).abs().max() <= 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.image_size=[64, 31]"], r"model\.image_size\.1 must be at least 32, got 31"),
        (["model.image_size=[64]"], r"model\.image_size must be a list of 2 values, got 1"),
        (["model.resize=pad"], r"model\.resize=pad needs sizes of images that are multiples of 8, got 550"),
        (
            ["model.image_size=[256, 512]", "data.augment.rotate90_probability=0.5"],
            r"rotate90_probability must be 0 with an input that is no square",
        ),
    ],
)
def test_sizes_that_cannot_work_are_named(overrides, message):
    with pytest.raises(ConfigError, match=message):
        override_config(Config(), overrides)
