"""Two hundred bad inputs, made at random: each is refused in a sentence or skipped and counted, and nothing is written.

All of them run in child processes with a time limit, through the data set, the samples and the inspection.
"""

import copy
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest

from yolact.config import AugmentConfig
from yolact.data.dataset import CocoDataset
from yolact.data.loader import Place, TrainingSet
from yolact.errors import DatasetError
from yolact.tools.inspect.image_files import inspect_files
from yolact.tools.inspect.reading import InspectedSet, Source

NAN, INF = float("nan"), float("inf")
HEIGHT, WIDTH = 40, 60
REFUSED, SKIPPED, DROPPED = "refused at the start", "picture skipped", "annotation left out"


class Case(NamedTuple):
    """One bad input: a change of the annotation file, its bytes, or those of the picture."""

    name: str
    outcome: str
    change: Callable[[dict[str, Any]], object] | None = None
    text: bytes | None = None  # of the annotation file
    picture: bytes | None = None


def good_content() -> dict[str, Any]:
    """Two pictures, of which the first is to be spoilt, with a polygon and run lengths."""
    box = {"bbox": [10, 5, 20, 15], "area": 300, "iscrowd": 0, "category_id": 7}
    rle = {"size": [HEIGHT, WIDTH], "counts": [400, 300, 1700]}
    return {
        "images": [
            {"id": 1, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH},
            {"id": 2, "file_name": "good.png", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [
            {**box, "id": 1, "image_id": 1, "segmentation": [[10, 5, 30, 5, 30, 20, 10, 20]]},
            {**box, "id": 2, "image_id": 1, "segmentation": rle},
            {**box, "id": 3, "image_id": 2, "segmentation": [[10, 5, 30, 5, 30, 20, 10, 20]]},
        ],
        "categories": [{"id": 7, "name": "cat"}],
    }


def encoded(suffix: str, *options: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return cv2.imencode(suffix, noise, options)[1].tobytes()


def truncated(rng: np.random.Generator) -> Iterator[Case]:
    """Cut JPEGs, baseline and progressive, and other kinds at random places."""
    progressive = encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    files = [encoded(".jpg")] * 16 + [progressive] * 8 + [encoded(".png")] * 5 + [encoded(".webp")] * 5
    for data in files:
        end = int(rng.integers(len(data) - 12))  # the last chunk of a PNG holds nothing
        yield Case(f"{data[:4]!r} cut at {end} of {len(data)}", SKIPPED, picture=data[:end])


def random_bytes(rng: np.random.Generator) -> Iterator[Case]:
    """Noise instead of a picture, after the beginning of one, or instead of the annotation file."""
    begins = (b"", *(encoded(suffix)[:25] for suffix in (".jpg", ".png", ".bmp", ".webp", ".gif", ".tif")))
    for number in range(16):
        data = begins[number % len(begins)] + rng.bytes(int(rng.integers(1, 3000)))
        yield Case(f"noise {data[:8]!r}", SKIPPED, picture=data)
    text = json.dumps(good_content()).encode()
    for _ in range(9):
        place = int(rng.integers(len(text)))
        noise = bytes(rng.integers(128, 256, 8, np.uint8))
        yield Case(f"JSON with noise at {place}", REFUSED, text=text[:place] + noise + text[place + 8 :])
    for number in range(6):
        yield Case(f"JSON cut off {number}", REFUSED, text=text[: int(rng.integers(len(text)))])
    yield Case("JSON of noise", REFUSED, text=rng.bytes(500))
    yield Case("JSON without end", REFUSED, text=b"[" * 100_000)
    yield Case("JSON with a number of 5,000 digits", REFUSED, text=text.replace(b"300", b"3" * 5000, 1))


def setter(key: str, place: int, field: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content[key][place].update({field: value})


def wrong_types() -> Iterator[Case]:
    """Put values of wrong types into every field."""
    texts = [None, 1, True, 2.5, [], ["a.jpg"], {}, NAN]
    wholes = [None, "1", True, 2.5, [], [1], {}, NAN]
    numbers = [None, "1", True, [], {}, NAN]
    arrays = [None, 2.5, [None] * 4, [[10, 5, 20, 15]], [10, 5, NAN, 15]]
    fields = {
        "images": {"id": wholes[2:], "file_name": texts[:6], "height": wholes[:4], "width": wholes[4:]},
        "annotations": {
            "id": wholes[:4],
            "image_id": wholes[3:],
            "category_id": wholes[:6],
            "bbox": arrays,
            "area": numbers[:5],
            "iscrowd": ["0", 2, None, [], {}, NAN],
            "segmentation": ["x", 5, True, {}, {"size": 5}, [5], [None], ["10 5 30 5"], [[[10, 5], [30, 5], [30, 20]]]],
        },
        "categories": {"id": wholes[4:], "name": texts[:5]},
    }
    for key, values_by_field in fields.items():
        for field, values in values_by_field.items():
            for value in values:
                yield Case(f"{key}.{field} = {value!r}", REFUSED, setter(key, 0, field, value))
    for value in (None, []):
        yield Case(f"segmentation = {value!r}", DROPPED, setter("annotations", 0, "segmentation", value))
    for key in ("images", "annotations", "categories"):
        for value in ({}, [1]):
            yield Case(
                f"{key} = {value!r}", REFUSED, lambda content, key=key, value=value: content.update({key: value})
            )


def with_size(suffix: str, height: int, width: int) -> bytes:
    """Return a small picture whose header claims another size."""
    data = bytearray(encoded(suffix))
    size = {".png": (16, ">II"), ".bmp": (18, "<ii"), ".gif": (6, "<HH")}.get(suffix)
    if size:
        struct.pack_into(size[1], data, size[0], width, height)
    else:
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def huge_sizes() -> Iterator[Case]:
    """Sizes, coordinates and lengths beyond all measure, in the annotation file and in pictures' headers."""
    for value in (-1, 10**6, 10**30, 10**400):
        yield Case(
            f"width {value:.0e}" if value < 10**300 else "width 1e400", REFUSED, setter("images", 0, "width", value)
        )
    for suffix, side in (
        (".png", 30_000),
        (".png", 2**31 - 1),
        (".jpg", 65_000),
        (".bmp", 2**31 - 1),
        (".gif", 65_000),
    ):
        yield Case(f"{suffix} of {side}", SKIPPED, picture=with_size(suffix, side, side))
    for value in (1e9, 1e300, 10**400):
        box, polygon = [10, 5, value, 15], [[10, 5, value, 5, 30, 20]]
        yield Case(f"bbox {str(value)[:9]}", REFUSED, setter("annotations", 0, "bbox", box))
        yield Case(f"polygon {str(value)[:9]}", REFUSED, setter("annotations", 0, "segmentation", polygon))
    for box in ([10, 5, 20, -1e8], [1e8, 5, 20, 15]):
        yield Case(f"bbox {box}", DROPPED, setter("annotations", 0, "bbox", box))
    for counts in ([2**62, 2**62], [10**30], [0, 2400, 10**18], "o" * 9 + "0", "P" * 10**6, [0] * 10**5):
        rle = {"size": [HEIGHT, WIDTH], "counts": counts}
        yield Case(f"counts {str(counts)[:30]}", REFUSED, setter("annotations", 1, "segmentation", rle))
    yield Case(
        "RLE of another size",
        REFUSED,
        setter("annotations", 1, "segmentation", {"size": [10**9] * 2, "counts": [10**18]}),
    )
    yield Case("bbox of 100,000 numbers", REFUSED, setter("annotations", 0, "bbox", [1.5] * 10**5))
    yield Case("id 10**400 twice", REFUSED, lambda c: [entry.update(id=10**400) for entry in c["annotations"]])


def names() -> Iterator[Case]:
    """Names of pictures that lead elsewhere, that no file can have, or that no terminal can show."""
    values = [
        "../sentinel.jpg", "x/../../sentinel.jpg", "..\\sentinel.jpg", "./../sentinel.jpg", "{root}/sentinel.jpg",
        "/etc/passwd", "//server/a.jpg", "C:\\a.jpg", "c:a.jpg", "\\\\server\\a.jpg", "a.jpg/../../sentinel.jpg",
        "file:///etc/passwd", "~/a.jpg", "a.jpg\0", "a\nb.jpg", "a\r\x1b[2J.jpg", "\ud800.jpg", "\u202egpj.a",
        "\N{SNOWMAN}.jpg", "a" * 300 + ".jpg", "b/" * 3000 + "a.jpg", "x" * 300 + "/a.jpg", ".", "a.jpg ",
        "$(touch sentinel).jpg", "CON/", "x\ty/a.jpg", "é" * 200 + ".jpg",
    ]  # fmt: skip
    for value in values:
        yield Case(f"name {value[:40]!r}", REFUSED, setter("images", 0, "file_name", value))
    yield Case("name of a folder", SKIPPED, setter("images", 0, "file_name", "folder"))


def all_cases() -> list[Case]:
    rng = np.random.default_rng(0)
    return [*truncated(rng), *random_bytes(rng), *wrong_types(), *huge_sizes(), *names()]


def write(case: Case, folder: Path) -> Source:
    """Write the data set of a case below `folder`, beside a picture that no name may reach."""
    pictures = folder / "pictures"
    (pictures / "folder").mkdir(parents=True)
    (pictures / "good.png").write_bytes(encoded(".png"))
    (folder / "sentinel.jpg").write_bytes(encoded(".jpg"))
    (pictures / "a.jpg").write_bytes(encoded(".jpg") if case.picture is None else case.picture)
    content = copy.deepcopy(good_content())
    if case.change is not None:
        case.change(content)
    text = json.dumps(content).replace("{root}", str(folder)).encode() if case.text is None else case.text
    (folder / "instances.json").write_bytes(text)
    return Source("train", folder / "instances.json", pictures)


def check_sentence(error: Exception, *names: str) -> None:
    message = str(error)
    assert message.isprintable(), message
    assert len(message) < 1500
    assert message.endswith((".", ")"))
    assert any(name in message for name in names), message


def samples(source: Source) -> tuple[CocoDataset, list[str]]:
    """Make one sample of each picture and return what was skipped; what cannot be read is also refused by default."""
    dataset = CocoDataset(source.annotation_file, source.image_folder)
    lenient = TrainingSet(dataset, 64, AugmentConfig(), seed=0, unreadable="skip")
    strict = TrainingSet(dataset, 64, AugmentConfig(), seed=0)
    skipped = []
    for index in range(len(dataset)):
        image, _, reasons = lenient[Place(index, index)]
        assert image.shape == (3, 64, 64)
        skipped += reasons
        if reasons:
            with pytest.raises(DatasetError) as caught:
                strict[Place(index, index)]
            check_sentence(caught.value, "a.jpg", "folder")
            assert reasons == [str(caught.value)]
    return dataset, skipped


def outcome(source: Source) -> str:
    """Run all of a case and return how it came out; what no user should see gets out as it is."""
    found = True
    try:
        inspected = InspectedSet(source)
        inspect_files(inspected)
        findings = list(inspected.findings.values())
        json.dumps([finding.to_json() for finding in findings], allow_nan=False).encode()
        found = any(finding.level == "error" for finding in findings)
    except DatasetError as error:
        check_sentence(error, "instances.json")
    try:
        dataset, skipped = samples(source)
    except DatasetError as error:
        check_sentence(error, "instances.json")
        assert found, "the inspection found no error"
        return REFUSED
    assert found == bool(skipped)
    if skipped:
        assert len(skipped) == 1
        return SKIPPED
    return DROPPED if dataset.dropped.total() == 1 else "accepted"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def test_two_hundred_bad_inputs(tmp_path: Path, in_child, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = all_cases()
    sources = [write(case, tmp_path / str(number)) for number, case in enumerate(cases)]
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    ended = in_child(outcome, sources)
    found = [end.fault or end.value for end in ended]
    wrong = [(case.name, out) for case, out in zip(cases, found, strict=True) if out != case.outcome]
    assert wrong == []
    assert snapshot(tmp_path) == before
    assert Counter(found) == {REFUSED: 140, SKIPPED: 56, DROPPED: 4}
    assert len(found) == 200
