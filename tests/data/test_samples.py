import numpy as np
import pytest

from yolact.data.samples import Colours, flatten, odd_samples, own_white, shared_white, to_bytes, to_pixels


@pytest.mark.parametrize(
    ("samples", "white"),
    [
        (np.array([0, 3], np.uint16), 255),
        (np.array([255, 256], np.uint16), 511),
        (np.array([0, 4095], np.uint16), 4095),
        (np.array([4096], np.uint16), 8191),
        (np.array([65535], np.uint16), 65535),
        (np.array([-5, 2000], np.int16), 2047),
        (np.array([70_000], np.uint32), 131_071),
        (np.array([0.2, 0.5], np.float32), 1),
        (np.array([0.2, 37.5], np.float32), 37.5),
        (np.array([np.nan, np.inf, 8], np.float64), 8),
        (np.array([np.nan, -4], np.float32), 1),
    ],
)
def test_the_white_of_an_image_is_the_end_of_its_range(samples: np.ndarray, white: float) -> None:
    assert own_white(samples) == white


def test_a_data_set_has_one_white_unless_its_images_have_different_ranges() -> None:
    assert shared_white([4095, 2047, 1023]) == 4095  # some are darker
    assert shared_white([4095, 65535]) == "image"
    assert shared_white([1.0, 65535]) == "image"
    assert shared_white([1.0]) == 1


def test_samples_are_scaled_rounded_and_cut_off() -> None:
    assert to_bytes(np.array([0, 8, 9, 2048, 4095, 5000], np.uint16), 4095).tolist() == [0, 0, 1, 128, 255, 255]
    assert to_bytes(np.array([0, 257, 65535], np.uint16), 65535).tolist() == [0, 1, 255]
    assert to_bytes(np.array([-3, 0, 1000, 2000], np.int32), 1000).tolist() == [0, 0, 255, 255]
    fractions = np.array([np.nan, -np.inf, -1, 0.5, 1, 7, np.inf], np.float32)
    assert to_bytes(fractions, 1).tolist() == [0, 0, 0, 128, 255, 255, 255]
    assert to_bytes(np.array([7], np.uint8), 1).tolist() == [7]
    assert (odd_samples(fractions), odd_samples(np.array([-3, 1], np.int16))) == (
        "2 below 0 and 1 not a number",
        "1 below 0",
    )
    assert odd_samples(np.array([0.5])) == ""


def test_transparent_pixels_show_the_background() -> None:
    colours = np.full((1, 3, 3), (10, 20, 30), np.uint8)
    alpha = np.array([[0, 51, 255]], np.uint8)  # of which 51 is a fifth
    flat = flatten(colours, alpha, (200, 100, 0), premultiplied=False)  # the background is RGB, the image BGR
    assert flat.tolist() == [[[0, 100, 200], [2, 84, 166], [10, 20, 30]]]
    flat = flatten(colours, alpha, (200, 100, 0), premultiplied=True)
    assert flat.tolist() == [[[10, 120, 230], [10, 100, 190], [10, 20, 30]]]


@pytest.mark.filterwarnings("error")
def test_what_is_remarkable_is_told() -> None:
    assert "float64 up to nan" in to_pixels(np.full((1, 1), np.nan), "", Colours())[1]["deep-samples"]
    pixels, remarks = to_pixels(np.array([[7, 9]], np.uint8), "", Colours())
    assert (pixels.tolist(), remarks) == ([[[7] * 3, [9] * 3]], {})
    opaque = np.array([[[7, 255]]], np.uint8)
    assert to_pixels(opaque, "straight", Colours())[1] == {}
    pixels, remarks = to_pixels(np.array([[[7, 0], [7, 255]]], np.uint8), "straight", Colours(background=(0, 0, 0)))
    assert pixels[..., 0].tolist() == [[0, 7]]
    assert remarks == {"transparent-picture": "50.0 % of its pixels are transparent, over data.background=[0, 0, 0]"}
    pixels, remarks = to_pixels(np.array([[0, 2000, 4095]], np.uint16), "", Colours(white=1000.0))
    assert pixels[..., 0].tolist() == [[0, 255, 255]]
    assert remarks == {"deep-samples": "uint16 up to 4095, of which 1000 becomes white"}
    pixels, remarks = to_pixels(np.array([[0, 1000]], np.uint16), "", Colours(white="image"), inverted=True)
    assert pixels[..., 0].tolist() == [[255, 6]]  # 255 - 249
