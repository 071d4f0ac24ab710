from pathlib import Path

import cv2
import numpy as np
import pytest

from yolact.data.images import read_image, read_reduced
from yolact.errors import DatasetError

BLUE, GREEN, RED, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(height: int = 32, width: int = 48) -> np.ndarray:
    """BGR picture whose quarters are blue and green above, red and white below."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = BLUE, GREEN
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = RED, WHITE
    return picture


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Insert an EXIF block that holds only the orientation tag, 0x0112."""
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0]) + bytes(4)
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


def as_stored(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Return what a camera with this orientation stores, so that a viewer shows `picture`."""
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
        orientation = {5: 1, 6: 4, 7: 3, 8: 2}[orientation]
    flip_rows, flip_columns = orientation in (3, 4), orientation in (2, 3)
    return np.ascontiguousarray(picture[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def write_jpeg(path: Path, picture: np.ndarray, orientation: int | None = None) -> bytes:
    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    data = with_orientation(data, orientation) if orientation else data
    path.write_bytes(data)
    return data


def assert_close(picture: np.ndarray, expected: np.ndarray, tolerance: int = 8) -> None:
    """Compare away from the edges between the quarters, where JPEG rings."""
    assert picture.shape == expected.shape
    assert picture.dtype == np.uint8
    for y in (3, -4):
        for x in (3, -4):
            np.testing.assert_allclose(picture[y, x].astype(int), expected[y, x].astype(int), atol=tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_when_the_annotations_mean_the_turned_picture(
    tmp_path: Path, orientation: int
) -> None:
    write_jpeg(tmp_path / "a.jpg", as_stored(quarters(), orientation), orientation)
    assert_close(read_image(tmp_path / "a.jpg", (32, 48)), quarters())
    assert_close(read_image(tmp_path / "a.jpg"), quarters())


@pytest.mark.parametrize("orientation", range(5, 9))
def test_exif_orientation_is_ignored_when_the_annotations_mean_the_stored_picture(
    tmp_path: Path, orientation: int
) -> None:
    write_jpeg(tmp_path / "a.jpg", quarters(), orientation)
    assert_close(read_image(tmp_path / "a.jpg", (32, 48)), quarters())


def test_grayscale(tmp_path: Path) -> None:
    gray = np.arange(32 * 48, dtype=np.uint16).reshape(32, 48)
    cv2.imwrite(str(tmp_path / "8.png"), (gray // 8).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "16.png"), gray * 40)
    np.testing.assert_array_equal(read_image(tmp_path / "8.png"), np.dstack([gray // 8] * 3))
    np.testing.assert_allclose(read_image(tmp_path / "16.png"), np.dstack([gray * 40 // 256] * 3), atol=1)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_a_channel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), quarters().astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(path), quarters())


def test_transparency_is_ignored(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.dstack((quarters(), np.full((32, 48), 7, np.uint8))))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), quarters())


@pytest.mark.parametrize(("mode", "suffix"), [("P", ".png"), ("P", ".gif"), ("CMYK", ".jpg"), ("RGB", ".webp")])
def test_palette_and_cmyk(tmp_path: Path, mode: str, suffix: str) -> None:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / f"a{suffix}"
    image.fromarray(quarters()[..., ::-1].copy()).convert(mode).save(path, quality=98)
    assert_close(read_image(path, (32, 48)), quarters())


def test_one_pixel(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((1, 1, 3), 9, np.uint8))
    assert read_image(tmp_path / "a.png").tolist() == [[[9, 9, 9]]]


def test_another_size_than_the_annotations(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), quarters())
    for size in ((48, 32), (32, 49)):
        with pytest.raises(DatasetError, match=rf"a\.png is 48 x 32 pixels .* says {size[1]} x {size[0]}"):
            read_image(tmp_path / "a.png", size)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.png: No such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DatasetError, match="Is a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("share", [0, 0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_cut_off_files(tmp_path: Path, share: float, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = cv2.imencode(suffix, noise)[1].tobytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DatasetError, match="Cannot decode the picture") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    data = write_jpeg(tmp_path / "a.jpg", quarters())
    (tmp_path / "a.jpg").write_bytes(data + b"\n" + bytes(100))
    assert_close(read_image(tmp_path / "a.jpg"), quarters())


def test_a_page_of_text_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("<html>404 Not Found</html>")
    with pytest.raises(DatasetError, match="Cannot decode"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, suffix: str) -> None:
    data = bytearray(cv2.imencode(suffix, quarters())[1].tobytes())
    if suffix == ".png":
        data[16:24] = (30_000).to_bytes(4, "big") * 2
    else:
        frame = data.index(b"\xff\xc0") + 5
        data[frame : frame + 4] = (30_000).to_bytes(2, "big") * 2
    (tmp_path / f"a{suffix}").write_bytes(data)
    with pytest.raises(DatasetError, match="30000 x 30000 pixels, more than the limit"):
        read_image(tmp_path / f"a{suffix}")


def test_a_table_before_the_frame_is_not_taken_for_its_header(tmp_path: Path) -> None:
    data = write_jpeg(tmp_path / "a.jpg", quarters())
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xc4\x00\x20" + b"\xff" * 30 + data[2:])
    with pytest.raises(DatasetError, match="Cannot decode"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("reduction", [2, 4, 8])
@pytest.mark.parametrize("size", [(64, 96), (61, 99)])
def test_a_jpeg_is_decoded_smaller(tmp_path: Path, size: tuple[int, int], reduction: int) -> None:
    write_jpeg(tmp_path / "a.jpg", quarters(*size))
    picture, found = read_reduced(tmp_path / "a.jpg", size, reduction)
    assert found == reduction
    assert picture.shape == (-(-size[0] // reduction), -(-size[1] // reduction), 3)
    whole = read_image(tmp_path / "a.jpg", size)
    inner = tuple(side - side % reduction for side in size)
    means = whole[: inner[0], : inner[1]].reshape(inner[0] // reduction, reduction, inner[1] // reduction, reduction, 3)
    difference = np.abs(picture[: len(means), : means.shape[2]] - means.mean(axis=(1, 3)))
    assert np.median(difference) < 3


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_turned_jpeg_is_decoded_smaller_as_the_annotations_mean_it(tmp_path: Path, orientation: int) -> None:
    write_jpeg(tmp_path / "a.jpg", as_stored(quarters(), orientation), orientation)
    picture, found = read_reduced(tmp_path / "a.jpg", (32, 48), 2)
    assert found == 2
    assert_close(picture, quarters(16, 24))


def test_what_cannot_be_decoded_smaller_is_decoded_whole(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), quarters())
    write_jpeg(tmp_path / "a.jpg", as_stored(quarters(), 6), 6)
    for name, size in (("a.png", (32, 48)), ("a.jpg", (48, 32))):  # the latter as stored, not as EXIF turns it
        picture, found = read_reduced(tmp_path / name, size, 2)
        assert (found, picture.shape[:2]) == (1, size)


def test_damage_and_a_wrong_size_are_found_at_any_reduction(tmp_path: Path) -> None:
    data = write_jpeg(tmp_path / "a.jpg", quarters(64, 96))
    with pytest.raises(DatasetError, match="but the annotation file says 98 x 64"):
        read_reduced(tmp_path / "a.jpg", (64, 98), 4)
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(DatasetError, match="damaged, cut off"):
        read_reduced(tmp_path / "a.jpg", (64, 96), 4)
