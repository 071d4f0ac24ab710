"""Every format is recognised by what lies in the folder, and what does not fit one gets a sentence."""

import json

import numpy as np
import pytest

from tests.tools.convert_sources import block, shape, write_image, write_labelme, write_mask, write_yolo
from yolact.cli.convert import FORMATS as NAMED
from yolact.errors import DatasetError, UserError
from yolact.tools.convert.recognise import FORMATS, recognise

SQUARE = "0 0.1 0.1 0.5 0.1 0.5 0.6"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_voc(folder):
    """Write one image for each of VOC's splits, with an object of class 1 and one of class 15."""
    for split in ("train", "val"):
        write_image(folder / f"JPEGImages/{split}_1.jpg")
        write(folder / f"ImageSets/Segmentation/{split}.txt", f"{split}_1\n")
        one, two = block(2, 2, 9, 9), block(20, 20, 30, 30)
        write_mask(folder / f"SegmentationObject/{split}_1.png", one * np.uint8(1) + two * np.uint8(2))
        write_mask(folder / f"SegmentationClass/{split}_1.png", one * np.uint8(1) + two * np.uint8(15))
    write(folder / "Annotations/train_1.xml", "<annotation><object><bndbox/></object></annotation>")


LISTS = {"images": [{}], "categories": [], "annotations": []}
SOURCES = {
    "labelme": lambda folder: write_labelme(folder, [shape()]),
    "labelstudio": lambda folder: write(folder / "x.json", [{"data": {"image": "a.png"}, "annotations": []}]),
    "cvat": lambda folder: write(folder / "annotations.xml", "<?xml version='1.0'?>\n<annotations>"),
    "coco": lambda folder: write(folder / "train/_annotations.coco.json", LISTS),
    "panoptic": lambda folder: (
        write(folder / "p.json", {**LISTS, "annotations": [{"segments_info": []}]}),
        write_image(folder / "images/a.png"),
        write_image(folder / "masks/a.png"),
    ),
    "via": lambda folder: write(folder / "via.json", {"a.png1": {"filename": "a.png", "regions": []}}),
    "yolo": lambda folder: write_yolo(folder, {"a": SQUARE, "b": ""}),
    "masks": lambda folder: (write_image(folder / "x/images/a.jpg"), write_image(folder / "x/masks/1.png")),
    "cityscapes": lambda folder: (
        write_image(folder / "gtFine/train/ulm/ulm_0_0_gtFine_instanceIds.png"),
        write(folder / "gtFine/train/ulm/ulm_0_0_gtFine_polygons.json", {"imgHeight": 1, "imgWidth": 1, "objects": []}),
    ),
    "voc": lambda folder: write_voc(folder / "VOCdevkit/VOC2012"),
}


def test_the_command_line_names_all():
    assert [*FORMATS, "datumaro"] == [*NAMED]
    assert FORMATS.keys() == SOURCES.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_each_format(tmp_path, name):
    SOURCES[name](tmp_path)
    write(tmp_path / "notes.txt", "3 cats and 4 dogs\n")
    write(tmp_path / "settings.json", {"a": 1})
    write(tmp_path / "broken.json", "{")
    assert recognise(tmp_path) == name


@pytest.mark.parametrize(("name", "file"), [
    ("coco", "train/_annotations.coco.json"), ("labelstudio", "x.json"), ("cvat", "annotations.xml"),
    ("yolo", "data.yaml"),
])  # fmt: skip
def test_a_file(tmp_path, name, file):
    SOURCES[name](tmp_path)
    write(tmp_path / "data.yaml", "train: images\nnames: [cat]\n")
    assert recognise(tmp_path / file) == name


@pytest.mark.parametrize(("files", "why"), [
    ({"a.csv": "x", "b.csv": "y", "c.txt": "z"}, r"not recognised \(it holds 2 of \.csv, 1 of \.txt\); known are lab"),
    ({}, r"not recognised \(it holds no files of known kinds\)"),
    ({"a.json": LISTS, "labels/a.txt": SQUARE}, r"coco \(a\.json\) and yolo \(labels/a\.txt\); name one, as in"),
    ({"ds/ann/a.jpg.json": {"objects": [], "size": {}}}, "holds Supervisely .* export it as COCO there"),
    ({"annotations/a.json": {"items": [], "categories": {}, "info": {}}}, "`yolact convert datumaro datumaro PATH"),
    ({"config.json": {"labels": [], "mapping": ""}}, "convert datumaro mapillary_vistas_instances PATH"),
    ({"a.xml": "<annotation><object><polygon>"}, "convert datumaro label_me PATH"),
    ({"a.xml": "<annotation><object><bndbox>"}, "VOC's XML of boxes .* it has no masks"),
    ({"labelmap.txt": "# label:color_rgb:parts:actions\n", "SegmentationObject/a.png": "",
      "a.xml": "<annotation><object><bndbox>"},
     "convert datumaro voc_instance_segmentation PATH"),
    ({"export.zip": "PK"}, "an archive .* unpack it"),
])  # fmt: skip
def test_what_is_not_read(tmp_path, files, why):
    for name, content in files.items():
        write(tmp_path / name, content)
    with pytest.raises(UserError, match=why):
        recognise(tmp_path)
    with pytest.raises(DatasetError, match="Cannot list the folder"):
        recognise(tmp_path / "gone")


def test_voc_in_its_folders(tmp_path):
    write_voc(tmp_path / "VOCdevkit" / "VOC2012")
    conversion = FORMATS["voc"](tmp_path)
    [image] = conversion.splits["val"]
    assert (conversion.folder / image.name).is_file()
    assert [item.class_name for item in image.objects] == ["aeroplane", "person"]
