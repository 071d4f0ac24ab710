"""Faulty data sets: what becomes of each is a named error, a counted repair, or taken as it is, declared here.

Each is inspected, sampled and handed to pycocotools in a child process with a limit of time and memory.
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
from pycocotools import mask as coco_mask

from yolact.config import AugmentConfig
from yolact.data.dataset import CocoDataset
from yolact.data.loader import Place, TrainingSet
from yolact.data.transforms import make_transforms
from yolact.errors import DatasetError
from yolact.evaluation.truth import encode_annotation, read_truth
from yolact.tools.inspect.reading import InspectedSet, Source, inspect_files

Content = dict[str, Any]
Change = Callable[[Content], object]
NAN, INF = float("nan"), float("inf")


def first(data: Content, key: str = "annotations") -> Content:
    return data[key][0]


def crowd(data: Content) -> Content:
    return data["annotations"][1]["segmentation"]


# Refused at the start, with words of the sentence; it always names the file.
REFUSED: list[tuple[str, Change, str]] = [
    ("no images key", lambda d: d.pop("images"), "has no 'images'"),
    ("no annotations key", lambda d: d.pop("annotations"), "has no 'annotations'"),
    ("no categories key", lambda d: d.pop("categories"), "has no 'categories'"),
    ("images not a list", lambda d: d.update(images={}), "'images' .* must be a list"),
    ("annotation not an object", lambda d: d["annotations"].append(3), "'annotations' .* must be a list of objects"),
    ("no categories", lambda d: d.update(categories=[]), "declares no categories"),
    ("no pictures", lambda d: d.update(images=[]), "lists no images"),
    ("category without name", lambda d: first(d, "categories").pop("name"), r"'name' of categories\[0\].*missing"),
    ("category id is text", lambda d: first(d, "categories").update(id="7"), r"'id' of categories\[0\].*'7'"),
    ("category id repeated", lambda d: first(d, "categories").update(id=7), r"categories\[1\].*repeats the id 7"),
    ("category name repeated", lambda d: first(d, "categories").update(name="cow"), "repeats the name 'cow'"),
    ("image id repeated", lambda d: first(d, "images").update(id=4), r"images\[1\].*repeats the id 4"),
    ("image id is true", lambda d: first(d, "images").update(id=True), r"'id' of images\[0\].*True"),
    ("picture without height", lambda d: first(d, "images").pop("height"), r"'height' of images\[0\].*missing"),
    ("picture width is text", lambda d: first(d, "images").update(width="60"), r"'width' of images\[0\].*'60'"),
    ("picture of no size", lambda d: first(d, "images").update(width=0), "0 x 40 pixels"),
    ("picture too large", lambda d: first(d, "images").update(width=30_000, height=30_000), "30000 x 30000"),
    ("file_name empty", lambda d: first(d, "images").update(file_name=""), "'file_name' of"),
    ("file_name absolute", lambda d: first(d, "images").update(file_name="/etc/a.png"), "leaves the image folder"),
    ("file_name climbs", lambda d: first(d, "images").update(file_name="x/../../a.png"), "leaves the image folder"),
    ("file_name with drive", lambda d: first(d, "images").update(file_name="C:\\a.png"), "leaves the image folder"),
    ("picture file absent", lambda d: first(d, "images").update(file_name="gone.png"), "'gone.png' named by"),
    ("picture folder absent", lambda d: first(d, "images").update(file_name="x/gone.png"), "'x/gone.png' named by"),
    ("annotation without id", lambda d: first(d).pop("id"), r"'id' of annotations\[0\]"),
    ("annotation id repeated", lambda d: first(d).update(id=2), r"annotations\[1\] \(id 2\).*repeats the id"),
    ("unknown picture", lambda d: first(d).update(image_id=77), r"annotations\[0\] \(id 1\).*image id 77"),
    ("image id a list", lambda d: first(d).update(image_id=[9]), r"annotations\[0\] \(id 1\).*image id \[9\]"),
    ("no category", lambda d: first(d).pop("category_id"), "'category_id' of .*missing"),
    ("undeclared category", lambda d: first(d).update(category_id=8), "category_id 8, .* declare .*7, 20, 42"),
    ("iscrowd 2", lambda d: first(d).update(iscrowd=2), "'iscrowd' of"),
    ("area NaN", lambda d: first(d).update(area=NAN), "'area' of"),
    ("no box", lambda d: first(d).pop("bbox"), "'bbox' of"),
    ("box of three", lambda d: first(d).update(bbox=[1, 2, 3]), "'bbox' of"),
    ("box NaN", lambda d: first(d).update(bbox=[NAN, 5, 20, 15]), "'bbox' of"),
    ("box infinite", lambda d: first(d).update(bbox=[0, 5, INF, 15]), "'bbox' of"),
    ("box of text", lambda d: first(d).update(bbox=["1", 5, 20, 15]), "'bbox' of"),
    ("segmentation text", lambda d: first(d).update(segmentation="x"), "'segmentation' of .*not a str"),
    ("polygon not nested", lambda d: first(d).update(segmentation=[1, 2, 3, 4, 5, 6]), "must be a flat list"),
    ("polygon of pairs", lambda d: first(d).update(segmentation=[[[1, 2], [3, 4], [5, 6]]]), "must be a flat list"),
    ("polygon of text", lambda d: first(d).update(segmentation=[["1", 2, 3, 4, 5, 6]]), "must be a flat list"),
    ("polygon ragged", lambda d: first(d).update(segmentation=[[1, [2], 3, 4, 5, 6]]), "must be a flat list"),
    ("polygon of 2 points", lambda d: first(d).update(segmentation=[[1, 2, 3, 4]]), "has 4 coordinates"),
    ("polygon odd", lambda d: first(d).update(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "has 7 coordinates"),
    ("polygon NaN", lambda d: first(d).update(segmentation=[[1, 2, NAN, 4, 5, 6]]), "or one that is NaN"),
    ("polygon far away", lambda d: first(d).update(segmentation=[[1, 2, 1e9, 4, 5, 6]]), "far outside its 60 x 40"),
    ("RLE without counts", lambda d: crowd(d).pop("counts"), "'counts' of the RLE"),
    ("RLE counts of text", lambda d: crowd(d).update(counts=["a"]), "'counts' of the RLE"),
    ("RLE counts not COCO's", lambda d: crowd(d).update(counts="\x01\x02"), "'counts' of the RLE"),
    ("RLE counts cut off", lambda d: crowd(d).update(counts="o"), "'counts' of the RLE"),
    ("RLE counts endless", lambda d: crowd(d).update(counts="o" * 30 + "0"), "'counts' of the RLE"),
    ("RLE counts huge", lambda d: crowd(d).update(counts=[10**30]), "'counts' of the RLE"),
    ("RLE empty", lambda d: crowd(d).update(counts=[]), "add up to 0, expected .* 2400"),
    ("RLE falls short", lambda d: crowd(d).update(counts=[0, 100, 100]), "add up to 200, expected .* 2400"),
    ("RLE overflows", lambda d: crowd(d).update(counts=[0, *[2**62] * 4, 2400]), "the RLE of"),
    ("RLE negative", lambda d: crowd(d).update(counts=[0, -100, 2500]), "not negative"),
    ("RLE swapped size", lambda d: crowd(d).update(size=[60, 40]), r"has size \[60, 40\], expected .*\[40, 60\]"),
    ("box of 1e9", lambda d: first(d).update(bbox=[0, 5, 1e9, 15]), "'bbox' of"),
    ("id beyond 64 bits", lambda d: first(d).update(id=2**63), "whole number of 64 bits"),
    ("ids of text", lambda d: [entry.update(id=str(entry["id"])) for entry in d["annotations"]], "'id' of"),
    ("area below zero", lambda d: first(d).update(area=-3), "'area' of"),
    ("polygons and RLE in one", lambda d: first(d)["segmentation"].append(crowd(d)), "must be a flat list"),
    ("name too long", lambda d: first(d, "images").update(file_name="a" * 300 + ".png"), "cannot be found"),
    ("void as a class", lambda d: first(d).update(category_id=255), "category_id 255"),
    ("NaN in a box without area", lambda d: first(d).update(bbox=[1, 1, 0, 0], segmentation=[[NAN] * 6]), "polygon of"),
]
# Left out of training, counted under this reason.
LEFT_OUT: list[tuple[str, Change, str]] = [
    ("box without width", lambda d: first(d).update(bbox=[10, 5, 0, 15]), "box without area"),
    ("box below zero", lambda d: first(d).update(bbox=[10, 5, 20, -1]), "box without area"),
    ("box beside the image", lambda d: first(d).update(bbox=[60, 5, 20, 15]), "box outside the image"),
    ("no polygon", lambda d: first(d).update(segmentation=[]), "no segmentation"),
    ("no segmentation", lambda d: first(d).pop("segmentation"), "no segmentation"),
    ("RLE without a pixel", lambda d: crowd(d).update(counts=[2400]), "no segmentation"),
]


def add_objects(data: Content, count: int) -> None:
    data["annotations"] += [{**first(data), "id": number} for number in range(10, 10 + count)]


def name_first(data: Content, name: str) -> None:
    first(data, "images").update(file_name=name)


# Taken as they are, with the warning that an inspection gives; "" where nothing is wrong that a picture or an entry
# could show.
TAKEN: list[tuple[str, Change, str]] = [
    ("box over the edge", lambda d: first(d).update(bbox=[10, 5, 60, 15]), "box-over-edge box-unlike-mask"),
    ("box thinner than a pixel", lambda d: first(d).update(bbox=[10, 5, 0.4, 15]), "thin-box box-unlike-mask"),
    ("box of two corners", lambda d: first(d).update(bbox=[10, 5, 30, 20]), "box-unlike-mask"),
    ("polygon over the edge", lambda d: first(d).update(segmentation=[[10, -3, 30, 5, 30, 20]]), "polygon-over-edge"),
    ("mask of less than a pixel", lambda d: first(d).update(segmentation=[[10, 5, 10, 5, 10, 5]]), "empty-mask"),
    ("crowds only", lambda d: [entry.update(iscrowd=1) for entry in d["annotations"]], ""),
    ("the same object twice", lambda d: add_objects(d, 1), "duplicate-object"),
    ("ten thousand objects", lambda d: add_objects(d, 10_000), "duplicate-object"),
    ("name not in ASCII", lambda d: name_first(d, "\u732b \N{SNOWMAN} \u00e9.png"), ""),
    ("name of spaces", lambda d: name_first(d, "  a  b .png"), ""),
    ("name as long as can be", lambda d: name_first(d, "a" * 251 + ".png"), ""),
    ("ids not in order", lambda d: d["annotations"].reverse(), ""),
    ("ids above 2^53", lambda d: [entry.update(id=2**53 + entry["id"]) for entry in d["annotations"]], ""),
    ("no objects at all", lambda d: d.update(annotations=[]), ""),
    ("an empty polygon beside", lambda d: first(d)["segmentation"].append([]), "empty-polygon"),
    ("a picture under two ids", lambda d: d["images"].append({**first(d, "images"), "id": 1}), "repeated-file-name"),
]


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


# Refused when the image is read, or passed over and listed where unreadable ones are skipped.
SKIPPED: list[tuple[str, Callable[[Path], object], str]] = [
    ("empty file", replaced(lambda data: b""), "unreadable-picture"),
    ("file cut off", replaced(lambda data: data[:500]), "truncated-picture"),
    ("page of text", replaced(lambda data: b"<html>404</html>"), "unreadable-picture"),
    ("bomb", replaced(claiming_30_000_pixels), "picture-too-large"),
    ("another size", picture_of(39, 60), "size-mismatch"),
    ("sides swapped", picture_of(60, 40), "size-mismatch"),
    ("folder as picture", folder_instead, "missing-picture"),
    ("links in a circle", links_in_a_circle, "missing-picture"),
]


# Changes of the annotation file's bytes: refused with these words, or taken where there are none.
TEXTS: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("no annotation file", lambda good: b"", "is not valid JSON"),
    ("annotation file cut off", lambda good: good[:-100], "is not valid JSON"),
    ("annotation file with two ends", lambda good: good + b"}", "is not valid JSON .Extra data"),
    ("annotation file of XML", lambda good: b"<annotation><object/></annotation>", "is not valid JSON"),
    ("annotation file of other letters", lambda good: good.replace(b"cat", b"\xff\xfe"), "is not valid JSON"),
    ("annotation file without end", lambda good: b"[" * 100_000, "is not valid JSON"),
    ("annotation file of a list", lambda good: b"[%s]" % good, "holds a list, expected an object"),
    ("annotation file with a BOM", lambda good: b"\xef\xbb\xbf" + good, ""),
    ("annotation file in UTF-16", lambda good: good.decode().encode("utf-16"), ""),
]


class Fault(NamedTuple):
    """A data set with one fault."""

    name: str
    outcome: str
    words: str  # see the tables
    change: Change | None = None  # of the annotation file
    files: Callable[[Path], object] = lambda folder: None  # change of the image folder
    text: Callable[[bytes], bytes] | None = None  # change of the annotation file's bytes


FAULTS = [
    *(Fault(name, "refused", words, change) for name, change, words in REFUSED),
    *(Fault(name, "left out", words, change) for name, change, words in LEFT_OUT),
    *(Fault(name, "taken", words, change) for name, change, words in TAKEN),
    *(Fault(name, "skipped", words, files=files) for name, files, words in SKIPPED),
    *(Fault(name, "refused" if words else "taken", words, text=text) for name, text, words in TEXTS),
]


class Found(NamedTuple):
    """What became of a data set."""

    outcome: str
    message: str  # of the error, or why an annotation was left out
    errors: frozenset[str]  # kinds that the inspection found
    warnings: frozenset[str]


def run(source: tuple[Path, Path]) -> Found:
    inspected = kinds_of(source)
    try:
        dataset = CocoDataset(*source)
    except DatasetError as error:
        return Found("refused", str(error), *inspected)
    lenient = TrainingSet(dataset, 64, make_transforms(AugmentConfig()), seed=0, unreadable="skip")
    strict = TrainingSet(dataset, 64, make_transforms(AugmentConfig()), seed=0)
    for index in range(len(dataset)):
        _, target, skipped = lenient[Place(index, index)]
        assert target["boxes"].isfinite().all()
        assert len(target["boxes"]) == len(target["masks"]) == len(target["labels"])
        if skipped:
            with pytest.raises(DatasetError) as caught:
                strict[Place(index, index)]
            assert skipped == [str(caught.value)]
            return Found("skipped", skipped[0], *inspected)
    truth, _ = read_truth(source[0], "segm")
    sizes = {entry["id"]: (entry["height"], entry["width"]) for entry in truth["images"]}
    for entry in truth["annotations"]:
        size = sizes[entry["image_id"]]
        assert coco_mask.decode(encode_annotation(entry["segmentation"], size)).shape == size
    return Found("left out" if dataset.dropped else "taken", ", ".join(dataset.dropped), *inspected)


def kinds_of(source: tuple[Path, Path]) -> Iterator[frozenset[str]]:
    """Return the errors and the warnings that an inspection finds."""
    try:
        inspected = InspectedSet(Source("train", *source))
    except DatasetError:
        return iter((frozenset({"no COCO file"}), frozenset()))
    inspect_files(inspected)
    found = inspected.findings.values()
    levels = ("error", "warning")
    return (frozenset(finding.kind for finding in found if finding.level == level) for level in levels)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, write_set_to, in_child) -> dict[str, Any]:
    """Return how each of the data sets came out; the pictures are those of the good set, under the new names."""
    sources = []
    for fault in FAULTS:
        annotation_file, folder = write_set_to(tmp_path_factory.mktemp("set"), fault.change)
        for record in json.loads(annotation_file.read_bytes()).get("images", []) if fault.outcome == "taken" else []:
            if not (folder / record["file_name"]).exists():
                shutil.copy(folder / "a.png", folder / record["file_name"])
        fault.files(folder)
        if fault.text is not None:
            annotation_file.write_bytes(fault.text(annotation_file.read_bytes()))
        sources.append((annotation_file, folder))
    return dict(zip((fault.name for fault in FAULTS), in_child(run, sources), strict=True))


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_what_becomes_of_it(found: dict[str, Any], fault: Fault) -> None:
    assert found[fault.name].fault == ""
    outcome, message, errors, warnings = found[fault.name].value
    assert outcome == fault.outcome, message
    assert bool(errors) == (outcome in ("refused", "skipped"))
    if outcome == "taken":
        assert warnings == set(fault.words.split())
    elif outcome == "skipped":
        assert errors == {fault.words}
    elif outcome == "left out":
        assert message == fault.words
        assert warnings
    else:
        assert re.search(fault.words, message)
    if outcome in ("refused", "skipped"):
        assert ("instances.json" if outcome == "refused" else "a.png") in message
        assert message.isprintable()


def test_they_are_eighty_and_more() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 80
