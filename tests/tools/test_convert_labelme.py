import base64
import json

import cv2
import numpy as np
import pytest

from tests.tools.convert_sources import HEIGHT, WIDTH, block, converted, drawn, shape, write_image, write_labelme
from yolact.errors import DatasetError
from yolact.tools.convert.labelme import read_labelme
from yolact.tools.convert.writing import warning_lines, write_conversion


def png_text(mask):
    return base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8))[1]).decode()


def test_shapes_by_hand(tmp_path):
    """Of every kind with an area, and those of one label and group are one object."""
    stored = np.eye(4, 6, dtype=bool)
    shapes = [
        shape("cat", [[1, 1], [9.25, 1], [9, 7.5], [2, 6]]),
        shape("dog", [[30, 20], [10, 10]], "rectangle"),
        shape("dog", [[5, 30], [10, 33]], "mask", mask=png_text(stored)),
        shape("cat", [[40, 5], [50, 5], [50, 15], [40, 15]], "oriented_rectangle", group=1),
        shape("dog", [[20, 2], [26, 2], [26, 8]], None, group=1),
        shape("cat", [[55, 5], [60, 5], [60, 9], [55, 9]], group=1),
        shape("cat", [[30, 30], [40, 35]], "rectangle", group=2),
        shape("cat", [[50, 30], [53, 31]], "mask", group=2, mask=png_text(np.ones((2, 4)))),
    ]
    write_labelme(tmp_path / "source", shapes)
    conversion = read_labelme(tmp_path / "source")
    names, masks = zip(*converted(conversion, tmp_path / "out")["a.png"], strict=True)
    assert names == ("cat", "dog", "dog", "cat", "dog", "cat")
    assert conversion.class_names == {1: "cat", 2: "dog"}
    pixels = block(0, 0, 0, 0)
    pixels[30:34, 5:11] = stored
    np.testing.assert_array_equal(masks, [
        drawn([1, 1, 9.25, 1, 9, 7.5, 2, 6]), block(10, 10, 30, 20), pixels, block(40, 5, 50, 15) | block(55, 5, 60, 9),
        drawn([20, 2, 26, 2, 26, 8]), block(30, 30, 40, 35) | block(50, 30, 54, 32),
    ])  # fmt: skip
    assert not conversion.counts
    assert not conversion.left_out
    first, second, *_ = json.loads((tmp_path / "out" / "instances.json").read_text())["annotations"]
    assert first["segmentation"] == [[1, 1, 9.25, 1, 9, 7.5, 2, 6]]
    assert (first["bbox"], second["bbox"], second["area"]) == ([1, 1, 8.25, 6.5], [10, 10, 20, 10], 200)


@pytest.mark.parametrize(("centre", "radius"), [((30, 20), 15), ((30.5, 20.5), 0.7), ((58, 3), 9), ((5, 20), 60)])
def test_a_circle_is_what_lies_within_its_radius(tmp_path, centre, radius):
    """Also one that reaches out of the image, further than a polygon may."""
    on_it = [centre[0] + radius * 0.6, centre[1] - radius * 0.8]
    write_labelme(tmp_path / "source", [shape("disc", [list(centre), on_it], "circle")])
    [(_, mask)] = converted(read_labelme(tmp_path / "source"), tmp_path / "out")["a.png"]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot(columns - centre[0], rows - centre[1])
    assert mask[distance < radius - 0.75].all()
    assert not mask[distance > radius + 0.75].any()


def test_a_stored_mask_is_cut_at_the_border(tmp_path):
    stored = np.random.default_rng(0).random((2, 4, 6)) < 0.5
    corners = [[-2, 38.2], [3, 41.4]], [[57, -1], [62, 2]], [[-9, -9], [-4, -6]], [[70, 50], [75, 53]]
    masks = stored[0], stored[1], stored[0], stored[0]
    shapes = [shape(points=c, kind="mask", mask=png_text(m)) for c, m in zip(corners, masks, strict=True)]
    write_labelme(tmp_path / "source", shapes)
    conversion = read_labelme(tmp_path / "source")
    expected = np.zeros((2, HEIGHT, WIDTH), bool)
    expected[0, 38:, :4] = stored[0, :2, 2:]
    expected[1, :3, 57:] = stored[1, 1:, :3]
    found = converted(conversion, tmp_path / "out")["a.png"]
    np.testing.assert_array_equal([mask for _, mask in found], expected)
    assert conversion.counts == {"objects that cover no pixel, passed over": 2}


def test_what_has_no_area_is_counted(tmp_path):
    shapes = [
        shape(points=[[3, 3]], kind="point"),
        *[shape(points=[[3, 3], [4, 4]], kind="line")] * 2,
        shape(points=[[3, 3], [4, 4]]),
        shape(points=[[7, 7], [7, 7]], kind="rectangle"),
        shape(points=[[7, 7], [7, 7]], kind="circle"),
        shape(),
    ]
    path = write_labelme(tmp_path / "source", shapes)
    (tmp_path / "source" / "settings.json").write_text("[1, 2]")
    (tmp_path / "source" / "._a.json").write_bytes(b"\0\1")
    write_image(tmp_path / "source" / "unlabelled.png")
    conversion = read_labelme(tmp_path / "source")
    assert len(conversion.splits[""][0].objects) == 1
    assert conversion.counts == {
        "shapes of the kind 'point', which have no area, passed over": 1,
        "shapes of the kind 'line', which have no area, passed over": 2,
        "shapes of the kind 'polygon' with fewer than three points, passed over": 1,
        "objects that cover no pixel, passed over": 2,
        "JSON files that are not labelme's, passed over": 1,
        "images without a usable label file, left out": 1,
    }
    assert conversion.examples["shapes of the kind 'line', which have no area, passed over"] == f"shapes[1] of {path}"


@pytest.mark.parametrize(("fields", "why"), [
    (shape(points=[[1, 1], [2, 2], [3, 1]], kind="rectangle"), "as many as the kind 'rectangle' has"),
    (shape(points=[[1, 1]], kind="circle"), "as many as the kind 'circle' has"),
    (shape(points=[[1, 1], [float("nan"), 2], [3, 1]]), "in finite numbers"),
    (shape(points=[[1, 1], [900, 2], [3, 1]]), r"A polygon of shapes\[0\] of .* far outside its 60 x 40 image"),
    (shape(points=[[1, 1], [9, 9]], kind="mask", mask=png_text(np.ones((2, 4)))), "is 4 x 2 .* points say 9 x 9"),
    (shape(points=[[1, 1], [9, 9]], kind="mask", mask="%%"), "'mask' of .* is not base64"),
    (shape(group=1.5), "'group_id' of .* must be a whole number, text or null"),
    (shape("two\nlines"), "'label' of .* must be text without control characters"),
    (shape("half \ud800"), "'label' of .* must be text without control characters"),
])  # fmt: skip
def test_shapes_that_are_wrong(tmp_path, fields, why):
    write_labelme(tmp_path / "source", [fields])
    with pytest.raises(DatasetError, match=f"None of 1 images can be used; the first: .*{why}"):
        read_labelme(tmp_path / "source")


def test_a_wrong_shape_leaves_the_others(tmp_path):
    """Also where it is no object; the image is left out where all are wrong."""
    far = shape("dog", [[1, 1], [900, 2], [3, 1]])
    write_labelme(tmp_path, [shape(), far, 7, shape(points="x")], "a")
    write_labelme(tmp_path, [far, shape(kind="line")], "b")
    conversion = read_labelme(tmp_path)
    assert [(image.name, len(image.objects)) for image in conversion.splits[""]] == [("a.png", 1)]
    for place, fault in zip(("shapes[2]", "shapes[3]", "shapes[1]"), conversion.faults, strict=True):
        assert f"{place} of " in fault
    [sentence] = conversion.left_out
    assert "shapes[0] of" in sentence
    warnings = "\n".join(warning_lines(conversion))
    assert "3 objects of the images kept were left out:\n  'shape' of shapes[2]" in warnings


def test_a_single_label_file(tmp_path):
    path = write_labelme(tmp_path, [shape()], "a")
    write_labelme(tmp_path, [shape()], "b")
    conversion = read_labelme(path)
    assert [image.name for image in conversion.splits[""]] == ["a.png"]
    assert conversion.counts == {"images without a usable label file, left out": 1}


def test_images_elsewhere_in_the_source(tmp_path):
    source = tmp_path / "source"
    write_image(source / "imgs" / "x.png")
    write_labelme(source / "labels", [shape()], "x", image=False, imagePath="..\\imgs\\x.png")
    write_image(source / "imgs" / "deep" / "é 雪.png")
    write_labelme(source / "labels", [shape("dog")], "y", image=False, imagePath="../imgs/deep/é 雪.png")
    write_labelme(source / "imgs", [shape()], "z", imagePath="C:\\Users\\me\\z.png")  # was moved, with its image
    conversion = read_labelme(source)
    assert list(conversion.counts) == ["label files whose imagePath leads nowhere, with the image of that name instead"]
    assert set(converted(conversion, tmp_path / "out")) == {"x.png", "z.png", "deep/é 雪.png"}


@pytest.mark.parametrize("path", ["../outside.png", "/etc/outside.png", "..\\..\\outside.png", "D:\\x\\outside.png"])
def test_an_image_outside_the_source_is_not_touched(tmp_path, path):
    """The one that only the label file holds is taken, and copied."""
    data = write_image(tmp_path / "outside.png").read_bytes()
    label = write_labelme(tmp_path / "source" / "b", [shape()], image=False, imagePath=path)
    with pytest.raises(DatasetError, match=r"is no file below .* does not hold it as imageData; .* --images"):
        read_labelme(tmp_path / "source")
    content = json.loads(label.read_text()) | {"imageData": base64.b64encode(data + b"its own").decode()}
    label.write_text(json.dumps(content))
    assert set(converted(read_labelme(tmp_path / "source"), tmp_path / "out")) == {"outside.png"}
    assert (tmp_path / "out" / "pictures" / "outside.png").read_bytes() == data + b"its own"
    with pytest.raises(DatasetError, match=r"'b/outside\.png' stands only within its label file.*leave --no-copy out"):
        write_conversion(read_labelme(tmp_path / "source"), tmp_path / "other", False)


def test_images_that_cannot_be_used_are_left_out(tmp_path):
    source = tmp_path / "source"
    write_labelme(source, [shape()], "good", imageHeight=None, imageWidth=None)
    write_labelme(source, [shape("dog")], "again", image=False, imagePath="good.png")
    write_labelme(source, [shape()], "wrong", imageHeight=41)
    write_labelme(source, [shape()], "x", imageHeight="41")
    write_labelme(source, [shape()], "y", image=False, imagePath="..", imageData="x")
    conversion = read_labelme(source)
    assert [item.class_name for item in conversion.splits[""][0].objects] == ["dog"]  # "again" comes first
    for reason, sentence in zip((
        "good.png is labelled twice, again by", "60 x 40 pixels (width x height), but the annotation file says 60 x 41",
        "must be whole numbers above 0", "is no file below",
    ), conversion.left_out, strict=True):  # fmt: skip
        assert reason in sentence


def test_names_of_classes_that_are_nearly_alike(tmp_path):
    write_labelme(tmp_path / "source", [shape(" person"), shape("Person")], "a")
    conversion = read_labelme(tmp_path / "source")
    assert list(conversion.class_names.values()) == ["Person", "person"]
    assert conversion.counts == {"labels with blanks around them, taken without these": 1}
    assert "2 classes that another one is called but for case: person, Person" in list(warning_lines(conversion))


def test_classes_that_only_one_split_has(tmp_path):
    for name, labels in (("a", ["cat", "dog", "dog"]), ("b", ["cat"])):
        write_labelme(tmp_path / "source", [shape(label) for label in labels], name)
    conversion = read_labelme(tmp_path / "source")
    [[first, second]] = conversion.splits.values()
    assert not any("without an object to" in line for line in warning_lines(conversion))
    conversion.splits = {"train": [first], "val": [second]}
    assert "1 class without an object to validate on: dog" in list(warning_lines(conversion))
    conversion.splits = {"train": [second], "val": [first]}
    assert "1 class without an object to train on: dog" in list(warning_lines(conversion))
