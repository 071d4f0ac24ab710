import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from yolact.data.dataset import CocoDataset
from yolact.data.masks import IDENTITY, draw_masks
from yolact.data.mat_files import MatReader
from yolact.data.sbd import find_sbd, read_objects
from yolact.errors import DatasetError, UserError

scipy_io = pytest.importorskip("scipy.io", reason="SciPy is not installed (pip install scipy)")
scipy_sparse = pytest.importorskip("scipy.sparse")

CAT, PERSON, SHEEP = 8, 15, 17


def write_mat(path: Path, numbers: np.ndarray, categories: list[int], **more: object) -> None:
    """Write what SBD's files hold: a struct of the objects' numbers, a cell of sparse outlines, and the classes."""
    outlines = np.empty((len(categories), 1), object)
    for index in range(len(categories)):
        mask = (numbers == index + 1).astype(np.uint8)
        outlines[index, 0] = scipy_sparse.csc_matrix(mask - cv2.erode(mask, np.ones((3, 3)))).astype(np.float64)
    fields = {
        "Segmentation": numbers,
        "Boundaries": outlines,
        "Categories": np.array(categories, np.uint8).reshape(-1, 1),
    }
    scipy_io.savemat(path, {"GTinst": fields | more}, do_compression=True)


def numbers_of(seed: int, objects: int) -> np.ndarray:
    """Return uint8 [37, 53] with ragged objects that overlap, in pieces; the last one is hidden by none."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros((37, 53), np.uint8)
    for number in range(1, objects + 1):
        y, x = rng.integers(0, 30), rng.integers(0, 45)
        area = numbers[y : y + 12, x : x + 15]
        area[rng.random(area.shape) < 0.7] = number
    return numbers


PICTURES = {
    "2008_000002": (numbers_of(1, 3), [PERSON, CAT, PERSON]),
    "2008_000003": (numbers_of(2, 5), [1, 20, SHEEP, SHEEP, 2]),
    "2009_000004": (np.zeros((37, 53), np.uint8), []),
    "2010_000005": (np.where(numbers_of(3, 1) == 0, 255, 1).astype(np.uint8), [CAT]),  # the rest is void
}
SPLITS = {"train": ["2008_000003", "2010_000005"], "val": ["2008_000002", "2009_000004"]}


@pytest.fixture
def sbd(tmp_path: Path) -> Path:
    """The tree of benchmark.tgz; returns benchmark_RELEASE."""
    folder = tmp_path / "benchmark_RELEASE" / "dataset"
    for name in ("img", "inst", "cls"):
        (folder / name).mkdir(parents=True)
    for name, (numbers, categories) in PICTURES.items():
        cv2.imwrite(str(folder / "img" / f"{name}.jpg"), np.full((37, 53, 3), 128, np.uint8))
        write_mat(folder / "inst" / f"{name}.mat", numbers, categories)
    for split, names in SPLITS.items():
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return folder.parent


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("prepare_voc")


def read(sbd: Path, name: str = "2008_000002") -> tuple:
    with MatReader(scipy_io.loadmat) as reader:
        return read_objects(sbd / "dataset", name, reader)


def test_the_folder_is_found_from_both_sides(sbd: Path, tmp_path: Path) -> None:
    assert find_sbd(sbd) == find_sbd(sbd / "dataset") == sbd / "dataset"
    assert find_sbd(tmp_path) is None
    assert find_sbd(sbd / "dataset" / "img") is None


def test_objects_by_hand(sbd: Path) -> None:
    numbers = np.zeros((37, 53), np.uint8)
    numbers[3:6, 10:14], numbers[30:37, 50:53], numbers[0, 0] = 1, 2, 255
    write_mat(sbd / "dataset/inst/2008_000002.mat", numbers, [CAT, PERSON])
    size, objects, passed = read(sbd)
    assert size == (37, 53)
    assert [(item.class_name, item.box, item.area) for item in objects] == [
        ("cat", (10, 3, 4, 3), 12),
        ("person", (50, 30, 3, 7), 21),
    ]
    assert not passed


def test_masks_pixel_for_pixel(sbd: Path, script: ModuleType, tmp_path: Path) -> None:
    script.main([str(sbd), "--output", str(tmp_path / "out")])
    num_objects = 0
    for split, names in SPLITS.items():
        dataset = CocoDataset(tmp_path / f"out/pascal_sbd_{split}.json", sbd / "dataset/img")
        assert [picture.file_name for picture in dataset.images] == [f"{name}.jpg" for name in names]
        assert dataset.categories.ids == list(range(1, 21))
        for index, name in enumerate(names):
            source = scipy_io.loadmat(sbd / f"dataset/inst/{name}.mat")["GTinst"][0, 0]
            numbers, categories = source["Segmentation"], source["Categories"].ravel().tolist()
            np.testing.assert_array_equal(numbers, PICTURES[name][0])
            records = dataset.objects(index)
            assert [dataset.categories.ids[record.label] for record in records] == categories
            masks = draw_masks([record.segmentation for record in records], IDENTITY, numbers.shape)
            for number, (mask, record) in enumerate(zip(masks, records, strict=True), start=1):
                np.testing.assert_array_equal(mask, numbers == number)
                assert record.area == mask.sum()
                num_objects += 1
    assert num_objects == 9


def test_the_script_writes_beside_the_pictures_and_counts(sbd: Path, script: ModuleType, capsys) -> None:
    script.main([str(sbd / "dataset")])
    assert sorted(path.name for path in (sbd / "dataset").glob("*.json")) == [
        "pascal_sbd_train.json",
        "pascal_sbd_val.json",
    ]
    printed = capsys.readouterr().out
    assert "pascal_sbd_train.json: 2 pictures, 6 objects\n       2 sheep\n" in printed
    assert "pascal_sbd_val.json: 2 pictures, 3 objects\n       2 person\n       1 cat\n" in printed
    assert "passed over" not in printed


def test_what_does_not_fit_is_counted(sbd: Path, script: ModuleType, capsys) -> None:
    numbers = np.zeros((37, 53), np.uint8)
    numbers[0:3], numbers[5:7] = 2, 4
    write_mat(sbd / "dataset/inst/2008_000002.mat", numbers, [CAT, PERSON, SHEEP])
    _, [item], passed = read(sbd)
    assert (item.class_name, item.area) == ("person", 159)
    assert passed == {"areas without a category": 1, "categories without a pixel": 2}
    script.main([str(sbd)])
    printed = capsys.readouterr().out
    assert "  passed over 1 areas without a category\n  passed over 2 categories without a pixel\n" in printed


@pytest.mark.parametrize(
    ("categories", "found"),
    [
        ([[21]], "[21]"),
        ([[0]], "[0]"),
        ([[1.5]], "[1.5]"),
        ([[np.nan]], "[nan]"),
        ("cat", "['cat']"),
        ([[5 + 0j]], "[(5+0j)]"),
        ([[-1]], "[-1]"),
    ],
)
def test_a_class_that_does_not_exist(sbd: Path, categories: object, found: str) -> None:
    write_mat(sbd / "dataset/inst/2008_000002.mat", PICTURES["2008_000002"][0], [CAT], Categories=categories)
    with pytest.raises(DatasetError) as error:
        read(sbd)
    assert f"inst/2008_000002.mat holds {found}, expected numbers of classes from 1 to 20" in str(error.value)


@pytest.mark.parametrize(
    "numbers",
    [np.zeros((37, 53)), np.zeros((37, 53, 2), np.uint8), np.zeros((0, 0), np.uint8), np.zeros((37, 53), np.int8)],
    ids=["fractions", "three dimensions", "nothing", "signed"],
)
def test_numbers_of_another_kind(sbd: Path, numbers: np.ndarray) -> None:
    write_mat(sbd / "dataset/inst/2008_000002.mat", np.zeros((2, 2)), [CAT], Segmentation=numbers)
    with pytest.raises(DatasetError, match=r"mat is \w+ of shape \(.*\), expected unsigned whole numbers in two dim"):
        read(sbd)


def test_a_picture_of_another_size_or_none(sbd: Path) -> None:
    write_mat(sbd / "dataset/inst/2008_000002.mat", np.ones((53, 37), np.uint8), [CAT])
    with pytest.raises(DatasetError, match=r"is 37 x 53 pixels \(width x height\), but img/2008_000002.jpg is 53 x 37"):
        read(sbd)
    (sbd / "dataset/img/2008_000002.jpg").write_bytes(b"not a picture")
    with pytest.raises(DatasetError, match="Cannot decode the picture"):
        read(sbd)
    (sbd / "dataset/img/2008_000002.jpg").unlink()
    with pytest.raises(DatasetError, match="Cannot read the picture"):
        read(sbd)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (None, r"Cannot read the list of pictures .*val\.txt"),
        (b"", "lists no pictures; unpack SBD's benchmark.tgz again"),
        (b"\xff\xfe", "is not text"),
        (b"../../secret\n", r"lists '\.\./\.\./secret', which is no name such as 2008_000002"),
        (b"2008_000002 2008_000002\n", "lists '2008_000002', 2 times"),
        (b"2008_000002 2007_1\n", r"Cannot read .*2007_1\.mat: No such file"),
    ],
)
def test_a_wrong_list_leaves_nothing(sbd: Path, script: ModuleType, names: bytes | None, message: str) -> None:
    path = sbd / "dataset/val.txt"
    path.unlink() if names is None else path.write_bytes(names)
    with pytest.raises(DatasetError, match=message):
        script.main([str(sbd)])
    assert not list(sbd.rglob("*.json"))


def test_a_folder_of_neither_kind(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds neither VOC 2012 .* nor SBD"):
        script.main([str(tmp_path)])


def test_without_scipy(sbd: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)  # an import of it fails
    with pytest.raises(UserError, match="read by SciPy, which is missing; run: pip install scipy"):
        script.main([str(sbd)])
    assert not list(sbd.rglob("*.json"))
