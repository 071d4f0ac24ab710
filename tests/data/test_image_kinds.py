"""Kinds of files of images: each is read with its object in its box, or refused by the name of its fault."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.made_images import as_stored, chunk, make_tiff
from yolact.config import AugmentConfig
from yolact.data.dataset import CocoDataset
from yolact.data.loader import Place, TrainingSet
from yolact.data.transforms import make_transforms
from yolact.errors import DatasetError
from yolact.structures import Resize

HEIGHT, WIDTH = 48, 72
BOX = (12, 6, 36, 22)  # xyxy of the bright object
SIZE = 96  # side of the network input
PLAIN = AugmentConfig(photometric=False, expand_probability=0, crop=False, mirror_probability=0)


class Kind(NamedTuple):
    """One kind of file and what becomes of it."""

    name: str
    data: bytes
    size: tuple[int, int] = (HEIGHT, WIDTH)
    box: tuple[int, int, int, int] = BOX
    fault: str = ""  # the name of the fault, where it is refused


def scene(size: tuple[int, int] = (HEIGHT, WIDTH), box: tuple[int, int, int, int] = BOX) -> np.ndarray:
    """Gray image with a bright object."""
    image = np.full(size, 30, np.uint8)
    image[box[1] : box[3], box[0] : box[2]] = 230
    return image


def opencv(suffix: str, image: np.ndarray, *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


def pillow(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene()).convert(mode, dither=Image.Dither.NONE).save(file, kind, **options)
    return file.getvalue()


def spliced(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at + len(piece) :]


def interlaced_png() -> bytes:
    """Return a gray PNG in Adam7's seven passes, which none of our encoders writes."""
    rows = b""
    for x0, y0, dx, dy in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
    ):  # fmt: skip
        rows += b"".join(b"\0" + row.tobytes() for row in scene()[y0::dy, x0::dx])
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(as_stored(scene(), orientation)).save(file, "JPEG", quality=95, exif=exif)
    return file.getvalue()


def kinds() -> list[Kind]:
    gray = scene()
    colour = np.dstack([gray] * 3)
    jpeg, png = opencv(".jpg", colour), opencv(".png", colour)
    narrow, long = (60, 1), (20, 400)
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    noisy = opencv(".jpg", noise)
    many = (30_000).to_bytes(4, "big")  # pixels on a side
    frames = [Image.fromarray(gray), Image.fromarray(255 - gray)]
    read = [
        Kind("gray PNG", opencv(".png", gray)),
        Kind("colour PNG", png),
        Kind("PNG with opaque alpha", opencv(".png", np.dstack((colour, np.full_like(gray, 255))))),
        Kind("gray PNG with transparency", pillow("PNG", "LA")),
        Kind("palette PNG", pillow("PNG", "P")),
        Kind("PNG of one bit", pillow("PNG", "1")),
        Kind("gray PNG of 12 bits in 16", opencv(".png", gray.astype(np.uint16) * 16)),
        Kind("TIFF of fractions", opencv(".tif", gray.astype(np.float32) / 255)),
        Kind("gray PNG of 16 bits", opencv(".png", gray.astype(np.uint16) * 257)),
        Kind("colour PNG of 16 bits", opencv(".png", colour.astype(np.uint16) * 257)),
        Kind("interlaced PNG", interlaced_png()),
        Kind("gray JPEG", opencv(".jpg", gray)),
        Kind("CMYK JPEG", pillow("JPEG", "CMYK")),
        Kind("progressive JPEG", opencv(".jpg", colour, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)),
        Kind("JPEG with restart markers", opencv(".jpg", colour, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)),
        Kind("JPEG with more behind its end", jpeg + b"\r\n<!-- more -->" + bytes(50)),
        Kind("GIF", pillow("GIF", "P")),
        Kind("moving GIF", pillow("GIF", save_all=True, append_images=frames[1:])),
        Kind("WebP", pillow("WEBP")),
        Kind("lossless WebP", pillow("WEBP", lossless=True)),
        Kind("BMP", opencv(".bmp", colour)),
        Kind("TIFF", opencv(".tif", colour)),
        Kind("TIFF of 16 bits", opencv(".tif", gray.astype(np.uint16) * 257)),
        Kind("one pixel wide", opencv(".png", scene(narrow, (0, 20, 1, 50))), narrow, (0, 20, 1, 50)),
        Kind("twenty times as wide as high", opencv(".jpg", scene(long, (40, 4, 120, 16))), long, (40, 4, 120, 16)),
        *([Kind("AVIF", opencv(".avif", colour))] if cv2.haveImageWriter("a.avif") else []),
        *(Kind(f"EXIF orientation {number}", turned(number)) for number in range(1, 9)),
    ]
    refused = [
        Kind("cut JPEG", noisy[: len(noisy) // 2], fault="truncated-picture"),
        Kind("cut PNG", png[:-20], fault="truncated-picture"),
        Kind("empty file", b"", fault="unreadable-picture"),
        Kind("page of text", b"<!doctype html><title>404</title>", fault="unreadable-picture"),
        Kind("header alone", jpeg[:20], fault="truncated-picture"),
        Kind("PNG with a wrong checksum", spliced(png, png.index(b"IEND") - 8, bytes(4)), fault="unreadable-picture"),
        Kind("PNG that claims 2 GB", spliced(png, 33, b"\x7f\xff\xff\xf0"), fault="unreadable-picture"),
        Kind("PNG bomb", png[:8] + chunk(b"IHDR", many * 2 + png[24:29]) + png[33:], fault="picture-too-large"),
        Kind("JPEG bomb", spliced(jpeg, jpeg.index(b"\xff\xc0") + 5, many[2:] * 2), fault="picture-too-large"),
        Kind("BMP bomb", spliced(opencv(".bmp", colour), 18, many[::-1] * 2), fault="picture-too-large"),
        Kind("TIFF of seven bands", make_tiff(np.dstack([gray] * 7)), fault="other-bands"),
    ]
    return read + refused


KINDS = kinds()


def sample(folder: Path) -> tuple[np.ndarray, list[float], str]:
    """Return the input [S, S], the box xyxy in it, and the name of the fault."""
    dataset = CocoDataset(folder / "instances.json", folder)
    try:
        image, target, _ = TrainingSet(dataset, Resize((SIZE, SIZE)), make_transforms(PLAIN), seed=0)[Place(0, 0)]
    except DatasetError as error:
        return np.zeros(0), [], error.kind if str(error).isprintable() else "unprintable"
    return image.float().mean(dim=0).numpy(), target["boxes"][0].tolist(), ""


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory, in_child: Callable[..., list[Any]]) -> dict[str, Any]:
    folders = []
    for kind in KINDS:
        folder = tmp_path_factory.mktemp("kind")
        (folder / "image").write_bytes(kind.data)
        x0, y0, x1, y1 = kind.box
        entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        entry["segmentation"] = [[x0, y0, x1, y0, x1, y1, x0, y1]]
        height, width = kind.size
        content = {
            "images": [{"id": 1, "file_name": "image", "height": height, "width": width}],
            "annotations": [entry],
            "categories": [{"id": 1, "name": "thing"}],
        }
        (folder / "instances.json").write_text(json.dumps(content))
        folders.append(folder)
    return dict(zip((kind.name for kind in KINDS), in_child(sample, folders), strict=True))


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_the_box_lies_on_the_object_or_the_fault_is_named(samples: dict[str, Any], kind: Kind) -> None:
    assert samples[kind.name].fault == ""
    image, box, fault = samples[kind.name].value
    assert fault == kind.fault
    if box:
        (height, width), (x0, y0, x1, y1) = kind.size, kind.box
        scaled = [x0 * SIZE / width, y0 * SIZE / height, x1 * SIZE / width, y1 * SIZE / height]
        np.testing.assert_allclose(box, scaled, atol=1e-3)
        bright = np.argwhere(image > 128)
        (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
        np.testing.assert_allclose([left, top, right, bottom], box, atol=1.5)
        assert len(bright) == pytest.approx((right - left) * (bottom - top), rel=0.05)
