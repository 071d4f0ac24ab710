"""The augmentation draws from the authors' distribution, and what is off by default from its paper's."""

import numpy as np
import pytest

from tests.data.conftest import augmented, box_record
from yolact.config.schema import AugmentConfig
from yolact.data.transforms import Sample
from yolact.structures import Resize

SIZE, DRAWS = 550, 12_000
HEIGHT, WIDTH = 480, 640
BOXES = np.array([[50, 60, 250, 300], [300, 200, 420, 260], [500, 20, 630, 470], [100, 350, 130, 400]], float)
CROWD = np.array([False, False, False, True])
# Two samples of this size from one distribution are closer than this in 999 of 1000 cases (Kolmogorov and Smirnov).
LARGEST_DISTANCE = 1.95 * (2 / DRAWS) ** 0.5


def draw_step_by_step(rng):
    """Expand, crop and mirror as the authors' code does; return what `describe` returns."""
    width, height, boxes = WIDTH, HEIGHT, BOXES.copy()
    left = top = 0
    if rng.random() < 0.5:
        ratio = rng.uniform(1, 4)
        left, top = int(rng.uniform(0, width * ratio - width)), int(rng.uniform(0, height * ratio - height))
        width, height = int(width * ratio), int(height * ratio)
        boxes += (left, top, left, top)
    x0, y0, x1, y1, kept = one_crop(rng, width, height, boxes)
    mirrored = rng.random() < 0.5
    view = (x0 - left, y0 - top, x1 - left, y1 - top)
    return describe(view, mirrored, kept)


def one_crop(rng, width, height, boxes):
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    while True:
        if rng.integers(6) == 0:
            return 0, 0, width, height, len(boxes)
        for _ in range(50):
            w, h = rng.uniform(0.3 * width, width), rng.uniform(0.3 * height, height)
            if not 0.5 <= h / w <= 2:
                continue
            x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
            x0, y0, x1, y1 = int(x), int(y), int(x + w), int(y + h)
            inside = ((centres > (x0, y0)) & (centres < (x1, y1))).all(axis=1)
            if (inside & ~CROWD).any():
                return x0, y0, x1, y1, int(inside.sum())


OBJECTS = [box_record(*box, iscrowd=bool(crowd)) for box, crowd in zip(BOXES, CROWD, strict=True)]


def draw_composed(rng, augment=AugmentConfig()):  # noqa: B008
    sample = augmented(rng, Sample((HEIGHT, WIDTH), OBJECTS, Resize((SIZE, SIZE))), augment)
    return describe(sample.view, sample.matrix[0, 0] < 0, int(sample.kept.sum()))


def describe(view, mirrored, kept):
    x0, y0, x1, y1 = view
    scale_x, scale_y = SIZE / (x1 - x0), SIZE / (y1 - y0)
    return {
        "scale": round((scale_x * scale_y) ** 0.5, 9),
        "aspect": round(scale_x / scale_y, 9),
        "shift x": round((x0 + x1) / 2, 6),
        "shift y": round((y0 + y1) / 2, 6),
        "mirrored": float(mirrored),
        "kept objects": kept,
    }


def distance(first, second):
    """Return the largest difference between two empirical distribution functions."""
    points = np.union1d(first, second)
    shares = [np.searchsorted(np.sort(sample), points, side="right") / len(sample) for sample in (first, second)]
    return np.abs(shares[0] - shares[1]).max()


@pytest.fixture(scope="module")
def samples():
    found = []
    for number, draw in enumerate((draw_step_by_step, draw_composed)):
        rng = np.random.default_rng([7, number])
        draws = [draw(rng) for _ in range(DRAWS)]
        found.append({name: np.array([one[name] for one in draws]) for name in draws[0]})
    return found


@pytest.mark.parametrize("name", ["scale", "aspect", "shift x", "shift y", "mirrored", "kept objects"])
def test_the_distribution_is_the_authors(samples, name):
    step_by_step, composed = (sample[name] for sample in samples)
    assert distance(step_by_step, composed) < LARGEST_DISTANCE


def test_jitter_is_uniform_in_scale_and_place():
    rng, count = np.random.default_rng(3), 4000
    draws = [draw_composed(rng, AugmentConfig(scale_jitter=(0.1, 2.0))) for _ in range(count)]
    scale, x, y = (np.array([one[name] for one in draws]) for name in ("scale", "shift x", "shift y"))
    scale *= (WIDTH * HEIGHT) ** 0.5 / SIZE  # of the image stretched to the input
    assert distance(scale, rng.uniform(0.1, 2.0, count)) < 1.95 * (2 / count) ** 0.5
    room = np.abs(1 - 1 / scale)  # between the view and the image, whichever is larger, in shares of the latter
    for shift in (x / WIDTH, y / HEIGHT):
        share = ((shift - 0.5) / room)[room > 0.05] + 0.5
        assert distance(share, rng.random(count)) < 1.95 * (1 / count + 1 / len(share)) ** 0.5
