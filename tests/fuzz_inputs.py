"""Sound inputs, and strategies of hypothesis that spoil them; test_fuzz.py reads the results."""

import base64
import copy
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from tests.data.conftest import HEIGHT, WIDTH
from tests.data.conftest import content as tiny_set
from tests.engine.test_checkpoint import state
from yolact.config import Config, dump_config

NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
PICTURE = cv2.imencode(".png", NOISE)[1].tobytes()

TIMES = st.sampled_from([1, 1, 1, 2, 3])
ODD_NUMBERS = [-1, 0, 0.5, 1e9, 1e308, -1e308, float("nan"), float("inf"), 2**31, 2**53 + 1, 2**63, 2**64, 10**400]
ODD_TEXTS = [
    "", ".", "..", "../a.png", "/etc/passwd", "C:\\a.png", "a.png\0", "\ud800", "\u202e", "\x1b[2J", "a" * 5000, "12",
    "nan", "]1:Qa0", "ooooooooooooo", "a.png",
]  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(ODD_NUMBERS) | st.sampled_from(ODD_TEXTS),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
WORDS = st.sampled_from([
    "&a", "*a", "!!python/object/apply:os.mkdir [x]", "!!binary", "!!set", "[", "]", "{", "}", "- ", ": ", "? ", "|",
    ">", "'", '"', "#", "~", "<<", "%YAML 1.1", "---", "...", "\t", "\n", "  ", ",", "12:30", "0x10", "1_0", "1e-3",
    ".nan", "-.inf", "no", "2001-01-01", "1e999", "9" * 5000, "-0.5", "1.001", "0", "1", "0.5", "5e-324", "\0",
    "\ufeff", "\x85",
]) | st.text(max_size=6)  # fmt: skip


def positions(nested: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where every value of a nested JSON stands."""
    items = nested.items() if isinstance(nested, dict) else enumerate(nested) if isinstance(nested, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from positions(value, (*path, key))


@st.composite
def changed(draw: st.DrawFn, content: Any) -> Any:
    """Return nested content with up to three values replaced, moved, repeated or removed."""
    content = {"": copy.deepcopy(content)}
    for _ in range(draw(TIMES)):
        places = list(positions(content))
        *path, key = draw(st.sampled_from(places))
        parent = content
        for step in path:
            parent = parent[step]
        match draw(st.sampled_from(["replace", "number", "move", "repeat", "remove"])):
            case "replace":
                parent[key] = draw(ODD)
            case "number":
                parent[key] = draw(st.sampled_from(ODD_NUMBERS) | st.integers(-5, 100) | st.floats(-100, 200))
            case "move":
                *path, other = draw(st.sampled_from(places))
                source = content
                for step in path:
                    source = source[step]
                parent[key] = copy.deepcopy(source[other])
            case "repeat" if isinstance(parent, list):
                parent.insert(key, copy.deepcopy(parent[key]))
            case "remove" if path:
                del parent[key]
    return content[""]


ANY_BYTES = st.binary(max_size=12)


@st.composite
def edited(draw: st.DrawFn, data: bytes, inserts: st.SearchStrategy[bytes] = ANY_BYTES) -> bytes:
    """Return bytes with up to three pieces replaced, and sometimes cut off."""
    for _ in range(draw(TIMES)):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        data = data[:at] + draw(inserts) + data[at + length :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 9 else data


def edited_text(text: str) -> st.SearchStrategy[bytes]:
    return edited(text.encode(), WORDS.map(lambda word: word.encode(errors="surrogatepass")))


def as_json(content: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Write content as JSON, and one time in five edit that."""
    written = content.map(lambda value: json.dumps(value).encode())
    return st.one_of(*[written] * 4, written.flatmap(edited))


def annotations() -> dict[str, Any]:
    """Return the tiny data set with one more object, of compressed run lengths."""
    found = tiny_set()
    rle = coco_mask.frPyObjects({"size": [HEIGHT, WIDTH], "counts": [45, 10, 2345]}, HEIGHT, WIDTH)
    mask = {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}
    found["annotations"].append({**found["annotations"][0], "id": 9, "segmentation": mask})
    return found


def labels() -> st.SearchStrategy[tuple[bytes, bytes]]:
    lines = "0 0.1 0.1 0.9 0.1 0.9 0.8\n1 0.5 0.5 0.2 0.2\n\n1 0 0 1 0 1 1 0 1\n"
    settings = "path: .\ntrain: images\nnames:\n  0: cat\n  1: dog\n"
    share = st.floats(-0.02, 1.02) | st.sampled_from([0, 0.0, -0.0, 1, 1.01, -0.01, 5e-324, 0.5])
    outline = st.lists(share, min_size=6, max_size=12).map(lambda values: " ".join(map(str, ["1", *values])))
    drawn = st.lists(outline, max_size=3).map(lambda found: "\n".join(found).encode())
    texts = st.one_of(edited_text(lines), drawn)
    return st.tuples(texts, st.one_of(*[st.just(settings.encode())] * 2, edited_text(settings)))


def shapes() -> dict[str, Any]:
    mask = base64.b64encode(cv2.imencode(".png", np.full((2, 2), 255, np.uint8))[1]).decode()
    return {
        "version": "5.4.1",
        "flags": {},
        "imagePath": "a.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        "shapes": [
            {"label": "cat", "points": [[1, 1], [9, 1], [9, 7]], "group_id": 1, "shape_type": "polygon"},
            {"label": "cat", "points": [[1, 1], [9, 1]], "group_id": 1, "shape_type": "rectangle"},
            {"label": "dog", "points": [[5, 5], [9, 1]], "group_id": None, "shape_type": "circle"},
            {"label": "dog", "points": [[3, 3], [4, 4]], "group_id": 2, "shape_type": "mask", "mask": mask},
            {"label": "dog", "points": [[3, 3], [9, 9], [3, 9], [0, 4]], "shape_type": "oriented_rectangle"},
        ],
    }


def tasks() -> list[dict[str, Any]]:
    """Return tasks of Label Studio for the image; its run lengths are of two long runs, zeros and opaque ones."""
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    number, half = 4 * HEIGHT * WIDTH, 2 * HEIGHT * WIDTH
    bits = f"{number:032b}{7:05b}{'1111' * 4}" + "".join(f"100{half - 1:016b}{value:08b}" for value in (0, 255))
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    values: dict[str, dict[str, Any]] = {
        "polygonlabels": {"points": [[10, 10], [50, 10], [50, 60]]},
        "rectanglelabels": {"x": 50, "y": 50, "width": 20, "height": 10, "rotation": 30},
        "ellipselabels": {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 30},
        "brushlabels": {"format": "rle", "rle": rle},
    }
    results = [{"id": kind, "type": kind, "value": {**value, kind: ["cat"]}, **size} for kind, value in values.items()]
    annotations = [{"result": results, "was_cancelled": False}, {"result": []}]
    return [
        {"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-a.png"}, "annotations": annotations, "predictions": []}
    ]


def via_entries() -> dict[str, Any]:
    outlines: list[dict[str, Any]] = [
        {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 7]},
        {"name": "rect", "x": 1, "y": 2, "width": 9, "height": 5},
        {"name": "ellipse", "cx": 9, "cy": 9, "rx": 5, "ry": 3, "theta": 0.5},
    ]
    regions = [{"shape_attributes": shape, "region_attributes": {"class": "cat"}} for shape in outlines]
    return {"_via_img_metadata": {"a.png9": {"filename": "a.png", "regions": regions}}}


def segments() -> dict[str, Any]:
    """Return a panoptic file for a PNG of numbers 1 and 2."""
    found = [{"id": 1, "category_id": 3, "iscrowd": 0}, {"id": 2, "category_id": 4, "iscrowd": 1}]
    return {
        "images": [{"id": 5, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"image_id": 5, "file_name": "a.png", "segments_info": found}],
        "categories": [{"id": 3, "name": "cat", "isthing": 1}, {"id": 4, "name": "sky", "isthing": 1}],
    }


def cvat_files() -> st.SearchStrategy[bytes]:
    image: dict[str, Any] = {"name": "a.png", "width": WIDTH, "height": HEIGHT, "subset": "train"}
    shapes: list[list[Any]] = [
        ["polygon", {"label": "cat", "points": "1,1;9,1;9,7", "group_id": "1"}],
        ["box", {"label": "cat", "xtl": 1, "ytl": 2, "xbr": 9.5, "ybr": 7, "rotation": 30}],
        ["ellipse", {"label": "dog", "cx": 9, "cy": 9, "rx": 5, "ry": 3}],
        ["mask", {"label": "cat", "rle": "1, 2, 1, 4, 1, 2, 1", "left": 5, "top": 6, "width": 4, "height": 3}],
    ]

    def attributes(entry: object) -> str:
        items = entry.items() if isinstance(entry, dict) else ()
        return "".join(f" {key}={quoteattr(str(value))}" for key, value in items)

    def write(content: Any) -> str:
        inner = [shape for shape in content[1] if isinstance(shape, list) and len(shape) == 2]
        body = "".join(f"<{tag}{attributes(entry)}/>" for tag, entry in inner)
        return f"<annotations><image{attributes(content[0])}>{body}</image></annotations>"

    spoilt = changed([image, shapes]).filter(lambda content: isinstance(content, list) and len(content) == 2)
    texts = spoilt.filter(lambda content: isinstance(content[1], list)).map(write)
    whole = write([image, shapes])
    inserts = st.sampled_from(["<!DOCTYPE a>", "<!ENTITY a 'b'>", "&a;", "&#0;", "<![CDATA[", "<a>", "<track/>", "'"])
    return st.one_of(
        *[texts.map(lambda text: text.encode(errors="surrogatepass"))] * 2,
        edited(whole.encode(), inserts.map(str.encode)),
    )


def with_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks have right checksums again, so that what was changed is really read."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        parts += [data[at : at + 4], body, struct.pack(">I", zlib.crc32(body))]
        at += 12 + length
    return b"".join(parts) + data[at:]


def two_objects() -> np.ndarray:
    """Return the indices of object 1, object 2 and void."""
    indices = np.zeros((12, 16), np.uint8)
    indices[2:6, 2:9], indices[7:10, 3:14], indices[6] = 1, 2, 255
    return indices


def indexed_png(indices: np.ndarray) -> bytes:
    """Return a picture with a palette of indices, uint8 [12, 16]."""
    file, image = io.BytesIO(), Image.fromarray(indices, "P")
    image.putpalette(bytes(range(256)) * 3)
    image.save(file, "PNG", compress_level=0)
    return file.getvalue()


def voc_files() -> st.SearchStrategy[tuple[bytes, bytes, bytes]]:
    picture, listed = st.just(indexed_png(two_objects())), st.just(b"2008_000002\n")
    spoilt = picture.flatmap(edited) | picture.flatmap(edited).map(with_checksums)
    drawn = st.binary(min_size=192, max_size=192).map(
        lambda data: indexed_png(np.frombuffer(data, np.uint8).reshape(12, 16))
    )
    return st.one_of(
        st.tuples(edited_text("2008_000002\n2008_000003\n"), picture, picture),
        st.tuples(listed, spoilt | drawn, picture | drawn),
        st.tuples(listed, picture | drawn, spoilt | drawn),
    )


def configurations() -> st.SearchStrategy[tuple[bytes, list[str]]]:
    short = "name: a\nmodel:\n  image_size: 64\n  backbone: {name: resnet18}\ntrain:\n  lr: 1e-3\n  lr_steps: [5, 9]\n"
    long = dump_config(Config())
    keys = st.sampled_from(["train.lr", "model.anchors.scales", "eval.nms", "data.augment", "train", "name", "x.y", ""])
    override = st.builds(lambda key, value: f"{key}={value}", keys, WORDS) | WORDS
    return st.tuples(edited_text(short) | edited_text(long), st.lists(override, max_size=1))


def checkpoint() -> dict[str, Any]:
    content = state(size=20)
    del content["rng"]  # most of the bytes, which say nothing
    return content


def saved(content: Any, **form: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **form)
    return file.getvalue()


@st.composite
def repacked(draw: st.DrawFn, data: bytes) -> bytes:
    """Return a checkpoint with one of its members edited and checksums that are right again."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(file, "w") as other:
        names = archive.namelist()
        chosen = draw(st.sampled_from([names[0]] * 4 + names))  # the first is the pickle
        for name in names:
            content = archive.read(name)
            other.writestr(name, draw(edited(content)) if name == chosen else content)
    return file.getvalue()


def checkpoints() -> st.SearchStrategy[bytes]:
    plain, legacy = saved(checkpoint()), saved(checkpoint(), _use_new_zipfile_serialization=False)
    return st.one_of(edited(plain), repacked(plain), edited(legacy), changed(checkpoint()).map(saved))
