import numpy as np
import pytest

from yolact.data.photometric import Photometric, apply_photometric, sample_photometric


def pixel(change: Photometric, *bgr: int) -> list[int]:
    return apply_photometric(np.array([[bgr]], np.uint8), change)[0, 0].tolist()


def test_photometric_by_hand() -> None:
    assert pixel(Photometric(), 1, 2, 3) == [1, 2, 3]
    assert pixel(Photometric(brightness=30), 0, 100, 250) == [30, 130, 255]
    assert pixel(Photometric(contrast=0.5), 0, 100, 250) == [0, 50, 125]
    assert pixel(Photometric(brightness=10, contrast=0.5), 0, 100, 250) == [5, 55, 130]
    assert pixel(Photometric(contrast=1.5, contrast_first=False), 0, 100, 250) == [0, 150, 255]
    assert pixel(Photometric(saturation=1.5, hue=18), 90, 90, 90) == [90, 90, 90]
    # Saturation moves the channels away from the largest: 200 - 1.5 * (200 - c).
    np.testing.assert_allclose(pixel(Photometric(saturation=1.5), 100, 150, 200), [50, 125, 200], atol=3)
    assert pixel(Photometric(saturation=1.5), 0, 0, 200) == [0, 0, 200]
    np.testing.assert_allclose(pixel(Photometric(hue=120), 0, 0, 200), [0, 200, 0], atol=3)  # red to green
    np.testing.assert_allclose(pixel(Photometric(hue=-120), 0, 0, 200), [200, 0, 0], atol=6)  # red to blue
    # Contrast before saturation clips white, contrast after it does not change the order of channels.
    np.testing.assert_allclose(
        pixel(Photometric(contrast=0.5, contrast_first=False, saturation=0.5), 100, 150, 200), [75, 87, 100], atol=3
    )


def test_photometric_draws() -> None:
    draws = [sample_photometric(np.random.default_rng(seed)) for seed in range(3000)]
    for name, neutral, low, high in (
        ("brightness", 0, -32, 32),
        ("contrast", 1, 0.5, 1.5),
        ("saturation", 1, 0.5, 1.5),
        ("hue", 0, -18, 18),
    ):
        values = np.array([getattr(change, name) for change in draws])
        drawn = values[values != neutral]
        assert len(drawn) / 3000 == pytest.approx(0.5, abs=0.03)
        assert drawn.min() == pytest.approx(low, abs=(high - low) / 50)
        assert drawn.max() == pytest.approx(high, abs=(high - low) / 50)
        assert drawn.mean() == pytest.approx((low + high) / 2, abs=(high - low) / 25)
    assert np.mean([change.contrast_first for change in draws]) == pytest.approx(0.5, abs=0.03)
