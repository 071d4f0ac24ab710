"""Faulty data sets: what becomes of each is a named error, a counted repair, or taken as it is, declared here.

Each is inspected, sampled and handed to pycocotools in a child process with a limit of time and memory. None of them
has anything written or read that lies elsewhere.
"""

import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from tests.data.conftest import inspect, use
from yolact.errors import DatasetError

Content = dict[str, Any]
NAN, INF, MISSING = float("nan"), float("inf"), object()


class Fault(NamedTuple):
    """A data set with one fault."""

    name: str
    outcome: str  # "refused" at the start, "skipped" when its image is read, "left out" of training, or "taken"
    words: str  # of the sentence; why it is left out; the inspection's error where skipped, or warnings where taken
    change: Callable[[Content], object] | None = None  # of the annotation file
    files: Callable[[Path], object] = lambda folder: None  # change of the image folder
    text: Callable[[bytes], bytes] | None = None  # change of the annotation file's bytes


def put(where: str, words: str, *values: Any, outcome: str = "refused") -> Iterator[Fault]:
    """Yield faults with each of the values in one field of the first entry, or of the second's run lengths."""
    key, field = where.split(".")

    def change(content: Content, value: Any) -> None:
        if key == "file":
            entry = content
        else:
            entry = content["annotations"][1]["segmentation"] if key == "rle" else content[key][0]
        if value is MISSING:
            del entry[field]
        else:
            entry[field] = value

    for value in values:
        name = "missing" if value is MISSING else f"= {value!a:.40} {len(str(value))}"
        yield Fault(f"{where} {name}", outcome, words, lambda content, value=value: change(content, value))


def first(content: Content, key: str = "annotations") -> Content:
    return content[key][0]


NO_WHOLES = (None, "one", True, 2.5, [], [1], {}, NAN, 2**63, 10**400)
NO_TEXTS = (None, 1, True, 2.5, [], ["a.png"], {}, NAN, "")
FLAT = [10, 5, 30, 5, 30, 20, 10, 20]  # the polygon of the first object
CORNERS = [[10, 5], [30, 5], [30, 20], [10, 20]]
REFUSED = [
    *put("file.images", "has no list 'images' .*it holds annotations, categories", MISSING),
    *put("file.images", "has no list 'images'", {}, None),
    *put("file.annotations", "has no list 'annotations'", MISSING, "x"),
    *put("file.categories", "has no list 'categories'", MISSING, 5),
    *put("file.images", "lists no images", []),
    *put("file.categories", "declares no categories", []),
    *put("file.images", r"images\[0\] of .* must be an object, not 1", [1]),
    *put("file.annotations", r"annotations\[0\] of .* must be an object, not \[\]", [[]]),
    *put("file.categories", r"categories\[0\] of .* must be an object, not None", [None]),
    *put("categories.id", r"'id' of categories\[0\]", MISSING, *NO_WHOLES),
    *put("categories.id", r"categories\[1\].*repeats the id 7;", 7),
    *put("categories.name", r"'name' of categories\[0\]", MISSING, *NO_TEXTS),
    *put("categories.name", r"categories\[2\].*repeats the name 'cow'", "cow"),
    *put("images.id", r"'id' of images\[0\]", MISSING, *NO_WHOLES),
    *put("images.id", r"images\[1\].*repeats the id 4;", 4),
    *put("images.width", r"'width' of images\[0\]", *NO_WHOLES[1:]),
    *put("images.width", r"'a.png'.* is -?\d+ x 40 pixels", -1, 10**8, 2**60),
    *put("images.file_name", r"'file_name' of images\[0\]", MISSING, *NO_TEXTS),
    *put(
        "images.file_name", "leaves the image folder",
        "../a.png", "x/../../a.png", "..\\a.png", "./../a.png", "a.png/../../a.png", "/etc/passwd", "//server/a.png",
        "C:\\a.png", "c:a.png", "\\\\server\\a.png",
    ),
    *put(
        "images.file_name", "'.*' named by .* cannot be found in",
        "gone.png", "x/gone.png", "file:///etc/passwd", "~/a.png", "a.png\0", "a\nb.png", "a\r\x1b[2J.png",
        "\ud800.png", "\u202egnp.a", "\N{SNOWMAN}.png", "a" * 300 + ".png", "b/" * 3000 + "a.png", "x" * 300 + "/a.png",
        ".", "a.png ", "$(touch x).png", "CON/", "é" * 200 + ".png",
    ),
    *put("annotations.image_id", r"'image_id' of annotations\[0\]", MISSING, *NO_WHOLES),
    *put("annotations.image_id", r"annotations\[0\] \(id 1\).*image id 77", 77, "77", 77.0),
    *put("annotations.category_id", r"'category_id' of .*\(image 'a.png'\)", MISSING, *NO_WHOLES),
    *put("annotations.category_id", r"category_id \d+, .*declare .*\[7, 20, 42\]", 8, 255, "8", 8.0),
    *put("annotations.category_id", "do annotations count from 0", 0),
    *put("annotations.iscrowd", "'iscrowd' of", "yes", 2, [], {}, NAN),
    *put("annotations.segmentation", "'segmentation' of .* list of polygons or an RLE", "x", 5, True),
    *put(
        "annotations.segmentation", "polygon .* must be a flat list",
        [1, 2, 3, 4], [None], ["10 5 30 5"], [[[1, 2], [3, 4]]], [["one", 2, 3, 4, 5, 6]], [[[[[1, 2, 3, 4, 5, 6]]]]],
        [[1, 2], [3, 4, 5]],
        [[1, [2], 3, 4, 5, 6]], [[1, 2, 10**400, 4, 5, 6]], [[1, 2, 3, 4, 5, 6], {"size": [40, 60], "counts": [2400]}],
    ),
    *put("annotations.segmentation", r"in pairs, but it is \[1, 2, 3, 4", [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]]),
    *put("annotations.segmentation", "or one that is NaN", [[1, 2, NAN, 4, 5, 6]], [[1, 2, INF, 4, 5, 6]]),
    *put("annotations.segmentation", "far outside its 60 x 40", [[1, 2, 1e9, 4, 5, 6]], [[1, 2, 1e300, 4, 5, 6]]),
    *put(
        "annotations.segmentation", r"The RLE of .* must have size .* = \[40, 60\] of its image",
        {}, {"size": 5}, {"size": [10**9] * 2, "counts": [1]},
    ),
    *put("rle.size", r"it has size \[60, 40\] and", [60, 40]),
    *put(
        "rle.counts", "The RLE of .* counts .numbers or COCO's text. that .* add up to 2400, but it has size",
        MISSING, None, ["a"], [[1]], [45.5, 10, 2344.5], "\x01\x02", "é", "o", "o" * 30 + "0", "o" * 12 + "0",
        "P" * 10**6, [10**30], [], "", [0, 100, 100], [0, 100, 2301], [0, -100, 2500], [0, *[2**62] * 4, 2400],
        [2**31, 2**31, 2**32 - 1], [0] * 10**5,
    ),
    Fault(
        "NaN in a box without area", "refused", "polygon of",
        lambda content: first(content).update(bbox=[1, 1, 0, 0], segmentation=[[NAN] * 6]),
    ),
]  # fmt: skip
LEFT_OUT = [
    Fault(
        "box without area, no mask",
        "left out",
        "box without area",
        lambda content: first(content).update(bbox=[10, 5, 0, 15], segmentation=[]),
    ),
    *put("annotations.bbox", "box outside the image", [60, 5, 20, 15], [-90, 5, 20, 15], outcome="left out"),
    *put("annotations.segmentation", "no segmentation", MISSING, None, [], [[]], outcome="left out"),
    *put("rle.counts", "no segmentation", [2400], outcome="left out"),
]


def add_objects(content: Content, count: int) -> None:
    content["annotations"] += [{**first(content), "id": number} for number in range(10, 10 + count)]


def each(content: Content, **fields: Callable[[Content], Any]) -> None:
    for entry in content["annotations"]:
        entry.update({key: value(entry) for key, value in fields.items()})


TAKEN = [
    *put("annotations.bbox", "box-over-edge box-unlike-mask", [10, 5, 60, 15], outcome="taken"),
    *put("annotations.bbox", "thin-box box-unlike-mask", [10, 5, 0.4, 15], outcome="taken"),
    *put("annotations.bbox", "box-unlike-mask", [10, 5, 30, 20], outcome="taken"),
    *put("annotations.segmentation", "mended-area polygon-over-edge", [[10, -3, 30, 5, 30, 20]], outcome="taken"),
    *put("annotations.segmentation", "empty-mask", [[10, 5, 10, 5, 10, 5]], outcome="taken"),
    *put("images.width", "mended-picture-size", MISSING, None, 0, outcome="taken"),
    *put("annotations.id", "mended-annotation-id", MISSING, 2, *NO_WHOLES, outcome="taken"),
    *put("annotations.id", "mended-id", "1", 1.0, outcome="taken"),
    *put("annotations.image_id", "mended-id", "9", 9.0, " 9", outcome="taken"),
    *put("annotations.image_id", "mended-reference", "a.png", "a", outcome="taken"),
    *put("annotations.category_id", "mended-id", "42", 42.0, outcome="taken"),
    *put("annotations.category_id", "mended-reference", "cat", outcome="taken"),
    *put("annotations.iscrowd", "mended-crowd", "0", None, False, "false", 0.0, outcome="taken"),
    *put("annotations.area", "mended-area", MISSING, None, "x", True, [], {}, NAN, -3, 0, 7, 3000, outcome="taken"),
    *put("annotations.area", "mended-number", "300", outcome="taken"),
    *put(
        "annotations.bbox", "mended-box",
        MISSING, None, 2.5, [1, 2, 3], [None] * 4, [[10, 5, 20, 15]], [NAN, 5, 20, 15], [0, 5, INF, 15],
        ["x", 5, 20, 15], [0, 5, 1e9, 15], [0, 5, 10**400, 15], [1.5] * 10**5, [10, 5, 0, 15], [10, 5, 20, -1],
        outcome="taken",
    ),
    *put("annotations.bbox", "mended-box", [0, 0, 1e-200, 1e-200], outcome="taken"),
    *put("rle.size", "mended-number", ["40", "60"], [40.0, 60.0], outcome="taken"),
    *put("rle.counts", "mended-number", ["0", "200", "2200"], [0.0, 200, 2200], outcome="taken"),
    Fault(
        "run lengths in a list", "taken", "mended-nesting",
        lambda content: content["annotations"][1].update(segmentation=[content["annotations"][1]["segmentation"]]),
    ),
    *put("annotations.bbox", "mended-number", ["10", 5, " 20", "1.5e1"], outcome="taken"),
    *put(
        "annotations.segmentation", "mended-nesting",
        FLAT, CORNERS, [CORNERS], [[FLAT]], [[{"x": x, "y": y} for x, y in CORNERS]],
        outcome="taken",
    ),
    *put("annotations.segmentation", "mended-number", [["10", 5, "30", 5, 30, 20, 10, "20.0"]], outcome="taken"),
    *put("annotations.iscrowd", "", MISSING, outcome="taken"),
    *put("file.annotations", "", [], outcome="taken"),
    *put("images.file_name", "", "\u732b \N{SNOWMAN} \u00e9.png", "  a  b .png", "a" * 251 + ".png", outcome="taken"),
    Fault("crowds only", "taken", "", lambda content: each(content, iscrowd=lambda _: 1)),
    Fault("ids above 2^53", "taken", "", lambda content: each(content, id=lambda entry: 2**53 + entry["id"])),
    Fault("ids not in order", "taken", "", lambda content: content["annotations"].reverse()),
    Fault("the same object twice", "taken", "duplicate-object", lambda content: add_objects(content, 1)),
    Fault("ten thousand objects", "taken", "duplicate-object", lambda content: add_objects(content, 10_000)),
    Fault("an empty polygon", "taken", "empty-polygon", lambda content: first(content)["segmentation"].append([])),
    Fault(
        "a picture under two ids", "taken", "repeated-file-name",
        lambda content: content["images"].append({**first(content, "images"), "id": 1}),
    ),
]  # fmt: skip


def claiming_30_000_pixels(data: bytes) -> bytes:
    """Return a PNG whose header, rightly checksummed, says that it is so wide and high."""
    header = data[12:16] + (30_000).to_bytes(4, "big") * 2 + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]


def replaced(content: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / "a.png").write_bytes(content((folder / "a.png").read_bytes()))


def picture_of(height: int, width: int) -> Callable[[Path], object]:
    return lambda folder: cv2.imwrite(str(folder / "a.png"), np.zeros((height, width), np.uint8))


def folder_instead(folder: Path) -> None:
    (folder / "a.png").unlink()
    (folder / "a.png").mkdir()


def links_in_a_circle(folder: Path) -> None:
    (folder / "a.png").unlink()
    (folder / "a.png").symlink_to("circle.png")
    (folder / "circle.png").symlink_to("a.png")


def noise_after(suffix: str) -> Callable[[bytes], bytes]:
    begin = cv2.imencode(suffix, np.zeros((40, 60, 3), np.uint8))[1].tobytes()[:25] if suffix else b""
    return lambda _: begin + np.random.default_rng(0).bytes(1000)


SKIPPED = [
    Fault("empty file", "skipped", "unreadable-picture", files=replaced(lambda data: b"")),
    Fault("file cut off", "skipped", "truncated-picture", files=replaced(lambda data: data[:500])),
    Fault("page of text", "skipped", "unreadable-picture", files=replaced(lambda data: b"<html>404</html>")),
    Fault("bomb", "skipped", "picture-too-large", files=replaced(claiming_30_000_pixels)),
    Fault("another size", "skipped", "size-mismatch", files=picture_of(39, 60)),
    Fault("sides swapped", "skipped", "size-mismatch", files=picture_of(60, 40)),
    Fault("folder as picture", "skipped", "missing-picture", files=folder_instead),
    Fault("links in a circle", "skipped", "missing-picture", files=links_in_a_circle),
    *(
        Fault(f"noise {kind}", "skipped", "(truncated|unreadable)-picture", files=replaced(noise_after(kind)))
        for kind in ("", ".jpg", ".png", ".bmp", ".webp", ".gif", ".tif")
    ),
]
# Each entity is ten of the one before, 10 ** 9 letters in all. Nothing here reads XML, whatever a file is called.
ENTITIES = [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10)]
XML_BOMB = f'<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a0 "x">{"".join(ENTITIES)}]><svg>&a9;</svg>'.encode()
SKIPPED += [Fault("XML bomb", "skipped", "unreadable-picture", files=replaced(lambda data: XML_BOMB))]
NO_JSON = "is not valid JSON"
TEXTS = [
    Fault("no text", "refused", NO_JSON, text=lambda good: b""),
    Fault("text cut off", "refused", NO_JSON, text=lambda good: good[:-100]),
    Fault("text with two ends", "refused", f"{NO_JSON} .Extra data", text=lambda good: good + b"}"),
    Fault("text of XML", "refused", NO_JSON, text=lambda good: XML_BOMB),
    Fault("text of other letters", "refused", NO_JSON, text=lambda good: good.replace(b"cat", b"\xff\xfe")),
    Fault("text without end", "refused", NO_JSON, text=lambda good: b'{"images": ' + b"[" * 200_000),
    Fault("a number of 5,000 digits", "refused", NO_JSON, text=lambda good: good.replace(b"300", b"3" * 5000, 1)),
    Fault("text of a list", "refused", r"has no list 'images' \(it holds a list\)", text=lambda good: b"[%s]" % good),
    Fault("text with a BOM", "taken", "", text=lambda good: b"\xef\xbb\xbf" + good),
    Fault("text in UTF-16", "taken", "", text=lambda good: good.decode().encode("utf-16")),
]
FAULTS = [*REFUSED, *LEFT_OUT, *TAKEN, *SKIPPED, *TEXTS]


class Found(NamedTuple):
    """What became of a data set."""

    outcome: str
    message: str  # of the error, or why an annotation was left out
    errors: list[str]  # kinds that the inspection found
    warnings: list[str]


def run(source: tuple[Path, Path]) -> Found:
    inspected = kinds_of(source)
    try:
        dataset, skipped = use(*source, unreadable="skip")
    except DatasetError as error:
        return Found("refused", str(error), *inspected)
    if skipped:
        with pytest.raises(DatasetError, match=f"^{re.escape(skipped[0])}$"):
            use(*source)
        return Found("skipped", skipped[0], *inspected)
    return Found("left out" if dataset.dropped else "taken", ", ".join(dataset.dropped), *inspected)


def kinds_of(source: tuple[Path, Path]) -> list[list[str]]:
    """Return the errors and the warnings that an inspection finds."""
    try:
        found = inspect(*source)
    except DatasetError:
        return [["no COCO file"], []]
    return [sorted({one.kind for one in found if one.level == level}) for level in ("error", "warning")]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, write_set_to, in_child) -> dict[str, Any]:
    """Return how each of the data sets came out; the pictures are those of the good set, under the new names."""
    sources, root = [], tmp_path_factory.mktemp("sets")
    for number, fault in enumerate(FAULTS):
        (root / str(number)).mkdir()
        annotation_file, folder = write_set_to(root / str(number), fault.change)
        for record in json.loads(annotation_file.read_bytes())["images"] if fault.outcome == "taken" else []:
            if not (folder / record["file_name"]).exists():
                shutil.copy(folder / "a.png", folder / record["file_name"])
        fault.files(folder)
        if fault.text is not None:
            annotation_file.write_bytes(fault.text(annotation_file.read_bytes()))
        sources.append((annotation_file, folder))
    before = snapshot(root)
    outcomes = dict(zip((fault.name for fault in FAULTS), in_child(run, sources), strict=True))
    assert snapshot(root) == before
    assert len(outcomes) == len(FAULTS)
    return outcomes


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_what_becomes_of_it(found: dict[str, Any], fault: Fault) -> None:
    assert found[fault.name].fault == ""
    outcome, message, errors, warnings = found[fault.name].value
    assert outcome == fault.outcome, message
    assert bool(errors) == (outcome in ("refused", "skipped"))
    if outcome == "taken":
        assert warnings == sorted(fault.words.split())
    elif outcome == "left out":
        assert message == fault.words
        assert warnings
    else:
        assert re.search(fault.words, message if outcome == "refused" else "".join(errors))
        assert ("instances.json" if outcome == "refused" else "a.png") in message
        assert message.isprintable()
        assert len(message) < 1500
        assert message.endswith(".")
