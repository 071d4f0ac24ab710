import numpy as np
import pytest

from tests.tools.convert_sources import HEIGHT, WIDTH, block, converted, drawn, write_image
from yolact.errors import DatasetError
from yolact.tools.convert.cvat import read_cvat

LABELS = "<label><name>{}</name><type>{}</type></label>"
META = "".join(LABELS.format(*label) for label in (("dog", "any"), ("cow", "polygon"), ("path", "polyline")))
META = f"<version>1.1</version><meta><task><labels>{META}</labels></task></meta>"
SQUARE = '<polygon label="cat" occluded="1" points="6.0,4.0;30.0,4.0;30.0,24.0;6.0,24.0" z_order="3"/>'


def write(folder, *shapes, head='<?xml version="1.0" encoding="utf-8"?>', name="a.png", subset=""):
    write_image(folder / "images" / subset / name)
    own = f'<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}" subset="{subset}">{"".join(shapes)}</image>'
    (folder / "annotations.xml").write_text(f"{head}<annotations>{META}{own}</annotations>", encoding="utf-8")
    return folder


def test_shapes_by_hand(tmp_path):
    """A box turns about its centre; a mask has runs over its box, row by row, beginning with zeros."""
    shapes = [
        '<polygon label="cat" points="1,1;9.25,1;9,7.5" group_id="0"/>',
        '<box label="dog" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"/>',
        '<mask label="dog" rle="1, 2, 1, 4, 1, 2, 1" left="50" top="30" width="4" height="3"/>',
        '<ellipse label="cat" cx="30" cy="20" rx="12" ry="6" rotation="90"/>',
        '<polygon label="cat" points="40,5;50,5;50,15;40,15" group_id="4"/>',
        '<mask label="cat" rle="0, 12" left="0" top="37" width="4" height="3" group_id="4"/>',
        '<polyline label="cat" points="1,1;2,2"/>', '<cuboid label="cat"/>', '<points label="cat" points="1,1"/>',
        '<tag label="cat"/>',
    ]  # fmt: skip
    conversion = read_cvat(write(tmp_path / "source", *shapes))
    assert conversion.counts == {
        "boxes, taken as objects that fill them": 1,
        **{f"shapes of the kind '{kind}', which have no area, passed over": 1
           for kind in ("polyline", "cuboid", "points", "tag")},
    }  # fmt: skip
    names, masks = zip(*converted(conversion, tmp_path / "out")["a.png"], strict=True)
    assert names == ("cat", "dog", "dog", "cat", "cat")
    assert conversion.class_names == {1: "dog", 2: "cow", 3: "cat"}  # as declared, then what is not
    diamond = block(0, 0, 0, 0)
    diamond[30:33, 50:54] = [[0, 1, 1, 0], [1, 1, 1, 1], [0, 1, 1, 0]]
    group = block(40, 5, 50, 15) | block(0, 37, 4, 40)
    for found, expected in zip(
        (*masks[:3], masks[4]), (drawn([1, 1, 9.25, 1, 9, 7.5]), block(15, 5, 25, 25), diamond, group), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot((columns - 30) / 6, (rows - 20) / 12)
    assert masks[3][distance < 0.85].all()
    assert not masks[3][distance > 1.15].any()


@pytest.mark.parametrize("shape", [
    '<mask label="cat" rle="1,2" left="0" top="0" width="4" height="3"/>',
    '<mask label="cat" rle="-1,13" left="0" top="0" width="4" height="3"/>',
    '<mask label="cat" rle="0,12" left="0.5" top="0" width="4" height="3"/>',
    '<mask label="cat" rle="0,12" left="58" top="0" width="4" height="3"/>',
    '<polygon label="cat" points="1,1;2,2;nan,3"/>', '<polygon label="cat" points="1,1;2,2"/>',
    '<polygon points="1,1;2,1;2,2"/>', '<box label="cat" xtl="1" ytl="x" xbr="2" ybr="3"/>',
    '<polygon label="cat" points="1,1;2e8,2;3,3"/>',
])  # fmt: skip
def test_a_wrong_shape_leaves_the_others(tmp_path, shape):
    conversion = read_cvat(write(tmp_path, shape, SQUARE))
    [image] = conversion.splits[""]
    assert (len(image.objects), len(conversion.faults)) == (1, 1)
    assert "0 of 'images/a.png' in " in conversion.faults[0]
    with pytest.raises(DatasetError, match="None of 1 images can be used"):
        read_cvat(write(tmp_path, shape))


@pytest.mark.parametrize(("head", "shape", "why"), [
    ('<!DOCTYPE x [<!ENTITY a "b">]>', SQUARE, "DOCTYPE or ENTITY"),
    ('<!doctype x SYSTEM "file:///etc/passwd">', SQUARE, "DOCTYPE or ENTITY"),
    ("", "<polygon", "is not plain XML in UTF-8"),
])  # fmt: skip
def test_what_is_refused(tmp_path, head, shape, why):
    with pytest.raises(DatasetError, match=why):
        read_cvat(write(tmp_path, shape, head=head))


def test_a_file_that_would_fill_the_memory(tmp_path):
    (tmp_path / "a.xml").write_text("<annotations>" + "<a>" * 5_000_001 + "</a>" * 5_000_001)
    with pytest.raises(DatasetError, match="more than 10,000,000 elements and attributes"):
        read_cvat(tmp_path)


def test_a_file_of_tracks_names_the_export_to_use(tmp_path):
    (tmp_path / "a.xml").write_text("<annotations><track id='0' label='cat'/></annotations>")
    with pytest.raises(DatasetError, match=r'as "CVAT for video"; export it as "CVAT for images 1\.1"'):
        read_cvat(tmp_path)
    (tmp_path / "a.xml").unlink()
    with pytest.raises(DatasetError, match="There is no XML file of CVAT"):
        read_cvat(tmp_path)


def test_subsets_are_splits_and_images_may_lie_elsewhere(tmp_path):
    write(tmp_path / "x", SQUARE, subset="Train")
    write_image(tmp_path / "x" / "images" / "Validation" / "a.png")
    text = (tmp_path / "x" / "annotations.xml").read_text()
    second = text[text.index("<image ") : text.index("</annotations>")].replace("Train", "Validation")
    (tmp_path / "annotations.xml").write_text(text.replace("</annotations>", f"{second}</annotations>"))
    conversion = read_cvat(tmp_path / "annotations.xml", tmp_path / "x")
    assert {split: [image.name for image in part] for split, part in conversion.splits.items()} == {
        "train": ["images/Train/a.png"], "val": ["images/Validation/a.png"],
    }  # fmt: skip


def test_what_datumaro_writes(tmp_path):
    """A file for each split, COCO's groups of classes as parents, crowds as an attribute, boxes around the outlines."""
    frame = '<box label="dog" xtl="9" ytl="8" xbr="31" ybr="23" group_id="7"/>'
    shapes = [
        '<polygon label="dog" points="10,8;30,8;30,14;10,14" group_id="7"/>', frame,
        '<mask label="dog" rle="0,12" left="20" top="20" width="4" height="3" group_id="7">'
        '<attribute name="is_crowd">true</attribute></mask>', frame.replace('"7"', '"8"'),
    ]  # fmt: skip
    for split, own in (("train", shapes), ("val", shapes[2:3])):
        text = (write(tmp_path, *own, name=f"{split}.png") / "annotations.xml").rename(tmp_path / f"{split}.xml")
        text.write_text(text.read_text().replace("</name><type>any</type>", "</name><parent>animal</parent>"))
    conversion = read_cvat(tmp_path)
    assert conversion.class_names == {1: "dog", 2: "cow"}
    found = {split: [item.annotation for item in image.objects] for split, [image] in conversion.splits.items()}
    assert [(item["area"], item["iscrowd"]) for item in found["train"]] == [(132, 0), (330, 0)]
    assert [(item["area"], item["iscrowd"]) for item in found["val"]] == [(12, 1)]
    kinds = "boxes around outlines of their group, passed over", "boxes, taken as objects that fill them"
    assert conversion.counts == dict.fromkeys(kinds, 1)
