import shutil
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask

from tests.tools.convert_sources import HEIGHT, WIDTH, block, converted, write_image, write_mask
from yolact.errors import DatasetError
from yolact.tools.convert.common import encode_mask, encode_numbers
from yolact.tools.convert.mask_files import decode_values, read_masks

ONE, TWO = block(3, 2, 12, 9), block(50, 20, 60, 40)
NUMBERS = np.array([[0, 1, 2, 3, 3], [0, 0, 1, 2, 1], [3, 3, 3, 0, 0]], np.uint8)


def write_pair(source, mask, name="a.png", size=(HEIGHT, WIDTH)):
    """Write source/images/a.png and source/masks/<name>."""
    write_image(source / "images" / "a.png", size)
    write_mask(source / "masks" / name, mask)


def test_numbers_by_hand():
    # Columns: 0 7 | 7 0 | 2 2
    numbers = np.array([[0, 7, 2], [7, 0, 2]], np.uint16)
    found = {number: coco_mask.decode(runs).tolist() for number, runs in encode_numbers(numbers)}
    assert found == {2: [[0, 0, 1], [0, 0, 1]], 7: [[0, 1, 0], [1, 0, 0]]}


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4)))
def test_numbers_are_encoded_as_pycocotools_does_one_by_one(numbers):
    assert dict(encode_numbers(numbers)) == {int(n): encode_mask(numbers == n) for n in np.unique(numbers) if n}


def gray(dtype, *values, num_channels=1, alpha=False):
    """Return a function that writes these values in place of the numbers 1, 2 and 3, in one or more equal channels."""
    layers = [np.array([0, *values], dtype)[NUMBERS]] * num_channels + [np.full(NUMBERS.shape, 255, dtype)] * alpha
    return lambda path: write_mask(path, np.dstack(layers).squeeze())


def palette(bits):
    """Return a function that writes the numbers as indices of equal colours."""
    image = Image.fromarray(NUMBERS & (2**bits - 1), "P")
    image.putpalette(bytes([9, 9, 9]) * 2**bits)
    return lambda path: image.save(path, bits=bits, transparency=0)


@pytest.mark.parametrize(("name", "write", "most"), [
    ("a.png", gray(np.uint16, 700, 40_000, 65_535), 3), ("a.tif", gray(np.uint16, 3, 4, 40_000), 3),
    ("a.tif", gray(np.int32, 3, 65_535, 70_000), 3), ("a.bmp", gray(np.uint8, 9, 99, 200), 3),
    ("a.png", gray(np.uint8, 1, 2, 3, num_channels=3), 3),
    ("a.png", gray(np.uint16, 300, 600, 900, num_channels=3, alpha=True), 3),
    *[("a.png", palette(bits), 2**bits - 1) for bits in (1, 2, 4, 8)],
])  # fmt: skip
def test_files_of_numbers(tmp_path, name, write, most):
    """Of all depths; a palette gives its indices, whatever its colours."""
    source = tmp_path / "source"
    write_image(source / "images" / "below" / "a.jpg", NUMBERS.shape)
    (source / "masks" / "below").mkdir(parents=True)
    write(source / "masks" / "below" / name)
    conversion = read_masks(source, class_name="cell")
    assert not conversion.left_out
    names, masks = zip(*converted(conversion, tmp_path / "out")["a.jpg"], strict=True)
    assert set(names) == {"cell"}
    restored = sum(number * mask for number, mask in enumerate(masks, start=1))
    np.testing.assert_array_equal(restored, NUMBERS & most)


@pytest.mark.parametrize("image", ["images/a.jpg", "x/images/b.png", "images/train/a.jpg"])
def test_a_folder_of_masks_for_each_image(tmp_path, image):
    """Named after the image, or `<id>/masks/` of a single image `<id>/images/<id>.png`; masks may overlap."""
    source = tmp_path / "source"
    write_image(source / image)
    folder = source / ("x/masks" if image.startswith("x") else image.replace("images", "masks")[:-4])
    overlapping = TWO.copy()
    overlapping[0:5, 0:9] = True
    write_mask(folder / "1f.png", ONE * np.uint8(255))
    write_mask(folder / "2e.png", np.dstack([overlapping * np.uint8(9), TWO, TWO, np.ones_like(TWO)]).astype(np.uint8))
    write_mask(folder / "3d.png", np.zeros_like(ONE))
    conversion = read_masks(source)
    assert conversion.counts == {"objects that cover no pixel, passed over": 1}
    [objects] = converted(conversion, tmp_path / "out").values()
    np.testing.assert_array_equal([mask for _, mask in objects], [ONE, overlapping])
    with pytest.raises(DatasetError, match="but --class-map is for masks of numbers"):
        read_masks(source, class_map={1: "car"})


def crowd(item):
    return item.annotation["iscrowd"]


def test_classes_in_the_numbers(tmp_path):
    numbers = (ONE * 24_001 + TWO * 26_000).astype(np.uint16)
    numbers[15, 10:20], numbers[16, 10:20] = 24, 25_003  # a class without a number, and one that is not named
    numbers[15, 30:35], numbers[17, 10:20] = 24, 25
    write_pair(tmp_path / "source", numbers)
    conversion = read_masks(tmp_path / "source", class_map={26: "car", 24: "person"})
    kind = "numbers whose class --class-map does not name, passed over"
    crowds = "classes without numbers of objects, taken as crowd regions; --split splits them"
    assert conversion.counts == {kind: 2, crowds: 1}
    assert conversion.examples[kind].startswith("25 in ")
    assert conversion.class_names == {1: "car", 2: "person"}
    assert [(item.class_name, crowd(item)) for item in conversion.splits[""][0].objects] == [
        ("person", 1), ("person", 0), ("car", 0),
    ]  # fmt: skip
    found = converted(conversion, tmp_path / "out")["a.png"]
    np.testing.assert_array_equal([mask for _, mask in found], [numbers == 24, ONE, TWO])
    split = read_masks(tmp_path / "source", class_map={26: "car", 24: "person"}, split=True)
    assert [(item.annotation["area"], crowd(item)) for item in split.splits[""][0].objects] == [
        (10, 0), (5, 0), (63, 0), (200, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_of_one_number_is_split_into_its_areas(tmp_path, value):
    """Pixels that touch at a corner belong together; several numbers are objects already."""
    mask = ONE | TWO
    mask[9, 12] = True  # touches ONE at a corner
    touching = mask & ~TWO
    write_pair(tmp_path / "source", mask * np.uint8(value))
    found = converted(read_masks(tmp_path / "source", split=True), tmp_path / "out")["a.png"]
    np.testing.assert_array_equal([mask for _, mask in found], [touching, TWO])
    assert len(read_masks(tmp_path / "source").splits[""][0].objects) == 1
    write_pair(tmp_path / "source", (ONE | TWO) * np.uint8(1) + block(40, 0, 41, 1) * np.uint8(2))
    assert len(read_masks(tmp_path / "source", split=True).splits[""][0].objects) == 2


def test_two_folders_of_any_name(tmp_path):
    for name in ("a", "below/b"):
        write_image(tmp_path / "photos" / f"{name}.png")
        write_mask(tmp_path / "photos" / "drawn" / f"{name}.png", ONE)
    conversion = read_masks(tmp_path / "photos", tmp_path / "photos" / "drawn")
    assert not conversion.counts
    assert [image.name for image in conversion.splits[""]] == ["a.png", "below/b.png"]


def test_what_has_no_partner_and_what_is_doubtful_is_counted(tmp_path):
    for name in ("a", "b", "c"):
        write_image(tmp_path / "images" / f"{name}.png")
    for name, mask in (("a.png", ONE | TWO), ("c.png", ONE), ("c.tif", TWO), ("d.png", ONE)):
        write_mask(tmp_path / "masks" / name, mask)
    conversion = read_masks(tmp_path)
    assert [image.name for image in conversion.splits[""]] == ["images/a.png"]
    assert conversion.counts == {
        "images without a mask, left out": 1,
        "masks without an image, passed over": 1,
        "masks of one number on separate areas, taken as one object; --split splits them": 1,
    }
    assert conversion.examples["masks without an image, passed over"] == "masks/d.png"
    assert "'images/c.png' has several masks, masks/c.png and masks/c.tif" in conversion.left_out[0]


def test_masks_that_are_no_numbers_but_look_so(tmp_path):
    """White with soft edges, as after scaling, is said; JPEG is refused."""
    soft = cv2.GaussianBlur(block(10, 5, 50, 35) * np.uint8(255), (15, 15), 0)
    write_pair(tmp_path, soft)
    kind = "masks of 0 and 255 with other grays at the edges, each taken as an object; remove them"
    assert kind in read_masks(tmp_path).counts
    (tmp_path / "masks" / "a.png").unlink()
    write_pair(tmp_path, soft, "a.jpg")
    with pytest.raises(DatasetError, match=r"masks/a\.jpg is a JPEG file, which .* save masks as PNG"):
        read_masks(tmp_path)


def test_sizes_must_be_equal(tmp_path):
    for size in ((WIDTH, HEIGHT), (HEIGHT, WIDTH + 1)):
        write_pair(tmp_path, ONE, size=size)
        with pytest.raises(DatasetError, match=rf"a\.png is 60 x 40 .*, but its image .* {size[1]} x {size[0]};"):
            read_masks(tmp_path)
    shutil.rmtree(tmp_path / "masks")
    write_pair(tmp_path, ONE, "a/1.png")
    write_mask(tmp_path / "masks" / "a" / "2.png", ONE.T)
    conversion = read_masks(tmp_path)
    assert len(conversion.splits[""][0].objects) == 1  # the other one stays
    assert "2.png is 40 x 60" in conversion.faults[0]


@pytest.mark.parametrize("turned", [False, True])
def test_a_turned_photograph_has_the_size_that_its_mask_has(tmp_path, turned):
    """EXIF orientation 6: stored as 40 x 60, shown as 60 x 40."""
    path = write_image(tmp_path / "images" / "a.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    write_mask(tmp_path / "masks" / "a.png", ONE.T if turned else ONE)
    [image] = read_masks(tmp_path).splits[""]
    assert image.image_size == ((WIDTH, HEIGHT) if turned else (HEIGHT, WIDTH))


@pytest.mark.parametrize(("name", "mask", "why"), [
    ("a.png", np.dstack([NUMBERS, NUMBERS, NUMBERS // 2]), "has colours"),
    ("a.tif", NUMBERS.astype(np.float32) / 2, "has float32 values"),
    ("a.tif", NUMBERS.astype(np.int32) - 1, "has int32 values from -1"),
])  # fmt: skip
def test_what_is_no_mask_of_numbers(tmp_path, name, mask, why):
    write_pair(tmp_path, mask, name, NUMBERS.shape)
    with pytest.raises(DatasetError, match=f"{why}.*, expected whole numbers"):
        read_masks(tmp_path)


def test_damaged_files_and_bombs(in_child):
    """A mask that is cut off is refused, and a header or chunk that claims gigabytes takes no memory."""
    whole = cv2.imencode(".png", NUMBERS)[1].tobytes()
    header = whole[12:16] + struct.pack(">II", 30_000, 30_000) + whole[24:29]
    huge = whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]
    lying = whole[:33] + b"\x7f\xff\xff\xf0" + whole[37:]
    cases = [(huge, "more than 100,000,000 pixels, the limit"), (lying, "damaged"), (b"", "no image")]
    cases += [(whole[:length], "damaged") for length in range(1, len(whole) - 12, 5)]

    def decode(case):
        with pytest.raises(DatasetError, match=case[1]):
            decode_values(case[0], "the mask a.png")

    assert {ended.fault for ended in in_child(decode, cases)} == {""}
