"""A small data set without any fault, and everything that an inspection finds, to plant into it."""

import copy
import json
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from tests.data.conftest import rectangle
from tests.data.made_images import make_png, make_tiff
from yolact.config import Config, override_config

HEIGHT, WIDTH, NUM_IMAGES = 60, 80, 12
NAN = float("nan")
Content = dict[str, Any]


def pixels(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(seed: int, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    return cv2.imencode(".jpg", pixels(seed, height, width))[1].tobytes()


def annotation(number: int, image_id: int, category_id: int, box: tuple[int, int, int, int]) -> Content:
    """One object whose mask fills its box, xyxy."""
    x1, y1, x2, y2 = box
    return rectangle(number, image_id, category_id, x1, y1, x2 - x1, y2 - y1)


def clean_content(first_id: int = 1) -> Content:
    """Twelve images with a cat and a dog each; the second dog is run lengths, the third a crowd region."""
    images, annotations = [], []
    for number in range(first_id, first_id + NUM_IMAGES):
        images.append({"id": number, "file_name": f"{number}.jpg", "height": HEIGHT, "width": WIDTH})
        annotations.append(annotation(10 * number, number, 3, (5, 5, 35, 30)))
        annotations.append(annotation(10 * number + 1, number, 8, (40, 20, 60, 50)))
    runs = [40 * HEIGHT + 20] + [30, 30] * 19 + [30, 10 + 20 * HEIGHT]
    annotations[3]["segmentation"] = {"size": [HEIGHT, WIDTH], "counts": runs}
    annotations[5]["iscrowd"] = 1
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 8, "name": "dog"}, {"id": 3, "name": "cat"}],
    }


class DataSet(NamedTuple):
    """A training and a validation set on disk, which a test changes before it inspects them."""

    folder: Path
    train: Content
    val: Content

    def write(self) -> Config:
        """Write both annotation files and return a configuration for them."""
        for name in ("train", "val"):
            (self.folder / f"{name}.json").write_text(json.dumps(getattr(self, name)))
        paths = {"images": "", "annotations": ".json"}
        data = [f"data.{one}_{key}={self.folder}/{one}{end}" for one in ("train", "val") for key, end in paths.items()]
        model = ["model.num_classes=null", "model.image_size=64", "model.anchors.scales=[[8],[16],[24],[32],[48]]"]
        return override_config(Config(name="planted"), [*data, *model])


def make_clean(folder: Path) -> DataSet:
    """Return a training and a validation set without any fault; their images lie in `folder`."""
    for name, first in (("train", 1), ("val", 101)):
        (folder / name).mkdir()
        for number in range(first, first + NUM_IMAGES):
            (folder / name / f"{number}.jpg").write_bytes(jpeg(number))
    return DataSet(folder, clean_content(), clean_content(101))


def huge_png() -> bytes:
    """A PNG whose header claims 20,000 x 20,000 pixels."""
    data = bytearray(cv2.imencode(".png", pixels(0))[1].tobytes())
    data[16:24] = struct.pack(">II", 20_000, 20_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def with_orientation(data: bytes, orientation: int) -> bytes:
    """Insert an EXIF block that holds only the orientation."""
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0]) + bytes(4)
    exif = b"Exif\x00\x00" + tiff
    return data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]


def plant(data: DataSet) -> None:
    """Add every fault of PLANTED."""
    _plant_in_images(data.train, data.folder / "train")
    _plant_in_annotations(data.train)
    _plant_in_classes(data.train, data.val, data.folder / "val")


def _plant_in_images(train: Content, folder: Path) -> None:
    """Add one picture with each fault."""
    noise = np.random.default_rng(60).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    files = {
        "random.jpg": b"no picture at all",
        "cut.jpg": jpeg(50)[:700],
        "huge.png": huge_png(),
        "other size.jpg": jpeg(51, 50, 70),
        "upside down.jpg": with_orientation(jpeg(52), 3),
        "copy of 1.jpg": jpeg(1),
        "zero.jpg": jpeg(53),
        "id of 2.jpg": jpeg(54),
        "deep.png": make_png(noise.astype(np.uint16) * 16),
        "odd.tif": make_tiff(noise - 0.5),
        "cut out.png": make_png(np.dstack((noise, 255 - noise // 128 * 255))),
        "pages.tif": make_tiff(255 - noise, pages=2),
        "bands.tif": make_tiff(np.dstack((noise, noise)), extra=(0,)),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    names = [*files, "nowhere.jpg", "3.jpg", "../val/101.jpg", 7]
    for number, name in enumerate(names, 40):
        train["images"].append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    by_name = {entry["file_name"]: entry for entry in train["images"][NUM_IMAGES:]}
    by_name["zero.jpg"]["width"] = -1
    by_name["id of 2.jpg"]["id"] = 2
    train["images"].append("3.jpg")


def _plant_in_annotations(train: Content) -> None:
    """Add annotations with one fault each; what training takes stands in pictures with few other objects."""
    good = annotation(0, 4, 3, (10, 35, 30, 50))
    polygon = good["segmentation"][0]
    rle = {"size": [HEIGHT, WIDTH], "counts": [WIDTH * HEIGHT]}
    changes: list[tuple[int, Content]] = [
        (4, {"image_id": 999}),
        (4, {"category_id": 99}),
        (4, {"iscrowd": "no"}),
        (4, {"bbox": [10, NAN, 20, 15], "segmentation": []}),
        (4, {"bbox": [10, 35, 20, 0], "segmentation": []}),
        (5, {"bbox": [90, 35, 20, 15]}),
        (5, {"segmentation": [[10, 35, 30, 35]]}),
        (5, {"segmentation": [[10, 35, 30, 35, NAN, 50]]}),
        (5, {"segmentation": [[x + 200 for x in polygon]]}),
        (5, {"segmentation": "10 35 30 35"}),
        (5, {"segmentation": {**rle, "size": [WIDTH, HEIGHT]}}),
        (5, {"segmentation": {**rle, "counts": [WIDTH * HEIGHT - 1]}}),
        (5, {"segmentation": []}),
        (5, {"segmentation": rle}),
        (6, {"bbox": [60, 35, 24, 15], "segmentation": [[60, 35, 80, 35, 80, 50, 60, 50]]}),
        (7, {"bbox": [60, 35, 18, 15], "segmentation": [[60, 35, 84, 35, 84, 50, 60, 50]]}),
        (8, {"bbox": [10, 10, 30, 20], "segmentation": [[10, 10, 30, 10, 30, 20, 10, 20]]}),  # two corners
        (9, {"area": 15, "bbox": [10, 35, 0.5, 15], "segmentation": [[10, 35, 11, 35, 11, 50, 10, 50]]}),
        (10, {"segmentation": [polygon, []]}),
        (11, {"segmentation": [[10.1, 35.1, 10.2, 35.1, 10.2, 35.2, 10.1, 35.2]]}),
        (12, {}),
        (12, {}),
    ]
    for number, (image_id, change) in enumerate(changes, 1000):
        train["annotations"].append({**copy.deepcopy(good), "id": number, "image_id": image_id, **change})
    train["annotations"].append(annotation(1005, 1, 3, (30, 35, 50, 50)))
    train["annotations"] += [annotation(2000 + n, 1, 8, (2 + 18 * n, 52, 12 + 18 * n, 58)) for n in range(4)]
    train["annotations"].append(annotation(3000, 3, 15, (2, 35, 12, 45)))


def _plant_in_classes(train: Content, val: Content, folder: Path) -> None:
    """Add a rare, an unused and a repeated class, one that only validation has, and a picture of both sets."""
    new = [{"id": 15, "name": "bird"}, {"id": 16, "name": "fox"}]
    train["categories"] += [*new, {"id": 8, "name": "second dog"}]
    val["categories"] += [*new, {"id": 17, "name": "wolf"}]
    val["annotations"] += [annotation(5000 + label, 101, label, (2, 35, 12, 45)) for label in (15, 16, 17)]
    (folder / "again.jpg").write_bytes(jpeg(2))
    val["images"].append({"id": 200, "file_name": "again.jpg", "height": HEIGHT, "width": WIDTH})


ONCE = """missing-picture other-bands unreadable-picture truncated-picture picture-too-large size-mismatch invalid-entry
    invalid-picture-size name-leaves-folder repeated-picture-id mended-annotation-id repeated-category unknown-picture
    undeclared-category class-count-differs invalid-box short-polygon invalid-polygon polygon-far-outside
    invalid-segmentation rle-size-mismatch invalid-rle exif-rotation duplicate-picture repeated-file-name
    unused-category rare-category degenerate-box box-outside box-over-edge thin-box box-unlike-mask polygon-over-edge
    odd-samples transparent-picture several-frames
    empty-polygon missing-mask duplicate-object categories-differ shared-picture"""
# Kind -> how often; the last two of ONCE in the validation set, the others in the training set.
PLANTED = {**dict.fromkeys(ONCE.split(), 1), "invalid-field": 2, "empty-mask": 2, "deep-samples": 2}
