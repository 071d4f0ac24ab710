import base64
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yolact.data.convert.labelme import read_labelme
from yolact.data.convert.writing import write_conversion
from yolact.data.images import read_image
from yolact.errors import DatasetError

HEIGHT, WIDTH = 40, 60


def shape(label="cat", points=((1, 1), (9, 1), (9, 7)), kind="polygon", group=None, **fields):
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}, **fields}


def masks_of(tmp_path, load, source="source"):
    """Convert a folder, load it, and return {file name: [(class, mask)]} and the notes."""
    conversion = read_labelme(tmp_path / source, list)
    [written] = write_conversion(conversion, tmp_path / "out", True, list)
    return load(written.annotations, written.images), conversion.notes


def rasterised(*polygons):
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(list(map(list, polygons)), HEIGHT, WIDTH))) > 0


def block(x0, y0, x1, y1):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def png_text(mask):
    return base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8))[1]).decode()


def test_shapes_by_hand(tmp_path, write_labelme, load):
    stored = np.eye(4, 6, dtype=bool)
    shapes = [
        shape("cat", [[1, 1], [9.25, 1], [9, 7.5], [2, 6]]),
        shape("dog", [[30, 20], [10, 10]], "rectangle"),
        shape("dog", [[5, 30], [10, 33]], "mask", mask=png_text(stored)),
        shape("cat", [[40, 5], [50, 5], [50, 15], [40, 15]], "oriented_rectangle"),
        shape("cat", [[20, 2], [26, 2], [26, 8]], None),
    ]
    write_labelme(tmp_path / "source", shapes)
    found, notes = masks_of(tmp_path, load)
    names, masks = zip(*found["a.png"], strict=True)
    assert names == ("cat", "dog", "dog", "cat", "cat")
    np.testing.assert_array_equal(masks[0], rasterised([1, 1, 9.25, 1, 9, 7.5, 2, 6]))
    np.testing.assert_array_equal(masks[1], block(10, 10, 30, 20))
    expected = block(0, 0, 0, 0)
    expected[30:34, 5:11] = stored
    np.testing.assert_array_equal(masks[2], expected)
    np.testing.assert_array_equal(masks[3], block(40, 5, 50, 15))
    np.testing.assert_array_equal(masks[4], rasterised([20, 2, 26, 2, 26, 8]))
    assert not notes.counts
    assert not notes.left_out


@pytest.mark.parametrize(("centre", "radius"), [((30, 20), 15), ((30.5, 20.5), 0.7), ((58, 3), 9), ((5, 20), 60)])
def test_a_circle_is_what_lies_within_its_radius(tmp_path, write_labelme, load, centre, radius):
    """Also one that reaches out of the picture, further than a polygon may."""
    on_it = [centre[0] + radius * 0.6, centre[1] - radius * 0.8]
    write_labelme(tmp_path / "source", [shape("disc", [list(centre), on_it], "circle")])
    found, _ = masks_of(tmp_path, load)
    [(_, mask)] = found["a.png"]
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot(columns - centre[0], rows - centre[1])
    assert mask[distance < radius - 0.75].all()
    assert not mask[distance > radius + 0.75].any()


def test_shapes_of_a_group_are_one_object(tmp_path, write_labelme, load):
    shapes = [
        shape("cat", [[1, 1], [5, 1], [5, 5], [1, 5]], group=1),
        shape("dog", [[1, 20], [5, 20], [5, 25], [1, 25]], group=1),
        shape("cat", [[10, 10], [20, 10], [20, 20], [10, 20]], group=1),
        shape("cat", [[30, 30], [40, 35]], "rectangle", group=2),
        shape("cat", [[50, 30], [53, 31]], "mask", group=2, mask=png_text(np.ones((2, 4)))),
        shape("cat", [[41, 1], [45, 1], [45, 5], [41, 5]]),
        shape("cat", [[51, 1], [55, 1], [55, 5], [51, 5]]),
    ]
    write_labelme(tmp_path / "source", shapes)
    found, _ = masks_of(tmp_path, load)
    expected = [
        ("cat", block(1, 1, 5, 5) | block(10, 10, 20, 20)),
        ("dog", block(1, 20, 5, 25)),
        ("cat", block(30, 30, 40, 35) | block(50, 30, 54, 32)),
        ("cat", block(41, 1, 45, 5)),
        ("cat", block(51, 1, 55, 5)),
    ]
    assert [name for name, _ in found["a.png"]] == [name for name, _ in expected]
    np.testing.assert_array_equal([mask for _, mask in found["a.png"]], [mask for _, mask in expected])


def test_a_stored_mask_is_cut_at_the_border(tmp_path, write_labelme, load):
    stored = np.random.default_rng(0).random((2, 4, 6)) < 0.5
    shapes = [
        shape("cat", [[-2, 38.2], [3, 41.4]], "mask", mask=png_text(stored[0])),
        shape("cat", [[57, -1], [62, 2]], "mask", mask=png_text(stored[1])),
        shape("cat", [[-9, -9], [-4, -6]], "mask", mask=png_text(stored[0])),
        shape("cat", [[70, 50], [75, 53]], "mask", mask=png_text(stored[0])),
    ]
    write_labelme(tmp_path / "source", shapes)
    found, notes = masks_of(tmp_path, load)
    expected = np.zeros((2, HEIGHT, WIDTH), bool)
    expected[0, 38:, :4] = stored[0, :2, 2:]
    expected[1, :3, 57:] = stored[1, 1:, :3]
    np.testing.assert_array_equal([mask for _, mask in found["a.png"]], expected)
    assert notes.counts == {"objects that cover no pixel, passed over": 2}


def test_what_has_no_area_is_passed_over_and_counted(tmp_path, write_labelme, load):
    shapes = [
        shape(points=[[3, 3]], kind="point"),
        shape(points=[[3, 3], [4, 4]], kind="line"),
        shape(points=[[3, 3], [4, 4]], kind="line"),
        shape(points=[[3, 3], [4, 4]]),
        shape(points=[[7, 7], [7, 7]], kind="rectangle"),
        shape(points=[[7, 7], [7, 7]], kind="circle"),
        shape(),
    ]
    path = write_labelme(tmp_path / "source", shapes)
    (tmp_path / "source" / "settings.json").write_text("[1, 2]")
    (tmp_path / "source" / "._a.json").write_bytes(b"\0\1")
    found, notes = masks_of(tmp_path, load)
    assert len(found["a.png"]) == 1
    assert notes.counts == {
        "shapes of the kind 'point', which have no area, passed over": 1,
        "shapes of the kind 'line', which have no area, passed over": 2,
        "shapes of the kind 'polygon' with fewer than three points, passed over": 1,
        "objects that cover no pixel, passed over": 2,
        "JSON files that are not labelme's, passed over": 1,
    }
    assert notes.examples["shapes of the kind 'line', which have no area, passed over"] == f"shapes[1] of {path}"


def test_pictures_elsewhere_in_the_source(tmp_path, write_labelme, write_picture, load):
    source = tmp_path / "source"
    write_picture(source / "imgs" / "x.png")
    write_labelme(source / "labels", [shape()], "x", picture=False, imagePath="..\\imgs\\x.png")
    write_picture(source / "imgs" / "deep" / "é 雪.png")
    write_labelme(source / "labels", [shape("dog")], "y", picture=False, imagePath="../imgs/deep/é 雪.png")
    write_picture(source / "imgs" / "unlabelled.png")
    found, notes = masks_of(tmp_path, load)
    assert set(found) == {"x.png", "deep/é 雪.png"}
    assert notes.counts == {"pictures without a label file, left out": 1}


def test_a_moved_label_file_takes_the_picture_beside_it(tmp_path, write_labelme, load):
    write_labelme(tmp_path / "source", [shape()], imagePath="C:\\Users\\me\\a.png")
    found, notes = masks_of(tmp_path, load)
    assert set(found) == {"a.png"}
    assert list(notes.counts) == ["label files whose imagePath leads nowhere, with the picture beside them instead"]


@pytest.mark.parametrize("path", ["../outside.png", "/etc/outside.png", "..\\..\\outside.png", "D:\\x\\outside.png"])
def test_a_picture_outside_the_source_is_not_touched(tmp_path, write_labelme, write_picture, path):
    write_picture(tmp_path / "outside.png")
    write_labelme(tmp_path / "source", [shape()], picture=False, imagePath=path)
    with pytest.raises(DatasetError, match="leaves the source folder"):
        read_labelme(tmp_path / "source", list)


@pytest.mark.parametrize("path", ["a.png", "../../outside.png", "D:\\x\\a.png"])
def test_a_picture_that_only_the_label_file_holds(tmp_path, write_labelme, write_picture, load, path):
    picture = write_picture(tmp_path / "outside.png")
    text = base64.b64encode(picture.read_bytes()).decode()
    write_labelme(tmp_path / "source" / "b", [shape()], picture=False, imagePath=path, imageData=text)
    found, _ = masks_of(tmp_path, load)
    [name] = found
    assert name == path.replace("\\", "/").rpartition("/")[2]
    assert (tmp_path / "out" / "pictures" / name).read_bytes() == picture.read_bytes()
    with pytest.raises(DatasetError, match="leave --no-copy out"):
        write_conversion(read_labelme(tmp_path / "source", list), tmp_path / "other", False, list)


def test_sizes(tmp_path, write_labelme, load):
    source = tmp_path / "source"
    write_labelme(source, [shape()], "missing", imageHeight=None, imageWidth=None)
    write_labelme(source, [shape()], "wrong", imageHeight=41)
    found, notes = masks_of(tmp_path, load)
    assert set(found) == {"missing.png"}
    assert len(notes.left_out) == 1
    assert "60 x 40 pixels (width x height), but the annotation file says 60 x 41" in notes.left_out[0]


def test_a_picture_is_labelled_once(tmp_path, write_labelme, load):
    write_labelme(tmp_path / "source", [shape()])
    write_labelme(tmp_path / "source", [shape("dog")], "b", picture=False, imagePath="a.png")
    found, notes = masks_of(tmp_path, load)
    assert [name for name, _ in found["a.png"]] == ["cat"]
    assert "a.png is labelled a second time, by" in notes.left_out[0]


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[31mred", "half \ud800"])
def test_text_that_cannot_be_printed_is_refused(tmp_path, write_labelme, text):
    write_labelme(tmp_path / "source", [shape(text)])
    with pytest.raises(DatasetError, match=r"'label' of shapes\[0\] .*holds control characters"):
        read_labelme(tmp_path / "source", list)
    write_labelme(tmp_path / "source", [shape()], imagePath=text)
    with pytest.raises(DatasetError, match=r"'imagePath' of .*holds control characters"):
        read_labelme(tmp_path / "source", list)


def test_own_split_by_folders(tmp_path, write_labelme):
    for name in ("train/a", "train/b", "valid/c"):
        write_labelme(tmp_path / "source", [shape()], name)
    splits = read_labelme(tmp_path / "source", list).splits
    assert {split: [p.name for p in pictures] for split, pictures in splits.items()} == {
        "train": ["train/a.png", "train/b.png"],
        "val": ["valid/c.png"],
    }
    write_labelme(tmp_path / "source", [shape()], "more/d")
    assert list(read_labelme(tmp_path / "source", list).splits) == [""]


def test_nothing_to_convert(tmp_path, write_labelme, write_picture):
    with pytest.raises(DatasetError, match="There is no folder"):
        read_labelme(tmp_path / "source", list)
    write_picture(tmp_path / "source" / "a.png")
    with pytest.raises(DatasetError, match="There are no label files of labelme"):
        read_labelme(tmp_path / "source", list)
    write_labelme(tmp_path / "source", [])
    with pytest.raises(DatasetError, match="1 pictures but no object with a mask"):
        write_conversion(read_labelme(tmp_path / "source", list), tmp_path / "out", True, list)
    assert not (tmp_path / "out").exists()


def test_coco_polygons_by_way_of_labelme(tmp_path, shared, load):
    """Every polygon of real pictures, written as labelme does, comes back with the same mask and the same numbers."""
    folder = shared / "coco_tiny"
    content = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    (tmp_path / "source").mkdir()
    expected = {}
    for image in content["images"][:8]:
        data = (folder / "val2017" / image["file_name"]).read_bytes()
        (tmp_path / "source" / image["file_name"]).write_bytes(data)
        shapes, expected[image["file_name"]] = [], []
        for item in content["annotations"]:
            if item["image_id"] != image["id"] or item["iscrowd"]:
                continue
            runs = coco_mask.merge(coco_mask.frPyObjects(item["segmentation"], image["height"], image["width"]))
            if not coco_mask.area(runs):
                continue
            for polygon in item["segmentation"]:
                points = np.reshape(polygon, (-1, 2)).tolist()
                shapes.append(shape(names[item["category_id"]], points, group=item["id"]))
            expected[image["file_name"]].append((names[item["category_id"]], item["segmentation"], runs))
        sizes = {"imageHeight": image["height"], "imageWidth": image["width"]}
        label = {"shapes": shapes, "imagePath": image["file_name"], "imageData": None, **sizes}
        (tmp_path / "source" / f"{image['id']}.json").write_text(json.dumps(label))
    found, notes = masks_of(tmp_path, load)
    assert not notes.left_out
    assert set(found) == set(expected)
    count = 0
    written = json.loads((tmp_path / "out" / "instances.json").read_text())
    by_picture = {image["file_name"]: image["id"] for image in written["images"]}
    for name, objects in expected.items():
        assert [label for label, _ in found[name]] == [label for label, _, _ in objects]
        polygons = [a["segmentation"] for a in written["annotations"] if a["image_id"] == by_picture[name]]
        assert polygons == [segmentation for _, segmentation, _ in objects]
        for (_, mask), (_, _, runs) in zip(found[name], objects, strict=True):
            np.testing.assert_array_equal(mask, coco_mask.decode(runs) > 0)
            count += 1
        picture = read_image(tmp_path / "out" / "pictures" / name)
        np.testing.assert_array_equal(picture, read_image(folder / "val2017" / name))
    assert count > 40
