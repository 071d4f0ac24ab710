import re

import numpy as np
import pytest

from tests.tools.convert_sources import HEIGHT, WIDTH, block, converted, names_of, write_yolo
from yolact.errors import ConfigError, DatasetError
from yolact.tools.convert.common import encode_mask
from yolact.tools.convert.writing import write_conversion
from yolact.tools.convert.yolo import read_yolo

SQUARE = "0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6"  # columns 6 to 29, rows 4 to 23


@pytest.mark.parametrize(("line", "found"), [
    *[(f"{word} 0 0 1 0 1 1", f"holds '{word} 0 0") for word in ("cat", "0,5", "0.5", "-1", "nan", "inf", "1000000")],
    ("0 12 40 50 40 50 60", "holds 12,"),
    ("0 0 0 1 nan 1 1", "holds nan,"),
    ("0 0 0 1 -0.02 1 1", "holds -0.02,"),
    *[("0" + " 0.1" * n, "holds '0") for n in (0, 3, 5, 7)],
])  # fmt: skip
def test_lines_that_are_wrong(tmp_path, line, found):
    source = write_yolo(tmp_path, {"a": line})
    with pytest.raises(DatasetError, match=rf"None of 1 images .*line 1 of .*a\.txt {found}.*expected `class x1"):
        read_yolo(source)


def test_blanks_around_class_names_go(tmp_path):
    source = write_yolo(tmp_path / "source", {"a": f"0 {SQUARE}\n1 {SQUARE}"})
    (source / "classes.txt").unlink(missing_ok=True)
    (source / "data.yaml").write_text('names: [cat, "\u00a0dog "]', encoding="utf-8")
    conversion = read_yolo(source)
    assert [name for name, _ in converted(conversion, tmp_path / "out")["a.png"]] == ["cat", "dog"]
    assert conversion.counts["classes with blanks around their names"] == 1


def run_lengths(mask):
    """Return COCO's run lengths of a mask, column by column, beginning with zeros, by hand."""
    flat = np.concatenate(([False], mask.ravel(order="F"), [False]))
    borders = np.flatnonzero(np.diff(flat)).tolist()
    return np.diff([0, *borders, mask.size]).tolist()


def test_lines_of_run_lengths(tmp_path):
    """Compressed or not, beside an outline."""
    ring = block(10, 10, 30, 30) & ~block(15, 15, 20, 20)
    text = encode_mask(ring)["counts"].decode()
    numbers = " ".join(map(str, run_lengths(ring)))
    lines = [f"0 {SQUARE}", f"1 rle {HEIGHT} {WIDTH} {text}", f"1 rle {HEIGHT} {WIDTH} {numbers}"]
    conversion = read_yolo(write_yolo(tmp_path / "source", {"a": "\n".join(lines)}))
    masks = [mask for _, mask in converted(conversion, tmp_path / "out")["a.png"]]
    np.testing.assert_array_equal(masks, [block(6, 4, 30, 24), ring, ring])
    assert not conversion.faults


@pytest.mark.parametrize(("line", "why"), [
    ("0 rle 60 40 2400", r"must have size \[height, width\] = \[40, 60\]"), ("0 rle 40 60 5 9", "add up to 2400"),
    ("0 rle 40 60", "expected `class rle height width counts`"), ("0 rle x y z", "expected `class rle height width"),
    ("x rle 40 60 2400", "holds 'x rle"), ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.9", r"7 numbers .*confidence \(save_conf\)"),
    ("0 0.1,0.1 0.2,0.2 0.3,0.1", "holds '0 0.1,0.1"), ("9 0.1 0.1 0.2 0.2 0.3 0.3", "has class 9, but there are 1"),
])  # fmt: skip
def test_a_wrong_line_leaves_the_others(tmp_path, line, why):
    source = write_yolo(tmp_path, {"a": f"{line}\n0 {SQUARE}\n", "b": f"0 {SQUARE}"})
    (source / "classes.txt").write_text("cat\n")
    conversion = read_yolo(source)
    assert [len(image.objects) for image in conversion.splits[""]] == [1, 1]
    [fault] = conversion.faults
    assert re.search(why, fault)
    assert "line 1 of" in fault
    assert not conversion.left_out


def test_a_set_by_hand(tmp_path):
    labels = {"a": f"1 {SQUARE}\n\n0.0 .5 5e-1 1.01 0.5 1 1 0.5 1\n0 0.5 0.5 0.2 0.2\n", "below/b": "", "c": None}
    source = write_yolo(tmp_path / "source", labels)
    for name in ("classes.txt", "labels/classes.txt"):
        (source / name).write_text("cat\ndog\n")
    (source / "labels" / "lost.txt").write_text("")
    conversion = read_yolo(source)
    assert conversion.class_names == {1: "cat", 2: "dog"}
    assert conversion.counts == {
        "boxes (lines of 5 numbers, as for detection) without a mask, passed over": 1,
        "images without a label file, taken as images without objects": 1,
        "label files without an image, passed over": 1,
    }
    found = converted(conversion, tmp_path / "out")
    assert set(found) == {"a.png", "below/b.png", "c.png"}
    (first, dog), (second, cat) = found["a.png"]
    assert (first, second) == ("dog", "cat")
    np.testing.assert_array_equal([dog, cat], [block(6, 4, 30, 24), block(30, 20, 60, 40)])
    (source / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DatasetError, match=r"no object with a mask \(1 boxes .*line 1 of .*a\.txt"):
        write_conversion(read_yolo(source), tmp_path / "boxes", True)


@pytest.mark.parametrize(("images", "texts"), [("images/{}", "labels/{}"), ("{}/images", "{}/labels"), ("{}", "{}")])
def test_layouts_with_a_split_of_their_own(tmp_path, images, texts):
    for split in ("train", "valid", "test"):
        source = write_yolo(tmp_path, {split: f"0 {SQUARE}"}, images.format(split), texts.format(split))
    splits = read_yolo(source).splits
    assert [(split, len(image.objects)) for split, part in splits.items() for image in part] == [
        ("train", 1), ("val", 1), ("test", 1),
    ]  # fmt: skip


def test_labels_beside_images_and_classes_without_names(tmp_path):
    conversion = read_yolo(write_yolo(tmp_path, {"a": f"0 {SQUARE}", "b": f"5 {SQUARE}"}, ".", "."))
    assert names_of(conversion) == {"": ["a.png", "b.png"]}
    assert conversion.class_names == {1: "0", 6: "5"}
    assert "sets without class names" in next(iter(conversion.counts))


@pytest.mark.parametrize("names", ["names: [cat, dog]", "names: {0: cat, 1: dog}", "names:\n  1: dog\n  0: cat"])
@pytest.mark.parametrize("entries", [
    "train: images/one\nval: images/two",
    "train: ../images/one\nval: ../images/two",  # as Roboflow writes it
    "path: ../source\ntrain: images/one\nval: images/two",
    "path: ../elsewhere/on/another/computer\ntrain: [images/one]\nval: images\\two",
    "path: .\ntrain: one.txt\nval: images/two.txt", "train: source/images/one\nval: source/images/two",
])  # fmt: skip
def test_yaml_files(tmp_path, monkeypatch, names, entries):
    monkeypatch.chdir(tmp_path)
    squares = dict.fromkeys(("one/a", "one/b", "two/c", "three/d"), f"1 {SQUARE}")
    source = write_yolo(tmp_path / "source", squares)
    (source / "data.yaml").write_text(f"{names}\n{entries}\n")
    (source / "one.txt").write_text(f"images/one/a.png\ndata/images/one/a.png\n{source.resolve()}/images/one/b.png\n\n")
    (source / "images" / "two.txt").write_text("./two/c.png\n")
    for start in (source, source / "data.yaml"):
        conversion = read_yolo(start)
        assert conversion.class_names == {1: "cat", 2: "dog"}
        assert names_of(conversion) == {"train": ["images/one/a.png", "images/one/b.png"], "val": ["images/two/c.png"]}
    (source / "data.yaml").write_text(f"{names}\nval: images/two\n")
    assert names_of(read_yolo(source)) == {"val": ["images/two/c.png"]}


@pytest.mark.parametrize(("text", "expected"), [
    ("names: [cat]\ntrain: images/gone", "'train' of the YAML file has 'images/gone', which leads to nothing below"),
    *[
        (f"names: [cat]\ntrain: {entry}", "leads to nothing below")
        for entry in ("../../etc", "/etc", "5", "{a: b}")
    ],
    ("names: [cat]\ntrain: list.txt", "list.txt has '/etc/passwd', which leads to nothing below"),
    ("names: [cat]\ntrain: images\nval: images", "'images/a.png' in 'train' and in 'val'"),
    ("names: [cat]\ntrain: labels", "There are no images below"),
    *[
        (f"names: {names}", f"'names' of .* must be a list, .*, not {re.escape(shown)}")
        for names, shown in (
            ("[cat, cat]", "['cat', 'cat']"), ("[yes]", "[True]"), ("[[]]", "[[]]"), ("5", "5"), ("{cat: 0}", "{'cat'"),
            ('["a\\nb"]', "['a"), ("{1000000: cat}", "{1000000"),
        )
    ],
    ("names: [cat]\nkpt_shape: [17, 3]", "describes keypoints"),
    ("names: [dog]\nx: &a [*a]", "aliases"),
    ("names: [", "not valid YAML"),
])  # fmt: skip
def test_yaml_files_that_are_wrong(tmp_path, text, expected):
    source = write_yolo(tmp_path, {"a": f"0 {SQUARE}"})
    (source / "data.yaml").write_text(text)
    (source / "list.txt").write_text("/etc/passwd\n")
    with pytest.raises((DatasetError, ConfigError), match=expected):
        read_yolo(source)


def test_an_image_with_a_wrong_label_is_left_out(tmp_path):
    labels = {"a": f"0 {SQUARE}", "b": f"2 {SQUARE}", "c": "0 1 2", "d": f"0 {SQUARE}", "e": ""}
    source = write_yolo(tmp_path, labels)
    (source / "classes.txt").write_text("cat\ndog\n")
    (source / "images" / "d.png").write_bytes(b"no image")
    (source / "labels" / "e.txt").write_bytes(b"\xff\xfe\x00")
    conversion = read_yolo(source)
    assert names_of(conversion) == {"": ["images/a.png"]}
    reasons = "class 2, but there are 2 class names", "line 1 of", "Cannot decode the", "e.txt is not text in UTF-8"
    for reason, sentence in zip(reasons, conversion.left_out, strict=True):
        assert reason in sentence
