import json
import math

import numpy as np
import pytest

from tests.tools.convert_sources import HEIGHT, WIDTH, block, converted, drawn, write_image
from yolact.errors import DatasetError
from yolact.tools.convert.via import read_via


def region(label="cat", **shape):
    return {"shape_attributes": shape, "region_attributes": {"class": label} if label else {}}


@pytest.mark.parametrize("form", ["project", "annotations", "regions by number"])
def test_regions_by_hand(tmp_path, form):
    regions = [
        region(name="polygon", all_points_x=[1, 9.25, 9], all_points_y=[1, 1, 7.5]),
        region({"dog": True, "cat": False}, name="rect", x=20, y=10, width=10, height=5),
        region(None, name="ellipse", cx=30, cy=20, rx=12, ry=6, theta=math.pi / 2),
        region(name="point", cx=1, cy=1),
        region(name="polygon", all_points_x=[1, 2], all_points_y=[1, 2]),
    ]
    entry = {"filename": "a.png", "size": 9, "regions": regions, "file_attributes": {}}
    if form == "regions by number":
        entry["regions"] = {str(index): item for index, item in enumerate(regions)}
    content = {"a.png9": entry}
    write_image(tmp_path / "source" / "a.png")
    path = tmp_path / "source" / "via.json"
    path.write_text(json.dumps({"_via_img_metadata": content} if form == "project" else content))
    conversion = read_via(path)
    assert conversion.counts == {
        "rectangles, taken as objects that fill them": 1,
        "regions without attributes, taken as 'object'": 1,
        "regions of the kind 'point', which have no area, passed over": 1,
    }
    assert "all_points_x and all_points_y" in conversion.faults[0]
    names, masks = zip(*converted(conversion, tmp_path / "out")["a.png"], strict=True)
    assert names == ("cat", "dog", "object")
    np.testing.assert_array_equal(masks[:2], [drawn([1, 1, 9.25, 1, 9, 7.5]), block(20, 10, 30, 15)])
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot((columns - 30) / 6, (rows - 20) / 12)
    assert masks[2][distance < 0.85].all()
    assert not masks[2][distance > 1.15].any()


def project(tmp_path, *regions):
    write_image(tmp_path / "a.png")
    content = {"a.png9": {"filename": "a.png", "size": 9, "regions": list(regions), "file_attributes": {}}}
    (tmp_path / "via.json").write_text(json.dumps(content))
    return read_via(tmp_path)


def names(conversion):
    return [found.class_name for part in conversion.splits.values() for one in part for found in one.objects]


def test_the_attribute_of_the_classes(tmp_path):
    one, two = region(name="rect", x=1, y=1, width=9, height=9), region(name="rect", x=20, y=1, width=9, height=9)
    one["region_attributes"], two["region_attributes"] = {"cut": "no", "class": "cat"}, {"class": "dog", "cut": "yes"}
    assert names(project(tmp_path, one, two)) == ["cat", "dog"]
    one["region_attributes"], two["region_attributes"] = {"kind": {"cat": True, "dog": True}}, {"kind": {"dog": True}}
    conversion = project(tmp_path, one, two)
    assert names(conversion) == ["cat", "dog"]
    assert conversion.counts["labels of a region after its first one, passed over"] == 1
    one["region_attributes"], two["region_attributes"] = {"x": "1", "y": "2"}, {"y": "3", "x": "4"}
    with pytest.raises(DatasetError, match="have several attributes, x, y; call the one of the classes 'class'"):
        project(tmp_path, one, two)
    one["region_attributes"], two["region_attributes"] = {"x": "1"}, {"y": "3"}
    with pytest.raises(DatasetError, match="have no attribute in common"):
        project(tmp_path, one, two)
