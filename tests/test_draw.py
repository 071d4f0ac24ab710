import cv2
import numpy as np
import pytest

from tests.made import make_instances
from yolact.draw import Drawing, colour, display_scale, draw_instances, resize_mask, side_by_side
from yolact.instances import Instances


def filled(size: tuple[int, int], boxes: list[list[int]], *class_names: str) -> Instances:
    """Return instances whose masks fill their boxes."""
    masks = np.zeros((len(boxes), *size), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return make_instances(masks, class_names or ("cat", "dog"))


def blank(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_colours_differ_and_small_images_are_enlarged() -> None:
    first = np.array([colour(number) for number in range(20)], float)
    distances = np.linalg.norm(first[:, None] - first[None], axis=2) + 999 * np.eye(20)
    assert distances.min() > 25
    assert (first.max(axis=1) > 150).all()
    assert [display_scale(*size) for size in ((160, 160), (256, 320), (480, 640), (10, 10))] == [4, 2, 1, 8]


def test_outlines_and_boxes_have_the_full_colour() -> None:
    image, instances = blank(100, 120), filled((100, 120), [[30, 40, 60, 70]])
    for options in ({"masks": False}, {"boxes": False}):
        drawn = draw_instances(image, instances, labels=False, **options)
        np.testing.assert_allclose(drawn[40, 45], colour(0), atol=30)  # outlines are smoothed
    assert draw_instances(image, instances, masks=False, labels=False)[55, 45].max() == 0


def test_objects_of_the_only_class_differ_in_colour() -> None:
    image, cells = blank(100, 100), filled((100, 100), [[5, 5, 30, 30], [50, 50, 80, 80]], "cell")
    one = draw_instances(image, cells, labels=False)
    assert one[15, 15].tolist() != one[60, 60].tolist()
    labels = draw_instances(image, cells, scores=False)
    assert (labels == one).all()  # the name of the only class tells nothing


@pytest.mark.parametrize(("scale", "share"), [(3, 0), (0.4, 0.06)])
def test_masks_at_another_scale_are_the_whole_masks_at_that_scale(scale: float, share: float) -> None:
    size, options = (150, 200), {"boxes": False, "labels": False, "alpha": 1}
    noise = np.random.default_rng(0).normal(size=(6, *size)).astype(np.float32)
    masks = np.stack([cv2.GaussianBlur(layer, None, 7) for layer in noise]) > 0.03
    masks[::2, :13] = masks[::2, :, :22] = masks[::2, -17:] = masks[::2, :, -31:] = False  # others reach the border
    for mask in masks:
        drawn = draw_instances(blank(*size), make_instances(mask[None]), scale=scale, **options)
        whole = make_instances(resize_mask(mask, drawn.shape[:2])[None])
        expected = draw_instances(np.zeros_like(drawn), whole, **options)
        assert (np.abs(drawn.astype(int) - expected).max(axis=2) > 60).mean() <= share


def test_tints_are_those_of_each_pixel_and_the_rest_of_the_image_stays() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    before = image.copy()
    drawn = draw_instances(image, filled((40, 50), [[10, 0, 50, 40]]), boxes=False, labels=False, alpha=0.3)
    inner, outer = np.s_[4:-4, 14:-4], np.s_[:, :8]  # beside the outline
    assert (drawn[inner] == (image[inner] * 0.7 + np.array(colour(0)) * 0.3).round()).all()
    assert (drawn[outer] == image[outer]).all()
    assert (image == before).all()


def decoded(png: bytes | None) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize(
    ("size", "shown"),
    [((50, 60), (400, 480)), ((700, 900), (700, 900)), ((3000, 2000), (1000, 667)), ((2, 8000), (1, 1000))],
)
def test_a_notebook_shows_images_of_a_size_for_people(size: tuple[int, int], shown: tuple[int, int]) -> None:
    instances = filled(size, [[0, 0, 2, 2]])
    assert instances._repr_png_() is None
    instances.image = blank(*size)
    assert decoded(instances._repr_png_()).shape[:2] == shown


def test_a_drawing_is_an_array_that_shows_itself() -> None:
    drawing = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8).view(Drawing)
    assert (decoded(drawing._repr_png_()) == drawing).all()
    assert decoded(blank(1500, 2000).view(Drawing)._repr_png_()).shape == (750, 1000, 3)
    for other in (drawing[0], drawing[:, :, 0], drawing / 2, drawing[:0], drawing == 3):
        assert other._repr_png_() is None


@pytest.mark.parametrize("box", [[0, 0, 4, 4], [56, 36, 60, 40], [0, 0, 60, 40], [20, 39, 60, 40]])
def test_labels_stay_inside_the_image(box: list[int]) -> None:
    instances = filled((40, 60), [box], "a name that is far too long for this image", "b")
    drawn = draw_instances(blank(40, 60), instances)
    assert drawn.shape == (40, 60, 3)
    _, columns = np.nonzero((drawn != draw_instances(blank(40, 60), instances, labels=False)).any(axis=2))
    assert columns.max() - columns.min() > 40


def test_tracks_have_colours_and_labels_of_their_own_in_any_alphabet() -> None:
    image, boxes = blank(200, 300), [[10, 60, 100, 190], [150, 60, 240, 190]]
    instances = filled((200, 300), boxes, "\N{GREEK CAPITAL LETTER OMEGA}\udcff", "dog")
    drawn, plain = draw_instances(image, instances, tracks=[3, -1], alpha=1), draw_instances(image, instances)
    assert drawn[120, 50].tolist() == list(colour(3))
    assert (drawn[:60, :100] > 0).sum() > (plain[:60, :100] > 0).sum()  # "#3" before the name


def test_labels_do_not_hide_each_other() -> None:
    instances = filled((200, 300), [[100, 80, 160, 140]] * 2)
    both, *alone = (
        draw_instances(blank(200, 300), ones, masks=False, boxes=False)
        for ones in (instances, instances[0], instances[1])
    )
    assert (both > 0).any(axis=2).sum() == sum((one > 0).any(axis=2).sum() for one in alone)


def test_nothing_found_and_five_hundred_found_can_be_drawn() -> None:
    image = np.full((100, 100, 3), 7, np.uint8)
    assert (draw_instances(image, filled((100, 100), [])) == 7).all()
    boxes = [[x, y, x + 3, y + 3] for x in range(0, 100, 4) for y in range(0, 80, 4)]
    assert len(boxes) == 500
    assert (draw_instances(image, filled((100, 100), boxes)) != 7).any()


def test_side_by_side_keeps_both_images() -> None:
    left, right = np.full((50, 80, 3), 10, np.uint8), np.full((50, 80, 3), 200, np.uint8)
    sheet = side_by_side(left, right, ("Ground truth", "A result whose title is too long for its image"), "file.png")
    assert sheet.shape[1] >= 160
    assert (sheet[-50:, :80] == 10).all()
    assert (sheet[-50:, -80:] == 200).all()
    header = sheet[:-50]
    assert (header < 128).any()
    assert (header[:, -1] == 255).all()  # the long title ends before the border
