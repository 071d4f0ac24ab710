import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from yolact.data.convert.writing import write_conversion
from yolact.data.convert.yolo import parse_line, read_yolo
from yolact.errors import ConfigError, DatasetError

HEIGHT, WIDTH = 40, 60
SQUARE = "0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6"  # columns 6 to 29, rows 4 to 23


@pytest.fixture
def write_set(tmp_path, write_picture):
    """Return a function that writes labels, {name without suffix: text or None}, and a picture for each."""

    def write(labels, pictures="images", texts="labels", **files):
        source = tmp_path / "source"
        for name, text in labels.items():
            write_picture(source / pictures / f"{name}.png")
            if text is not None:
                path = source / texts / f"{name}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        for name, text in files.items():
            (source / name.replace("_", ".")).write_text(text)
        return source

    return write


def names_of(conversion):
    return {split: [picture.name for picture in pictures] for split, pictures in conversion.splits.items()}


def test_a_line_by_hand():
    index, points = parse_line("3 0 0.25 1 0.5 0.125 1e-1\n", "here")
    assert index == 3
    assert points.tolist() == [[0, 0.25], [1, 0.5], [0.125, 0.1]]
    assert parse_line("2 .5 .5 .1 .2", "here") == (2, None)
    assert parse_line("2.0 0 0 1.01 0 1 -0.01", "here")[0] == 2


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("cat 0 0 1 0 1 1", "something other than numbers"),
        ("0,5 0 0 1 0 1 1", "something other than numbers"),
        ("0.5 0 0 1 0 1 1", "begins with 0.5"),
        ("-1 0 0 1 0 1 1", "begins with -1"),
        ("nan 0 0 1 0 1 1", "begins with nan"),
        ("inf 0 0 1 0 1 1", "begins with inf"),
        ("0 12 40 50 40 50 60", "holds 12, which is not between"),
        ("0 0 0 1 nan 1 1", "holds nan"),
        ("0 0 0 1 -0.02 1 1", "holds -0.02"),
        ("0", "holds 0 numbers after the class"),
        ("0 0.1 0.2 0.3", "holds 3 numbers"),
        ("0 0.1 0.2 0.3 0.4 0.9", "holds 5 numbers"),
        ("0 0 0 1 0 1 1 0.9", "holds 7 numbers"),
    ],
)
def test_lines_that_are_wrong(line, why):
    with pytest.raises(DatasetError, match=f"^here .*{why}.*expected `class x1"):
        parse_line(line, "here")


SHARE = st.floats(0, 1)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 999), st.lists(st.tuples(SHARE, SHARE), min_size=3, max_size=40), st.sampled_from([" ", "  ", "\t"])
)
def test_any_polygon_that_is_written_is_read(index, points, gap):
    line = gap.join([str(index), *(repr(value) for point in points for value in point)])
    found, polygon = parse_line(line, "here")
    assert found == index
    assert polygon.tolist() == [list(point) for point in points]


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.lists(st.one_of(st.floats().map(repr), st.integers().map(str), st.text(max_size=4)), max_size=9).map(
            " ".join
        ),
    ).filter(str.strip)
)
def test_any_text_is_a_line_or_a_sentence(line):
    try:
        index, points = parse_line(line, "here")
    except DatasetError:
        return
    assert index >= 0
    assert points is None or (points.shape[1] == 2 and len(points) >= 3 and (abs(points - 0.5) <= 0.51).all())


def test_a_set_by_hand(tmp_path, write_set, load):
    source = write_set(
        {"a": f"1 {SQUARE}\n\n0 0.5 0.5 1 0.5 1 1 0.5 1\n", "below/b": "", "c": None}, classes_txt="cat\ndog\n"
    )
    (source / "labels" / "lost.txt").write_text("")
    (source / "labels" / "classes.txt").write_text("cat\ndog\n")
    conversion = read_yolo(source, list)
    assert conversion.class_names == {1: "cat", 2: "dog"}
    assert conversion.notes.counts == {
        "pictures without a label file, taken as pictures without objects": 1,
        "label files without a picture, passed over": 1,
    }
    [written] = write_conversion(conversion, tmp_path / "out", True, list)
    found = load(written.annotations, written.images)
    assert set(found) == {"a.png", "below/b.png", "c.png"}
    (first, dog), (second, cat) = found["a.png"]
    assert (first, second) == ("dog", "cat")
    expected = np.zeros((2, HEIGHT, WIDTH), bool)
    expected[0, 4:24, 6:30] = True
    expected[1, 20:, 30:] = True
    np.testing.assert_array_equal([dog, cat], expected)
    assert found["below/b.png"] == found["c.png"] == []


@pytest.mark.parametrize(("pictures", "texts"), [("images/{}", "labels/{}"), ("{}/images", "{}/labels"), ("{}", "{}")])
def test_layouts_with_a_split_of_their_own(write_set, pictures, texts):
    for split in ("train", "valid", "test"):
        source = write_set({f"{split}1": f"0 {SQUARE}"}, pictures.format(split), texts.format(split))
    conversion = read_yolo(source, list)
    assert [len(picture.objects) for part in conversion.splits.values() for picture in part] == [1, 1, 1]
    assert {split: name[0].rpartition("/")[2] for split, name in names_of(conversion).items()} == {
        "train": "train1.png",
        "val": "valid1.png",
        "test": "test1.png",
    }


def test_without_folders_named_images_labels_lie_beside(write_set):
    source = write_set({"a": f"0 {SQUARE}", "b": f"5 {SQUARE}"}, ".", ".")
    conversion = read_yolo(source, list)
    assert names_of(conversion) == {"": ["a.png", "b.png"]}
    assert conversion.class_names == {1: "0", 6: "5"}
    assert "no class names" in conversion.notes.remarks[0]


@pytest.mark.parametrize("names", ["names: [cat, dog]", "names: {0: cat, 1: dog}", "names:\n  1: dog\n  0: cat"])
@pytest.mark.parametrize(
    "entries",
    [
        "train: images/one\nval: images/two",
        "train: ../images/one\nval: ../images/two",  # as Roboflow writes it
        "path: ../source\ntrain: images/one\nval: images/two",
        "path: ../elsewhere/on/another/computer\ntrain: [images/one]\nval: images\\two",
        "path: .\ntrain: one.txt\nval: images/two.txt",
    ],
)
def test_yaml_files(write_set, names, entries):
    write_set({"one/a": f"0 {SQUARE}", "one/b": f"1 {SQUARE}"})
    source = write_set({"two/c": f"1 {SQUARE}", "three/d": f"1 {SQUARE}"}, data_yaml=f"{names}\n{entries}\n")
    (source / "one.txt").write_text(f"images/one/a.png\n{source.resolve()}/images/one/b.png\n\n")
    (source / "images" / "two.txt").write_text("./two/c.png\n")
    for start in (source, source / "data.yaml"):
        conversion = read_yolo(start, list)
        assert conversion.class_names == {1: "cat", 2: "dog"}
        assert names_of(conversion) == {"train": ["images/one/a.png", "images/one/b.png"], "val": ["images/two/c.png"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: [cat]\ntrain: images/gone", "'train' of the YAML file is 'images/gone', which leads to nothing below"),
        ("names: [cat]\ntrain: ../../etc", "leads to nothing below"),
        ("names: [cat]\ntrain: /etc", "leads to nothing below"),
        ("names: [cat]\ntrain: 5", "leads to nothing below"),
        ("names: [cat]\ntrain: {a: b}", "leads to nothing below"),
        ("names: [cat]\ntrain: list.txt", "list.txt lists '/etc/passwd', which leads to nothing below"),
        ("names: [cat]\ntrain: images\nval: images", "'images/a.png' in 'train' and in 'val'"),
        ("names: [cat]\ntrain: labels", "lead to no pictures"),
        ("names: [cat, cat]", "2 classes .* have the name 'cat'"),
        ("names: [yes]", "The class name True .* is not text"),
        ("names: [[]]", "is not text"),
        ("names: 5", "'names' of the YAML file"),
        ("names: {cat: 0}", "'names' of the YAML file"),
        ("names: [cat]\nkpt_shape: [17, 3]", "describes keypoints"),
        ("names: [dog]\ntrain: images\nval: images/a.png\nx: &a [*a]", "aliases"),
        ("names: [", "not valid YAML"),
    ],
)
def test_yaml_files_that_are_wrong(write_set, text, expected):
    source = write_set({"a": f"0 {SQUARE}"}, data_yaml=text, list_txt="/etc/passwd\n")
    with pytest.raises((DatasetError, ConfigError), match=expected):
        read_yolo(source, list)


def test_boxes_are_passed_over_and_only_boxes_refused(tmp_path, write_set):
    source = write_set({"a": f"0 {SQUARE}\n0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.2 0.2\n"}, classes_txt="cat\ndog\n")
    conversion = read_yolo(source, list)
    [kind] = conversion.notes.counts
    assert "boxes (lines of 5 numbers, as for detection)" in kind
    assert conversion.notes.counts[kind] == 2
    assert len(conversion.splits[""][0].objects) == 1
    (source / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DatasetError, match=r"no object with a mask; it has 1 boxes .*line 1 of .*a\.txt"):
        write_conversion(read_yolo(source, list), tmp_path / "out", True, list)


def test_a_picture_with_a_wrong_label_is_left_out(write_set):
    labels = {"a": f"0 {SQUARE}", "b": f"2 {SQUARE}", "c": "0 1 2", "d": f"0 {SQUARE}"}
    source = write_set(labels, classes_txt="cat\ndog\n")
    (source / "images" / "d.png").write_bytes(b"no picture")
    (source / "images" / "e.png").write_bytes((source / "images" / "a.png").read_bytes())
    (source / "labels" / "e.txt").write_bytes(b"\xff\xfe\x00")
    conversion = read_yolo(source, list)
    assert names_of(conversion) == {"": ["images/a.png"]}
    reasons = "\n".join(conversion.notes.left_out)
    assert "class 2, which has none of the 2 class names" in reasons
    assert "line 1 of" in reasons
    assert "Cannot decode the picture" in reasons
    assert "e.txt is not text" in reasons
    (source / "labels" / "a.txt").write_text("x")
    with pytest.raises(DatasetError, match="None of 5 pictures can be used; the first: line 1 of"):
        read_yolo(source, list)


def test_nothing_to_convert(tmp_path, write_set, write_picture):
    with pytest.raises(DatasetError, match="There is no folder"):
        read_yolo(tmp_path / "gone", list)
    with pytest.raises(ConfigError, match="there is no such"):
        read_yolo(tmp_path / "gone.yaml", list)
    (tmp_path / "source").mkdir()
    with pytest.raises(DatasetError, match="There are no pictures"):
        read_yolo(tmp_path / "source", list)
    write_picture(tmp_path / "source" / "images" / "a.png")
    with pytest.raises(DatasetError, match=r"None of the 1 pictures .* has a label file, such as 'labels/a\.txt'"):
        read_yolo(tmp_path / "source", list)
    for name in ("one.yaml", "two.yml"):
        (tmp_path / "source" / name).write_text("names: [cat]")
    with pytest.raises(DatasetError, match="holds 2 YAML files"):
        read_yolo(tmp_path / "source", list)


def test_coco_polygons_by_way_of_yolo_text(tmp_path, shared, load):
    """Real polygons, written as shares with ten digits, come back with the same numbers and the same masks."""
    folder = shared / "coco_tiny"
    content = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    classes = [category["id"] for category in content["categories"]]
    source = tmp_path / "source"
    for name in ("images/val", "labels/val"):
        (source / name).mkdir(parents=True)
    expected = {}
    for image in content["images"][:8]:
        size = image["width"], image["height"]
        (source / "images/val" / image["file_name"]).symlink_to((folder / "val2017" / image["file_name"]).resolve())
        lines, expected[image["file_name"]] = [], []
        for item in content["annotations"]:
            if item["image_id"] == image["id"] and not item["iscrowd"] and len(item["segmentation"]) == 1:
                runs = coco_mask.merge(coco_mask.frPyObjects(item["segmentation"], *size[::-1]))
                shares = (np.reshape(item["segmentation"][0], (-1, 2)) / size).ravel()
                lines.append(f"{classes.index(item['category_id'])} " + " ".join(f"{share:.10f}" for share in shares))
                if coco_mask.area(runs):
                    expected[image["file_name"]].append((item, runs))
        (source / "labels/val" / f"{image['file_name'][:-4]}.txt").write_text("\n".join(lines))
    names = "\n".join(f"  {place}: {category['name']}" for place, category in enumerate(content["categories"]))
    (source / "data.yaml").write_text(f"val: images/val\nnames:\n{names}\n")
    [written] = write_conversion(read_yolo(source, list), tmp_path / "out", True, list)
    assert written.split == "val"
    found = load(written.annotations, written.images)
    result = json.loads(written.annotations.read_text())
    by_picture = {image["file_name"]: image["id"] for image in result["images"]}
    count = 0
    for name, objects in expected.items():
        entries = [entry for entry in result["annotations"] if entry["image_id"] == by_picture[name]]
        for entry, (_, mask), (item, runs) in zip(entries, found[name], objects, strict=True):
            assert entry["segmentation"] == item["segmentation"]
            assert entry["category_id"] == classes.index(item["category_id"]) + 1
            np.testing.assert_array_equal(mask, coco_mask.decode(runs) > 0)
            count += 1
    assert count > 40
