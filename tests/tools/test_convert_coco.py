"""Annotations in COCO's formats: objects as they are laid out by others, and panoptic segments."""

import json

import cv2
import numpy as np
import pytest

from tests.tools.convert_sources import HEIGHT, TRIANGLE, WIDTH, block, converted, drawn, load, names_of, write_image
from yolact.data.mending import KINDS
from yolact.errors import DatasetError, UserError
from yolact.tools.convert.coco import read_coco
from yolact.tools.convert.common import encode_mask
from yolact.tools.convert.panoptic import read_panoptic
from yolact.tools.convert.writing import count_lines, warning_lines, write_conversion

POLYGON = [coordinate for point in TRIANGLE for coordinate in point]
RING = block(5, 5, 25, 25) & ~block(10, 10, 15, 20)
CATEGORIES = [{"id": 3, "name": "dog", "isthing": 1}, {"id": 7, "name": "cat", "isthing": 1}]


def image(number=1, **more):
    return {"id": number, "file_name": "a.png", "height": HEIGHT, "width": WIDTH, **more}


def annotation(segmentation=(POLYGON,), image_id=1, **more):
    """Return an object of class cat."""
    found = {"id": 1, "image_id": image_id, "category_id": 7, "bbox": [1, 1, 8, 6], "iscrowd": 0, "area": 20}
    return {**found, "segmentation": segmentation, **more}


def write(path, annotations, images=None, categories=CATEGORIES):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images or [image()], "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def test_masks_and_ids_stay_as_they_are(tmp_path):
    runs = encode_mask(RING)
    rle = {"size": runs["size"], "counts": runs["counts"].decode()}
    outline = [1.123456, 1, 9.25, 1, 9, 7.5]
    objects = [annotation([outline]), annotation(rle, category_id=3, bbox=[5, 5, 20, 20], iscrowd=1, area=350.0)]
    write(tmp_path / "source" / "a.json", objects)
    write_image(tmp_path / "source" / "images" / "a.png")
    conversion = read_coco(tmp_path / "source")
    assert any("1 of 2 objects are crowd regions" in line for line in warning_lines(conversion))
    write_conversion(conversion, tmp_path / "out", True)
    content = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert content["categories"] == [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]
    first, second = content["annotations"]
    assert first == annotation([outline], area=20.0, bbox=[1.0, 1.0, 8.0, 6.0])
    assert (second["segmentation"], second["category_id"], second["iscrowd"]) == (rle, 3, 1)


def test_class_names_are_shown_as_text(tmp_path):
    write_image(tmp_path / "source" / "a.png")
    write(tmp_path / "source" / "a.json", [annotation()], categories=[{"id": 7, "name": "\ud800\x1b[2J"}])
    conversion = read_coco(tmp_path / "source")
    written = write_conversion(conversion, tmp_path / "out", True)
    assert all(line.isprintable() for line in [*count_lines(written), *warning_lines(conversion)])


def test_an_area_that_is_missing_is_that_of_the_mask(tmp_path):
    write_image(tmp_path / "source" / "a.png")
    entry = annotation()
    del entry["area"]
    write(tmp_path / "source" / "a.json", [entry])
    conversion = read_coco(tmp_path / "source")
    [(name, mask)] = converted(conversion, tmp_path / "out")["a.png"]  # which compares area and mask
    assert name == "cat"
    np.testing.assert_array_equal(mask, drawn(POLYGON))
    assert conversion.counts == {KINDS["mended-area"]: 1}


def test_roboflows_folders_are_splits(tmp_path):
    for folder in ("train", "valid", "test"):
        write_image(tmp_path / folder / "a.png")
        write(tmp_path / folder / "_annotations.coco.json", [annotation()])
    assert names_of(read_coco(tmp_path)) == {"train": ["train/a.png"], "val": ["valid/a.png"], "test": ["test/a.png"]}


def test_cvats_folders(tmp_path):
    """Images of one name in several subsets, which have folders of their own."""
    for subset in ("train", "val", "my_task"):
        write_image(tmp_path / "images" / subset / "a.png")
        write(tmp_path / f"annotations/instances_{subset}.json", [annotation()])
    conversion = read_coco(tmp_path)
    assert names_of(conversion) == {"": ["images/my_task/a.png", "images/train/a.png", "images/val/a.png"]}
    assert not conversion.counts


def test_files_of_splits_beside_their_folders(tmp_path):
    """As COCO has them, with equal names of images."""
    for split in ("train2017", "val2017"):
        write_image(tmp_path / split / "a.png")
        write(tmp_path / "annotations" / f"instances_{split}.json", [annotation()])
    assert names_of(read_coco(tmp_path)) == {"train": ["train2017/a.png"], "val": ["val2017/a.png"]}
    only = read_coco(tmp_path / "annotations" / "instances_val2017.json", tmp_path)
    assert [image.name for part in only.splits.values() for image in part] == ["val2017/a.png"]


@pytest.mark.parametrize(("entry", "name"), [
    ({"coco_url": "http://host/train2017/a.png"}, "train2017/a.png"),  # LVIS
    ({"file_name": "..\\..\\data\\upload\\1\\0a1b2c3d-a.png"}, "train2017/a.png"),  # Label Studio
    ({"file_name": "val2017/a.png"}, "val2017/a.png"),
])  # fmt: skip
def test_names_of_images(tmp_path, entry, name):
    for folder in ("train2017", "val2017") if "2017" in str(entry) else ("train2017",):
        write_image(tmp_path / folder / "a.png")
    fields = {key: value for key, value in image().items() if key != "file_name"}
    write(tmp_path / "a.json", [annotation()], [{**fields, **entry}])
    assert [image.name for part in read_coco(tmp_path).splits.values() for image in part] == [name]


def test_what_is_wrong_is_left_out_alone(tmp_path):
    write_image(tmp_path / "a.png")
    wrong = [annotation([[1, 2, 3]]), annotation(image_id="x"), annotation(category_id=9), annotation([])]
    entries = [{**entry, "id": number} for number, entry in enumerate([annotation(), *wrong], 1)]
    write(tmp_path / "a.json", entries, [image(), image(2, file_name="gone.png")])
    conversion = read_coco(tmp_path)
    assert [len(image.objects) for image in conversion.splits[""]] == [1]
    assert len(conversion.faults) == 3
    assert "The image 'gone.png' of images[1]" in conversion.left_out[0]
    assert conversion.counts == {"annotations without a mask (no segmentation), passed over": 1}


def test_what_is_certain_in_spite_of_a_fault_is_taken_and_counted(tmp_path):
    write_image(tmp_path / "a.png")
    write(tmp_path / "a.json", [annotation(image_id="1", category_id="3")])
    conversion = read_coco(tmp_path)
    assert [len(image.objects) for image in conversion.splits[""]] == [1]
    assert conversion.counts == {KINDS["mended-id"]: 2}


def test_a_file_of_the_same_name_in_another_folder(tmp_path):
    """Of cam1/0.png and cam2/0.png the first is there; it is the other's where that is listed alone, which is said."""
    write_image(tmp_path / "cam1" / "0.png")
    entries = [annotation(), {**annotation(image_id=2, category_id=3), "id": 2}]
    images = [image(file_name="cam2/0.png"), image(2, file_name="cam1/0.png")]
    write(tmp_path / "a.json", entries, images)
    conversion = read_coco(tmp_path)
    [[found]] = [one.objects for part in conversion.splits.values() for one in part]
    assert found.class_name == "dog"
    assert "cam2/0.png" in conversion.left_out[0]
    write(tmp_path / "a.json", entries[:1], images[:1])
    conversion = read_coco(tmp_path)
    assert conversion.counts["images found by their last names, in other folders than labels say"] == 1


def test_images_and_annotations_that_do_not_belong_together(tmp_path):
    write_image(tmp_path / "a.png")
    write(tmp_path / "a.json", [annotation(), {**annotation(image_id=77), "id": 2}])
    assert read_coco(tmp_path).counts == {"annotations of images that are not listed, passed over": 1}
    write(tmp_path / "a.json", [annotation()], [image(), image(file_name="b.png")])
    with pytest.raises(DatasetError, match=r"images\[1\] of .* repeats the id 1"):
        read_coco(tmp_path)


def test_sizes_and_cases_are_those_of_the_files(tmp_path):
    write_image(tmp_path / "a 1.png")
    entry = image(file_name="A%201.PNG")
    del entry["width"], entry["height"]
    write(tmp_path / "a.json", [annotation()], [entry])
    [[found]] = read_coco(tmp_path).splits.values()
    assert (found.name, found.image_size) == ("a 1.png", (HEIGHT, WIDTH))


def test_files_that_contradict_each_other(tmp_path):
    write_image(tmp_path / "a.png")
    write(tmp_path / "one.json", [annotation()])
    two = write(tmp_path / "two.json", [annotation()])
    with pytest.raises(UserError, match=r"both list the image 'a\.png'; convert one file at a time"):
        read_coco(tmp_path)
    write(two, [annotation()], categories=[{"id": 7, "name": "cow"}])
    with pytest.raises(UserError, match=r"Category 7 is 'cat' in one file .* 'cow' in"):
        read_coco(tmp_path)
    with pytest.raises(DatasetError, match="There are no JSON files of COCO panoptic"):
        read_panoptic(tmp_path)


def write_panoptic(folder, segments, numbers, masks="panoptic", images="images", name="a.png"):
    """Write an image, and a PNG whose red, green and blue are the digits of numbers in base 256."""
    write_image(folder / images / name)
    (folder / masks).mkdir(parents=True, exist_ok=True)
    colours = np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=-1)  # OpenCV's order
    assert cv2.imwrite(str(folder / masks / name), colours.astype(np.uint8))
    categories = [*CATEGORIES, {"id": 9, "name": "sky", "isthing": 0}]
    annotations = [{"image_id": 1, "file_name": name, "segments_info": segments}]
    return write(folder / "panoptic.json", annotations, categories=categories)


def segment(number, category=7, **more):
    return {"id": number, "category_id": category, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1], **more}


@pytest.mark.parametrize("masks", ["panoptic", "masks"])
def test_panoptic_segments(tmp_path, masks):
    """Things are objects, crowds stay crowds; what covers nothing or is not listed is counted."""
    one, crowd, sky = block(30, 0, 40, 9), block(40, 20, 60, 40), block(0, 30, 10, 40)
    numbers = RING * 300 + one * 70_000 + crowd * 5 + sky * 16_000_000 + block(59, 0, 60, 1) * 8
    segments = [
        segment(300), segment(70_000, 3), segment(5, iscrowd=1), segment(16_000_000, 9), segment(77),
        segment(6, category=8),
    ]  # fmt: skip
    write_panoptic(tmp_path / "source", segments, numbers, masks)
    conversion = read_panoptic(tmp_path / "source")
    assert conversion.class_names == {3: "dog", 7: "cat"}
    assert [item.annotation["iscrowd"] for item in conversion.splits[""][0].objects] == [0, 0, 1]
    assert conversion.counts == {
        "areas that segments_info does not list, passed over": 1,
        "segments of classes that are no things (isthing 0), passed over": 1,
        "segments that cover no pixel, passed over": 1,
    }
    assert "'category_id' of segments_info[5]" in conversion.faults[0]
    names, found = zip(*converted(conversion, tmp_path / "out")["a.png"], strict=True)
    assert names == ("cat", "dog", "cat")
    np.testing.assert_array_equal(found, [RING, one, crowd])


def test_a_panoptic_file_without_things(tmp_path):
    """As datumaro writes it."""
    path = write_panoptic(tmp_path, [segment(300)], RING * 300)
    path.write_text(path.read_text().replace('"isthing": 1', '"isthing": 0'))
    conversion = read_panoptic(path)
    assert (conversion.class_names, len(conversion.splits[""][0].objects)) == ({3: "dog", 7: "cat", 9: "sky"}, 1)
    assert "no class is a thing" in next(iter(conversion.counts))


def test_what_cityscapesscripts_writes(tmp_path):
    """Ids that are names, and images called otherwise than they are."""
    path = write_panoptic(tmp_path, [segment(300)], RING * 300, name="ulm_0_leftImg8bit.png")
    content = json.loads(path.read_text())
    content["images"] = [image("ulm_0", file_name="ulm_0_gtFine_leftImg8bit.png")]
    path.write_text(json.dumps(content).replace('"image_id": 1', '"image_id": "ulm_0"'))
    conversion = read_panoptic(path)
    assert (names_of(conversion), conversion.left_out) == ({"": ["images/ulm_0_leftImg8bit.png"]}, [])
    assert conversion.counts == {KINDS["numbered-id"]: 2}


def test_panoptic_files_that_are_wrong(tmp_path):
    path = write_panoptic(tmp_path, [segment(300)], RING * 301)
    with pytest.raises(DatasetError, match=r"PNGs that .*panoptic\.json names are not below"):
        read_panoptic(path)
    write_panoptic(tmp_path, [segment(300)], (RING * 300)[:-1])
    with pytest.raises(DatasetError, match=r"None of 1 images .* pixels, but its image \(40, 60\); make them equal"):
        read_panoptic(path)


@pytest.mark.parametrize("file_name", ["../outside/b.png", "/etc/b.png", "..\\outside\\b.png", "gone.png", None])
def test_a_png_elsewhere_is_not_read(tmp_path, file_name):
    source = tmp_path / "source"
    path = write_panoptic(source, [segment(300)], RING * 300)
    content = json.loads(path.read_text())
    second = {**content["annotations"][0], "image_id": 2, "file_name": file_name}
    write(path, [*content["annotations"], second], [image(), image(2, file_name="b.png")])
    for folder in ("source/images", "outside"):
        write_image(tmp_path / folder / "b.png")
    conversion = read_panoptic(source)
    assert [image.name for image in conversion.splits[""]] == ["images/a.png"]
    assert "must be that of a PNG below" in conversion.left_out[0]


def test_perfect_predictions_of_a_converted_set_score_one(tmp_path):
    """COCO's own evaluation of the masks that were drawn for the source."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    one = block(30, 0, 40, 9)
    write_panoptic(tmp_path / "source", [segment(300), segment(70_000, 3)], RING * 300 + one * 70_000)
    write_conversion(read_panoptic(tmp_path / "source"), tmp_path / "out", True)
    truth = COCO(str(tmp_path / "out" / "instances.json"))
    results = [
        {"image_id": 1, "category_id": category, "score": 1.0, "segmentation": encode_mask(mask)}
        for category, mask in ((7, RING), (3, one))
    ]
    evaluation = COCOeval(truth, truth.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1, abs=1e-9)
    assert set(load(tmp_path / "out" / "instances.json", tmp_path / "out" / "pictures")) == {"a.png"}
