import json
import shutil

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from yolact.data.convert.mask_pairs import MaskClasses, read_masks
from yolact.data.convert.writing import write_conversion
from yolact.errors import DatasetError

HEIGHT, WIDTH = 40, 60
ONE, TWO = np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
ONE[2:9, 3:12], TWO[20:40, 50:60] = True, True


def write_mask(path, mask):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), mask.astype(np.uint8) if mask.dtype == bool else mask)


def masks_of(conversion, tmp_path, load):
    [written] = write_conversion(conversion, tmp_path / "out", True, list)
    return load(written.annotations, written.images)


@pytest.mark.parametrize(("name", "dtype", "numbers"), [
    ("a.png", np.uint8, (1, 2)), ("a.png", np.uint16, (700, 65_535)), ("a.tif", np.uint16, (3, 40_000)),
])  # fmt: skip
def test_pictures_of_numbers_by_hand(tmp_path, write_picture, load, name, dtype, numbers):
    source = tmp_path / "source"
    write_picture(source / "images" / "below" / "a.jpg")
    write_mask(source / "masks" / "below" / name, (ONE * numbers[0] + TWO * numbers[1]).astype(dtype))
    conversion = read_masks(source, MaskClasses("cell"), list)
    assert not conversion.notes.counts
    found = masks_of(conversion, tmp_path, load)
    assert [label for label, _ in found["a.jpg"]] == ["cell", "cell"]
    np.testing.assert_array_equal([mask for _, mask in found["a.jpg"]], [ONE, TWO])


@pytest.mark.parametrize("picture", ["images/a.jpg", "x/images/b.png", "images/train/a.jpg"])
def test_a_folder_of_masks_for_each_picture(tmp_path, write_picture, load, picture):
    """Named after the picture, or `<id>/masks/` of a single picture `<id>/images/<id>.png`; masks may overlap."""
    source = tmp_path / "source"
    path = write_picture(source / picture)
    below = path.relative_to(source).as_posix().replace("images", "masks")
    folder = source / ("x/masks" if picture.startswith("x") else below[:-4])
    overlapping = TWO.copy()
    overlapping[0:5, 0:9] = True
    write_mask(folder / "1f.png", ONE * np.uint8(255))
    write_mask(folder / "2e.png", np.dstack([overlapping * np.uint8(9), TWO, TWO, np.ones_like(TWO)]).astype(np.uint8))
    write_mask(folder / "3d.png", np.zeros_like(ONE))
    conversion = read_masks(source, MaskClasses(), list)
    assert conversion.notes.counts == {"objects that cover no pixel, passed over": 1}
    [objects] = masks_of(conversion, tmp_path, load).values()
    assert [label for label, _ in objects] == ["object", "object"]
    np.testing.assert_array_equal([mask for _, mask in objects], [ONE, overlapping])


def test_classes_in_the_numbers(tmp_path, write_picture, load):
    source = tmp_path / "source"
    write_picture(source / "images" / "a.png")
    numbers = (ONE * 24_001 + TWO * 26_000).astype(np.uint16)
    numbers[15, 10:20], numbers[16, 10:20] = 24, 25_003  # a class without a number, and one that is not named
    write_mask(source / "masks" / "a.png", numbers)
    conversion = read_masks(source, MaskClasses(by_number={26: "car", 24: "person"}), list)
    kind = "numbers whose class --class-map does not name, passed over"
    assert conversion.notes.counts == {kind: 2}
    assert conversion.notes.examples[kind].startswith("24 in ")
    assert conversion.class_names == {1: "car", 2: "person"}
    found = masks_of(conversion, tmp_path, load)["a.png"]
    assert [name for name, _ in found] == ["person", "car"]
    np.testing.assert_array_equal([mask for _, mask in found], [ONE, TWO])
    write_mask(source / "masks" / "a" / "1.png", ONE)
    (source / "masks" / "a.png").unlink()
    with pytest.raises(DatasetError, match="but --class-map is for masks of numbers"):
        read_masks(source, MaskClasses(by_number={1: "car"}), list)


def test_two_folders_of_any_name(tmp_path, write_picture, load):
    for name in ("a", "below/b"):
        write_picture(tmp_path / "photos" / f"{name}.png")
        write_mask(tmp_path / "photos" / "drawn" / f"{name}.png", ONE)
    conversion = read_masks(None, MaskClasses(), list, tmp_path / "photos", tmp_path / "photos" / "drawn")
    assert not conversion.notes.counts
    assert set(masks_of(conversion, tmp_path, load)) == {"a.png", "below/b.png"}


def test_what_has_no_partner_is_counted(tmp_path, write_picture):
    source = tmp_path / "source"
    for name in ("a", "b", "c"):
        write_picture(source / "images" / f"{name}.png")
    write_mask(source / "masks" / "a.png", ONE)
    write_mask(source / "masks" / "c.png", ONE)
    write_mask(source / "masks" / "c.tif", TWO)
    write_mask(source / "masks" / "d.png", ONE)
    conversion = read_masks(source, MaskClasses(), list)
    assert [picture.name for picture in conversion.splits[""]] == ["images/a.png"]
    assert conversion.notes.counts == {
        "pictures without a mask, left out": 1,
        "masks without a picture, passed over": 1,
    }
    assert conversion.notes.examples["masks without a picture, passed over"] == "masks/d.png"
    assert "'images/c.png' has 2 masks, masks/c.png and masks/c.tif" in conversion.notes.left_out[0]


def test_a_mask_without_numbers_is_doubted(tmp_path, write_picture):
    source = tmp_path / "source"
    for name, mask in (("a", ONE | TWO), ("b", ONE), ("c", ONE + 2 * TWO)):
        write_picture(source / "images" / f"{name}.png")
        write_mask(source / "masks" / f"{name}.png", np.asarray(mask, np.uint8))
    notes = read_masks(source, MaskClasses(), list).notes
    assert notes.counts == {"masks with a single number on several separate areas, taken as one object": 1}


def test_sizes_must_be_equal(tmp_path, write_picture):
    source = tmp_path / "source"
    write_picture(source / "images" / "a.png", (WIDTH, HEIGHT))
    write_mask(source / "masks" / "a.png", ONE)
    with pytest.raises(DatasetError, match=r"a\.png is 60 x 40 pixels \(width x height\), but its picture .* 40 x 60"):
        read_masks(source, MaskClasses(), list)
    write_picture(source / "images" / "a.png", (HEIGHT, WIDTH + 1))
    with pytest.raises(DatasetError, match=r"a\.png is 60 x 40 .* 61 x 40"):
        read_masks(source, MaskClasses(), list)
    write_picture(source / "images" / "a.png")
    shutil.rmtree(source / "masks")
    write_mask(source / "masks" / "a" / "1.png", ONE)
    write_mask(source / "masks" / "a" / "2.png", ONE.T)
    with pytest.raises(DatasetError, match=r"2\.png is 40 x 60"):
        read_masks(source, MaskClasses(), list)


@pytest.mark.parametrize("turned", [False, True])
def test_a_turned_photograph_has_the_size_that_its_mask_has(tmp_path, write_picture, load, turned):
    """EXIF orientation 6: stored as 40 x 60, shown as 60 x 40."""
    source = tmp_path / "source"
    data = write_picture(source / "images" / "a.jpg").read_bytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    marker = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    (source / "images" / "a.jpg").write_bytes(data[:2] + marker + data[2:])
    write_mask(source / "masks" / "a.png", ONE.T if turned else ONE)
    [(_, mask)] = masks_of(read_masks(source, MaskClasses(), list), tmp_path, load)["a.jpg"]
    np.testing.assert_array_equal(mask, ONE.T if turned else ONE)


def test_nothing_to_convert(tmp_path, write_picture):
    with pytest.raises(DatasetError, match="There is no folder"):
        read_masks(tmp_path / "source", MaskClasses(), list)
    (tmp_path / "source").mkdir()
    with pytest.raises(DatasetError, match="There are no pictures below"):
        read_masks(tmp_path / "source", MaskClasses(), list)
    write_picture(tmp_path / "source" / "images" / "a.png")
    write_mask(tmp_path / "source" / "masks" / "a_mask.png", ONE)
    with pytest.raises(DatasetError, match=r"None of the 1 pictures .* has a mask .*masks/a\.png' for 'images/a\.png'"):
        read_masks(tmp_path / "source", MaskClasses(), list)


@pytest.mark.parametrize("layout", ["numbers", "palette", "folders"])
def test_real_nuclei_by_way_of_mask_pictures(tmp_path, shared, load, layout):
    """Thousands of real masks: written as pictures, converted, loaded, and equal pixel for pixel."""
    folder, source = shared / "nuclei", tmp_path / "source"
    content = json.loads((folder / "instances_val.json").read_text())
    crowded = sorted(
        content["images"], key=lambda image: -sum(a["image_id"] == image["id"] for a in content["annotations"])
    )
    expected = {}
    for image in crowded[:4] + content["images"][:4]:
        runs = [a["segmentation"] for a in content["annotations"] if a["image_id"] == image["id"]]
        masks = [coco_mask.decode(run) > 0 for run in runs]
        stem = image["file_name"][:-4]
        (source / stem / "images").mkdir(parents=True, exist_ok=True)
        (source / stem / "images" / image["file_name"]).write_bytes((folder / "val" / image["file_name"]).read_bytes())
        if layout == "folders":
            for number, mask in enumerate(masks):
                write_mask(source / stem / "masks" / f"{number:04}.png", mask * np.uint8(255))
        else:
            numbers = np.zeros((image["height"], image["width"]), np.uint16)
            for number, mask in enumerate(masks, start=1):
                numbers[mask] = number
            masks = [numbers == number for number in range(1, len(masks) + 1)]
            (source / stem / "masks").mkdir()
            if layout == "numbers" or len(masks) > 255:
                write_mask(source / stem / "masks" / f"{stem}.png", numbers)
            else:
                picture = pytest.importorskip("PIL.Image").fromarray(numbers.astype(np.uint8))
                picture.putpalette(np.random.default_rng(0).integers(0, 3, 768, np.uint8).tobytes())
                picture.save(source / stem / "masks" / f"{stem}.png")
        expected[f"{stem}/images/{image['file_name']}"] = [mask for mask in masks if mask.any()]
    found = masks_of(read_masks(source, MaskClasses("nucleus"), list), tmp_path, load)
    assert set(found) == set(expected)
    for name, masks in expected.items():
        np.testing.assert_array_equal([mask for _, mask in found[name]], masks)
    assert sum(map(len, expected.values())) > 300
