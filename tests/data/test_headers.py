import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.made_images import chunk, make_png, make_tiff
from yolact.data.headers import image_files, passed_over, read_layout

GRAY = np.full((4, 6), 9, np.uint8)


def layout(data: bytes):
    return read_layout(io.BytesIO(data))


def pillow(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.dstack([GRAY] * 3)).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (make_png(GRAY), ("PNG", 1, 8, "")),
        (make_png(np.dstack([GRAY] * 2).astype(np.uint16)), ("PNG", 2, 16, "straight")),
        (make_png(np.dstack([GRAY] * 3).astype(np.uint16)), ("PNG", 3, 16, "")),
        (pillow("PNG", "P", transparency=0), ("PNG", 2, 8, "straight")),
        (pillow("WEBP"), ("WEBP", 3, 8, "")),
        (pillow("GIF", "P", transparency=0), ("GIF", 2, 8, "straight")),
        (make_tiff(GRAY.astype(np.float32)), ("TIFF", 1, 32, "")),
        (make_tiff(np.dstack([GRAY] * 7)), ("TIFF", 7, 8, "")),
        (make_tiff(np.dstack([GRAY] * 4)), ("TIFF", 4, 8, "straight")),  # as OpenCV writes it
        (make_tiff(np.dstack([GRAY] * 4), extra=(0,)), ("TIFF", 4, 8, "")),
        (make_tiff(np.dstack([GRAY] * 4), extra=(1,)), ("TIFF", 4, 8, "premultiplied")),
        (make_tiff(np.dstack([GRAY] * 2), extra=(2,)), ("TIFF", 2, 8, "straight")),
        (cv2.imencode(".tif", GRAY)[1].tobytes(), ("TIFF", 1, 8, "")),
    ],
)
def test_headers_tell_bands_depth_and_alpha(data: bytes, expected: tuple[str, int, int, str]) -> None:
    found = layout(data)
    assert (found.kind, found.bands, found.bits, found.alpha) == expected
    assert found.image_size == (4, 6)
    assert found.has_more is False


def test_headers_tell_of_further_frames_but_not_of_smaller_copies() -> None:
    more = [Image.fromarray(255 - GRAY)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        assert layout(pillow(kind, save_all=True, append_images=more)).has_more is True
    assert layout(make_tiff(GRAY, pages=2)).has_more is True
    assert layout(make_tiff(GRAY, pages=3, page_kind=1)).has_more is False
    looped = bytearray(make_tiff(GRAY, pages=2, page_kind=1))  # its second page names itself the next one
    second = int.from_bytes(looped[8 + 2 + 12 * 13 : 8 + 2 + 12 * 13 + 4], "little")
    looped[second + 2 + 12 * 13 : second + 2 + 12 * 13 + 4] = second.to_bytes(4, "little")
    assert layout(bytes(looped)).has_more is False


def test_a_gray_value_that_is_transparent_in_16_bits() -> None:
    data = make_png(GRAY.astype(np.uint16), chunk(b"tRNS", (7).to_bytes(2, "big")))
    assert (layout(data).key, layout(data).alpha, layout(data).bands) == (7, "straight", 2)


def test_files_of_a_folder_that_are_images(tmp_path: Path) -> None:
    """The suffix decides, else the content; hidden files and those of the system are in neither list."""
    png = make_png(GRAY)
    names = ("b.JPG", "a.jfif", "c.jpe", "d.heic", "e.avif", "f.JP2", "g.webp", "h.gif", "i.bmp", "j.TIFF")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    heic = b"\0\0\0\x18ftypheic" + bytes(12)
    for name, data in (("no suffix", png), ("x.data", pillow("WEBP")), ("y.part", heic), ("z.bin", pillow("AVIF"))):
        (tmp_path / name).write_bytes(data)
    for name in ("notes.txt", "clip.mp4", "BM.dat", "empty"):
        (tmp_path / name).write_bytes(b"BMW and more of a text")
    for name in ("._b.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(png)
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "lost.png").symlink_to("nowhere")
    images, others = image_files(tmp_path.iterdir())
    assert [path.name for path in images] == sorted([*names, "no suffix", "x.data", "y.part", "z.bin"])
    assert [path.name for path in others] == ["BM.dat", "clip.mp4", "empty", "lost.png", "notes.txt"]
    sentence = "14 of 19 files are images; passed over: BM.dat, clip.mp4, empty, lost.png, notes.txt"
    assert passed_over(images, others) == sentence
    assert passed_over([], [Path(f"{number}.txt") for number in range(30)]).endswith("8.txt, 9.txt, ...")
