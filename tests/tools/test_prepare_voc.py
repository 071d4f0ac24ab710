"""scripts/prepare_voc.py: VOC 2012's indexed images and SBD's .mat files as COCO annotations."""

import sys

import numpy as np
import pytest
from PIL import Image

from tests.tools.convert_sources import load
from yolact.data.categories import VOC_CLASSES
from yolact.data.dataset import CocoDataset
from yolact.errors import DatasetError, UserError

CAT, CHAIR, PERSON, SHEEP, VOID = 8, 9, 15, 17, 255
NUMBERS = np.zeros((37, 53), np.uint8)
NUMBERS[3:6, 10:14], NUMBERS[30:37, 50:53], NUMBERS[0, 0] = 1, 2, VOID


@pytest.fixture
def run(load_script, capsys):
    """Return a function that runs the command line and returns what it printed."""

    def call(*arguments):
        capsys.readouterr()
        load_script("prepare_voc").main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return call


def write_image(path, values):
    """Write an image, with a palette in which an index's colour is not its number unless it has colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if values.ndim == 2:
        image.putpalette([255 - number // 3 for number in range(768)])
    image.save(path)


@pytest.fixture
def voc(tmp_path):
    """One image, 6 x 8: a cat (1) with a void rim, a person (2) of which a pixel is marked as a chair."""
    folder, lists = tmp_path / "VOC2012", tmp_path / "VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("one\n")
    numbers, classes = np.zeros((2, 6, 8), np.uint8)
    numbers[0:4, 0:4], classes[0:4, 0:4] = 1, CAT
    numbers[3, 0:4], classes[2, 0:4] = VOID, VOID
    numbers[4:6, 5:8], classes[4:6, 5:8] = 2, PERSON
    classes[4, 5] = CHAIR
    write_image(folder / "JPEGImages/one.jpg", np.zeros((6, 8, 3), np.uint8))
    write_image(folder / "SegmentationObject/one.png", numbers)
    write_image(folder / "SegmentationClass/one.png", classes)
    return folder


def test_voc_by_hand(voc, run):
    path = voc / "instances_train.json"
    assert run(voc).startswith(f"{path}: 1 image, 2 objects\n       1 cat\n       1 person\n{voc}")
    dataset = CocoDataset(voc / "instances_val.json", voc / "JPEGImages")
    assert dataset.categories.ids == list(range(1, 21))
    assert [(record.label, record.bbox, record.area) for record in dataset.objects(0)] == [
        (CAT - 1, (0, 0, 4, 2), 8),
        (PERSON - 1, (5, 4, 8, 6), 6),
    ]


@pytest.mark.parametrize(("name", "content", "message"), [
    ("SegmentationClass", np.zeros((5, 8), np.uint8), r"of shapes \(6, 8\) and \(5, 8\), expected indices"),
    ("SegmentationObject", np.zeros((6, 8, 3), np.uint8), r"of shapes \(6, 8, 3\) and \(6, 8\), expected indices"),
    ("SegmentationObject", b"", r"Cannot decode the mask .*SegmentationObject/one\.png"),
    ("SegmentationClass", None, r"Cannot read .*SegmentationClass/one\.png"),
    ("JPEGImages", None, r"Cannot read the image .*one\.jpg"),
    ("JPEGImages", np.zeros((5, 8, 3), np.uint8), "is 8 x 5 pixels .* but the annotation file says 8 x 6"),
])  # fmt: skip
def test_files_of_voc_that_are_missing_or_wrong(voc, run, name, content, message):
    [path] = (voc / name).iterdir()
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        write_image(path, content)
    with pytest.raises(DatasetError, match=message):
        run(voc)
    assert not list(voc.glob("*.json"))


def test_the_sample_pixel_for_pixel(shared, run, tmp_path):
    """Each pixel that is not void belongs to its object and class."""
    folder, num_objects = shared / "voc_sample", 0
    run(folder, "--output", tmp_path)
    for split in ("train", "val"):
        found = load(tmp_path / f"instances_{split}.json", folder / "JPEGImages")
        listed = (folder / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        assert list(found) == [f"{name}.jpg" for name in listed]
        for name in listed:
            numbers = np.array(Image.open(folder / "SegmentationObject" / f"{name}.png"))
            classes = np.array(Image.open(folder / "SegmentationClass" / f"{name}.png"))
            void, restored = (numbers == VOID) | (classes == VOID), np.zeros((2, *numbers.shape), int)
            kinds = sorted(set(np.unique(numbers)) - {0, VOID})
            for number, (class_name, mask) in zip(kinds, found[f"{name}.jpg"], strict=True):
                restored += mask * np.reshape([number, VOC_CLASSES.index(class_name) + 1], (2, 1, 1))
                num_objects += 1
            np.testing.assert_array_equal(restored, np.where(void, 0, (numbers, classes)))
    assert num_objects == 12


@pytest.fixture
def write_mat():
    """Return a function that writes what SBD's files hold."""
    scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed (pip install scipy)")

    def write(path, numbers, categories, **more):
        path.parent.mkdir(exist_ok=True)
        fields = {"Segmentation": numbers, "Categories": np.array(categories, np.uint8).reshape(-1, 1), "Boundaries": 1}
        scipy_io.savemat(path, {"GTinst": fields | more}, do_compression=True)

    return write


@pytest.fixture
def sbd(tmp_path, write_mat):
    """The tree of benchmark.tgz: one image with a cat and a person, one without objects."""
    folder = tmp_path / "benchmark_RELEASE" / "dataset"
    for split, name in (("train", "2008_000002"), ("val", "2009_000004")):
        write_image(folder / "img" / f"{name}.jpg", np.full((37, 53, 3), 128, np.uint8))
        (folder / f"{split}.txt").write_text(f"{name}\n")
    write_mat(folder / "inst/2008_000002.mat", NUMBERS, [CAT, PERSON])
    write_mat(folder / "inst/2009_000004.mat", np.zeros((37, 53), np.uint8), [])
    return folder


def test_sbd_by_hand_from_both_folders(sbd, run, tmp_path):
    path, val = (tmp_path / f"out/pascal_sbd_{split}.json" for split in ("train", "val"))
    counts = f"{path}: 1 image, 2 objects\n       1 cat\n       1 person\n{val}: 1 image, 0 objects\n"
    assert run(sbd.parent, "--output", tmp_path / "out") == counts
    assert run(sbd) == counts.replace(str(tmp_path / "out"), str(sbd))
    assert path.read_bytes() == (sbd / "pascal_sbd_train.json").read_bytes()
    [[(first, cat), (second, person)]] = load(path, sbd / "img").values()
    assert (first, second) == ("cat", "person")
    np.testing.assert_array_equal([cat, person], [NUMBERS == 1, NUMBERS == 2])


def test_what_does_not_fit_together_is_counted(sbd, run, write_mat):
    numbers = np.zeros((37, 53), np.uint8)
    numbers[0:3], numbers[5:7] = 2, 4
    write_mat(sbd / "inst/2008_000002.mat", numbers, [CAT, PERSON, SHEEP])
    printed = run(sbd)
    assert "1 object\n       1 person\n" in printed
    assert printed.endswith(
        "2 categories without a pixel, passed over; the first: img/2008_000002.jpg\n"
        "1 areas without a category, passed over; the first: img/2008_000002.jpg\n"
    )


@pytest.mark.parametrize(("fields", "message"), [
    ({"Categories": [[21]]}, r"2008_000002\.mat has a Segmentation .* Categories \[21\], expected .* from 1 to 20"),
    ({"Categories": [[np.nan]]}, r"Categories \[nan\], expected"),
    ({"Segmentation": np.zeros((37, 53))}, "has a Segmentation of float64"),
    ({"Segmentation": np.zeros((53, 37), np.uint8)}, "is 53 x 37 pixels .* but the annotation file says 37 x 53"),
])  # fmt: skip
def test_a_mat_file_with_other_content(sbd, run, write_mat, fields, message):
    write_mat(sbd / "inst/2008_000002.mat", NUMBERS, [CAT, PERSON], **fields)
    with pytest.raises(DatasetError, match=message):
        run(sbd)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"\x80\x04pickle" * 50, lambda data: data[:200]])
def test_a_damaged_mat_file_is_one_sentence(sbd, run, damage):
    path = sbd / "inst/2008_000002.mat"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DatasetError, match=r"Cannot read the struct GTinst of .*\.mat \(.+\); unpack SBD"):
        run(sbd)
    assert not list(sbd.glob("*.json"))


@pytest.mark.parametrize(("names", "message"), [
    (None, r"Cannot read .*val\.txt"),
    (b"", "lists no images"),
    (b"\xff\xfe", r"val\.txt is not a list of images"),
    (b"../../secret\n", r"lists '\.\./\.\./secret', expected names such as 2008_000002"),
    (b"2008_000002 2008_000002\n", "lists '2008_000002', expected names .* once"),
    (b"2008_000002 2007_1\n", r"Cannot read the struct .*2007_1\.mat"),
])  # fmt: skip
def test_a_wrong_list_leaves_nothing(sbd, run, names, message):
    path = sbd / "val.txt"
    path.unlink() if names is None else path.write_bytes(names)
    with pytest.raises(DatasetError, match=message):
        run(sbd)
    assert not list(sbd.rglob("*.json"))


def test_a_folder_of_neither_kind_and_no_scipy(sbd, run, tmp_path, monkeypatch):
    with pytest.raises(DatasetError, match=r"holds neither VOC 2012 .* nor SBD"):
        run(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)  # an import of it fails
    with pytest.raises(UserError, match="read by SciPy, which is missing; run: pip install scipy"):
        run(sbd)
