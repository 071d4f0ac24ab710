import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette", reason="starlette is not installed (pip install starlette uvicorn)")

from starlette.exceptions import HTTPException

from yolact.serve.uploads import MAX_SCANS, Limits, decode_upload

LIMITS = Limits(max_pixels=3000)


def encode(kind: str, width: int = 60, height: int = 50, **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), (255, 128, 0)).save(file, kind, **options)
    return file.getvalue()


def refusal(data: bytes) -> tuple[int, str]:
    with pytest.raises(HTTPException) as caught:
        decode_upload(data, LIMITS)
    return caught.value.status_code, caught.value.detail


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_pictures_of_all_kinds_are_read_as_bgr(kind):
    picture = decode_upload(encode(kind), LIMITS)
    assert picture.shape == (50, 60, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_allclose(picture[20, 30].astype(int), [0, 128, 255], atol=6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_too_many_pixels_are_refused_whatever_follows_the_header(kind):
    data = encode(kind, 61, 50)
    status, sentence = refusal(data)
    assert status == 413
    assert "61 x 50 pixels" in sentence
    assert "--max-megapixels" in sentence
    if kind not in ("PNG", "TIFF"):  # which need more of the file
        assert refusal(data[:40] if kind != "JPEG" else data[:-200])[0] == 413


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_file_that_is_cut_off_is_refused(kind):
    data = encode(kind)
    for end in range(1, len(data), max(1, len(data) // 40)):
        assert refusal(data[:end])[0] in (415, 422)


def test_what_is_no_picture_is_refused():
    status, sentence = refusal(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    assert status == 415
    assert "PNG, JPEG, WebP, BMP, GIF or TIFF" in sentence


def test_a_jpeg_of_endless_scans_is_refused():
    data = encode("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    decode_upload(data[:-2] + 3 * data[last:-2] + data[-2:], LIMITS)
    assert refusal(data[:-2] + MAX_SCANS * data[last:-2] + data[-2:])[0] == 422
