"""Generated bad inputs: each gives a sentence, is counted, or becomes a data set that loads; nothing else happens."""

import base64
import json
import random
import shutil
import unicodedata
from collections import Counter

import pytest

from yolact.data.convert.labelme import read_labelme
from yolact.data.convert.mask_pairs import MaskClasses, read_masks
from yolact.data.convert.summary import warning_lines
from yolact.data.convert.writing import write_conversion
from yolact.data.convert.yolo import read_yolo
from yolact.data.dataset import CocoDataset
from yolact.errors import UserError

ODD = [
    None, True, 0, -1, 3, 2**70, -(10**400), 1e308, float("nan"), float("inf"), "", "x", "12", "\u0000", "\ud800",
    "é 雪", "\n\x1b[31m", "../../a.png", "/etc/passwd", "C:\\a.png", "..", ".", "a" * 5000, "train/../../a.png", "aGk=",
    "%%%", [], [[]], [1], [[1, 2]], [[1, 2], [3, 4]], [["1", "2"]] * 3, [[1, 2, 3]] * 3, [[None, True]] * 4,
    [[1e9, 1]] * 3, {}, {"a": 1},
]  # fmt: skip


@pytest.fixture
def outcome(tmp_path, everything):
    """Return a function that converts, checks that nothing else was touched, and says what came of it.

    That is an error's sentence, or the data set, loaded, with the sentences on what was left out.
    """

    def convert(read, output):
        conversion = read()
        [written] = write_conversion(conversion, output, True, list)
        "\n".join(warning_lines(conversion)).encode()
        dataset = CocoDataset(written.annotations, written.images)
        for index in range(len(dataset)):
            dataset.load_image(index)
            dataset.objects(index)
        return dataset, conversion.notes.left_out

    def run(read):
        before, output = everything(tmp_path), tmp_path / "out"
        try:
            dataset, sentences = convert(read, output)
            shutil.rmtree(output)
        except UserError as error:
            dataset, sentences = None, [str(error)]
        assert everything(tmp_path) == before
        for sentence in sentences:
            sentence.encode()
            assert sentence.endswith(".")
            assert not any(unicodedata.category(character) == "Cc" for character in sentence)
        return dataset, sentences

    return run


def positions(content, path=()):
    """Yield where every value of a nested JSON stands."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from positions(value, (*path, key))


def replaced(content, path, value):
    if not path:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


def test_wrong_types_in_every_field_of_labelme(tmp_path, write_labelme, outcome):
    good = write_labelme(tmp_path / "source", [{"label": "cat", "points": [[1, 1], [9, 1], [9, 7]]}], "good")
    stored = base64.b64encode(good.with_suffix(".png").read_bytes()).decode()
    content = {
        **json.loads(good.read_text()),
        "imagePath": "bad.png",
        "imageData": stored,
        "shapes": [
            {"label": "cat", "points": [[1, 1], [9, 1], [9, 7]], "group_id": 1, "shape_type": "polygon"},
            {"label": "cat", "points": [[1, 1], [9, 1]], "group_id": 1, "shape_type": "rectangle"},
            {"label": "dog", "points": [[5, 5], [9, 1]], "group_id": None, "shape_type": "circle"},
            {"label": "dog", "points": [[0, 0], [59, 39]], "group_id": 2, "shape_type": "mask", "mask": stored},
        ],
    }
    rng = random.Random(0)
    places = list(positions(content))
    cases = [(place, value) for place in places for value in ODD]
    sizes, num_left_out = Counter(), 0
    for place, value in rng.sample(cases, 200):
        (tmp_path / "source" / "bad.json").write_text(json.dumps(replaced(content, place, value)))
        dataset, sentences = outcome(lambda: read_labelme(tmp_path / "source", list))
        sizes[len(dataset)] += 1  # the good picture remains, with or without the other
        num_left_out += len(sentences)
        assert len(dataset) + len(sentences) in (1, 2)
    assert sizes[1] + sizes[2] == 200
    assert min(sizes[2], num_left_out) > 20


def test_files_that_are_cut_or_random(tmp_path, write_labelme, outcome):
    path = write_labelme(tmp_path / "source", [{"label": "cat", "points": [[1, 1], [9, 1], [9, 7]]}])
    rng = random.Random(1)
    for number, file in enumerate([path, path.with_suffix(".png")] * 20):
        whole = file.read_bytes()
        cut = whole[: rng.randrange(len(whole))]
        file.write_bytes(cut if number % 4 < 2 else rng.randbytes(rng.randrange(300)))
        assert outcome(lambda: read_labelme(tmp_path / "source", list))[0] is None
        file.write_bytes(whole)


@pytest.mark.parametrize("depth", [10, 100_000])
def test_deep_nesting(tmp_path, write_labelme, outcome, depth):
    path = write_labelme(tmp_path / "source", [])
    path.write_text('{"shapes":' + "[" * depth + "]" * depth + "}")
    assert outcome(lambda: read_labelme(tmp_path / "source", list))[0] is None


def test_odd_yolo_files(tmp_path, write_picture, outcome):
    source = tmp_path / "source"
    write_picture(source / "images" / "a.png")
    (source / "labels").mkdir()
    (source / "labels" / "a.txt").write_text("0 0 0 1 0 1 1")
    rng = random.Random(2)
    for value in ODD:
        key = rng.choice(["names", "train", "val", "path", "kpt_shape"])
        (source / "data.yaml").write_text(json.dumps({"names": ["cat"], key: value}))
        outcome(lambda: read_yolo(source, list))
    (source / "data.yaml").write_bytes(rng.randbytes(200))
    assert outcome(lambda: read_yolo(source, list))[0] is None


def test_odd_masks(tmp_path, write_picture, outcome):
    source = tmp_path / "source"
    picture = write_picture(source / "images" / "a.png")
    (source / "masks").mkdir()
    rng = random.Random(3)
    for number in range(20):
        data = picture.read_bytes()[: rng.randrange(400)] if number % 2 else rng.randbytes(100)
        (source / "masks" / "a.png").write_bytes(data)
        assert outcome(lambda: read_masks(source, MaskClasses(), list))[0] is None


def test_names_that_are_not_text(tmp_path, write_labelme, write_picture, outcome):
    source = tmp_path / "source"
    write_labelme(source, [{"label": "cat", "points": [[1, 1], [9, 1], [9, 7]]}])
    try:
        (source / b"\xff.json".decode(errors="surrogateescape")).write_text("{}")
        (source / "new\nline.json").write_text("{}")
    except OSError:
        pytest.skip("this file system has no such names")
    dataset, sentences = outcome(lambda: read_labelme(source, list))
    assert (len(dataset), len(sentences)) == (1, 2)


def test_linked_folders_are_read_once(tmp_path, write_labelme, outcome):
    source = tmp_path / "source"
    write_labelme(tmp_path / "elsewhere" / "deep", [{"label": "cat", "points": [[1, 1], [9, 1], [9, 7]]}])
    source.mkdir()
    (source / "one").symlink_to(tmp_path / "elsewhere")
    (source / "two").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(source)
    dataset, _ = outcome(lambda: read_labelme(source, list))
    assert [picture.file_name for picture in dataset.images] == ["a.png"]
