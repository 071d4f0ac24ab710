import numpy as np
import pytest

from yolact.data.transforms import Sample, change_colours, photometric
from yolact.structures import Resize


def pixel(*bgr: int, **change: float) -> list[int]:
    return change_colours(np.array([[bgr]], np.uint8), **change)[0, 0].tolist()


def test_colours_by_hand() -> None:
    assert pixel(1, 2, 3) == [1, 2, 3]
    assert pixel(0, 100, 250, brightness=30) == [30, 130, 255]
    assert pixel(0, 100, 250, contrast=0.5) == [0, 50, 125]
    assert pixel(0, 100, 250, brightness=10, contrast=0.5) == [5, 55, 130]
    assert pixel(0, 100, 250, contrast=1.5, contrast_first=False) == [0, 150, 255]
    assert pixel(90, 90, 90, saturation=1.5, hue=18) == [90, 90, 90]
    # Saturation moves the channels away from the largest: 200 - 1.5 * (200 - c).
    np.testing.assert_allclose(pixel(100, 150, 200, saturation=1.5), [50, 125, 200], atol=3)
    assert pixel(0, 0, 200, saturation=1.5) == [0, 0, 200]
    np.testing.assert_allclose(pixel(0, 0, 200, hue=120), [0, 200, 0], atol=3)  # red to green
    np.testing.assert_allclose(pixel(0, 0, 200, hue=-120), [200, 0, 0], atol=6)  # red to blue
    # Contrast before saturation clips white, contrast after it does not change the order of channels.
    changed = pixel(100, 150, 200, contrast=0.5, contrast_first=False, saturation=0.5)
    np.testing.assert_allclose(changed, [75, 87, 100], atol=3)


def test_colours_are_drawn_by_coins_and_within_the_authors_limits() -> None:
    sample = Sample((1, 1), [], Resize((1, 1)))
    for seed in range(3000):
        photometric(np.random.default_rng(seed), sample)
    draws = [change.keywords for change in sample.pixel_changes]
    for name, neutral, low, high in (
        ("brightness", 0, -32, 32),
        ("contrast", 1, 0.5, 1.5),
        ("saturation", 1, 0.5, 1.5),
        ("hue", 0, -18, 18),
    ):
        values = np.array([draw[name] for draw in draws])
        drawn = values[values != neutral]
        assert len(drawn) / 3000 == pytest.approx(0.5, abs=0.03)
        assert drawn.min() == pytest.approx(low, abs=(high - low) / 50)
        assert drawn.max() == pytest.approx(high, abs=(high - low) / 50)
        assert drawn.mean() == pytest.approx((low + high) / 2, abs=(high - low) / 25)
    assert np.mean([draw["contrast_first"] for draw in draws]) == pytest.approx(0.5, abs=0.03)
