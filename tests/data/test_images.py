import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from yolact.data import images
from yolact.data.images import header_size, read_image, read_reduced
from yolact.data.samples import Colours
from yolact.errors import DatasetError

BLUE, GREEN, RED, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(height: int = 32, width: int = 48) -> np.ndarray:
    """BGR image whose quarters are blue and green above, red and white below."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = BLUE, GREEN
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = RED, WHITE
    return image


def write_jpeg(path: Path, image: np.ndarray, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(np.ascontiguousarray(image[..., ::-1])).save(path, quality=98, subsampling=0, exif=exif)


def assert_close(image: np.ndarray, expected: np.ndarray, tolerance: int = 8) -> None:
    """Compare away from the edges between the quarters, where JPEG rings."""
    assert image.shape == expected.shape
    assert image.dtype == np.uint8
    for y in (3, -4):
        for x in (3, -4):
            np.testing.assert_allclose(image[y, x].astype(int), expected[y, x].astype(int), atol=tolerance)


def test_the_annotations_decide_whether_exif_turns_an_image(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "a.jpg", quarters(), 6)
    assert_close(read_image(tmp_path / "a.jpg", (32, 48)), quarters())
    assert_close(read_image(tmp_path / "a.jpg", (48, 32)), np.rot90(quarters(), -1))
    assert_close(read_image(tmp_path / "a.jpg"), np.rot90(quarters(), -1))


def test_gray_values_of_8_and_16_bits_and_opaque_alpha(tmp_path: Path) -> None:
    gray = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48)
    cv2.imwrite(str(tmp_path / "8.png"), (gray // 8).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "16.png"), gray * 40)
    np.testing.assert_array_equal(read_image(tmp_path / "8.png"), np.dstack([gray // 8] * 3))
    np.testing.assert_allclose(
        read_image(tmp_path / "16.png"), np.dstack([gray * 40 // 256] * 3), atol=1
    )  # up to 61,400
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack((quarters(), np.full((32, 48), 255, np.uint8))))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), quarters())


def test_what_is_remarkable_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(images, "_said", set())
    deep = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), deep)
        read_image(tmp_path / name, colours=Colours(white=4095.0))
        assert caplog.text == ""
    for name in ("a.png", "b.png"):
        read_image(tmp_path / name)
    [record] = caplog.records
    assert re.search(
        r"a\.png: uint16 up to 1535, of which 2047 becomes white; --set data\.white=N", record.getMessage()
    )
    images.leave_unsaid(["transparent-picture"])
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((4, 4, 4), np.uint8))
    read_image(tmp_path / "c.png")
    assert len(caplog.records) == 1


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.png: No such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DatasetError, match="Is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("size", [(64, 96), (61, 99)])
def test_a_jpeg_is_decoded_smaller(tmp_path: Path, size: tuple[int, int], reduction: int) -> None:
    write_jpeg(tmp_path / "a.jpg", quarters(*size))
    image, found = read_reduced(tmp_path / "a.jpg", size, reduction)
    assert found == reduction
    assert image.shape == (-(-size[0] // reduction), -(-size[1] // reduction), 3)
    whole = read_image(tmp_path / "a.jpg", size)
    inner = tuple(side - side % reduction for side in size)
    means = whole[: inner[0], : inner[1]].reshape(inner[0] // reduction, reduction, inner[1] // reduction, reduction, 3)
    difference = np.abs(image[: len(means), : means.shape[2]] - means.mean(axis=(1, 3)))
    assert np.median(difference) < 3


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 1)])
def test_a_turned_jpeg_is_decoded_smaller_as_the_annotations_mean_it(
    tmp_path: Path, orientation: int, turns: int
) -> None:
    write_jpeg(tmp_path / "a.jpg", np.rot90(quarters(), turns), orientation)
    image, found = read_reduced(tmp_path / "a.jpg", (32, 48), 2)
    assert found == 2
    assert_close(image, quarters(16, 24))


def test_what_cannot_be_decoded_smaller_is_decoded_whole(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), quarters())
    write_jpeg(tmp_path / "a.jpg", quarters(48, 32), 6)
    for name, size in (("a.png", (32, 48)), ("a.jpg", (48, 32))):  # the latter as stored, not as EXIF turns it
        image, found = read_reduced(tmp_path / name, size, 2)
        assert (found, image.shape[:2]) == (1, size)


@pytest.mark.parametrize("reduction", [1, 4])
def test_damage_and_a_wrong_size_are_found_at_any_reduction(tmp_path: Path, reduction: int) -> None:
    write_jpeg(tmp_path / "a.jpg", quarters(64, 96))
    for size in ((64, 98), (96, 64)):
        with pytest.raises(DatasetError, match=f"is 96 x 64 pixels .* file says {size[1]} x {size[0]}"):
            read_reduced(tmp_path / "a.jpg", size, reduction)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data + b"the video of a phone \xff\xda")
    assert read_reduced(tmp_path / "a.jpg", (64, 96), reduction)[1] == reduction
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match=r"a\.jpg \(.* bytes\): it is damaged, cut off"):
        read_reduced(tmp_path / "a.jpg", (64, 96), reduction)


def encode(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def test_sizes_stand_in_the_headers_of_all_kinds_and_of_nothing_else() -> None:
    assert [header_size(encode(kind)) for kind in KINDS] == [(40, 50)] * 6
    others = [b"", b"GIF", b"<svg width='9' height='9'/>", b"%PDF-1.4", *(encode(kind)[:9] for kind in KINDS)]
    assert [header_size(data) for data in others] == [None] * 10


@pytest.mark.parametrize("end", [b"", b"\x86\x7f\x5f\x49IDATabc", b"\x33\0\0\0IENDcrc!", b"\0\0\0\0IENDcrc"])
def test_chunks_of_a_png_lie_within_the_file(end: bytes) -> None:
    """OpenCV would take 2 GB for the second."""
    assert header_size(encode("PNG")[:33] + end) is None


def test_a_large_tile_counts_although_the_image_is_small() -> None:
    tags = [(256, 30), (257, 20), (258, 8), (262, 1), (277, 1), (322, 16000), (323, 17000), (324, 8), (325, 1)]
    entries = b"".join(tag.to_bytes(2, "little") + b"\x04\0\x01\0\0\0" + v.to_bytes(4, "little") for tag, v in tags)
    count = len(tags).to_bytes(2, "little")
    assert header_size(b"II*\0\x08\0\0\0" + count + entries + bytes(4)) == (17000, 16000)


@pytest.mark.parametrize("kind", KINDS)
def test_what_opencv_decodes_is_never_larger_than_the_header_says(kind: str) -> None:
    data, rng, decoded = encode(kind), np.random.default_rng(1), 0
    for _ in range(300):
        changed = bytearray(data)
        for at in rng.integers(0, min(len(data), 120), 3):
            changed[at] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        size = header_size(bytes(changed))
        if size is None or size[0] * size[1] > 1_000_000:
            continue
        try:
            image = cv2.imdecode(np.frombuffer(changed, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:
            continue
        if image is not None:
            decoded += 1
            assert image.shape[0] * image.shape[1] <= size[0] * size[1]
    assert decoded or kind == "PNG"  # whose header has a checksum
