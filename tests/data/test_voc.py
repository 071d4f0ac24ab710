import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from yolact.data.dataset import CocoDataset
from yolact.data.masks import IDENTITY, draw_masks
from yolact.data.voc import read_indices, read_objects, voc_palette
from yolact.errors import DatasetError


@pytest.fixture
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("prepare_voc")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """One picture, 6 x 8: a cat (1) with a void rim, a person (2) of which a pixel is marked as a chair."""
    folder = tmp_path / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    for split in ("train", "val"):
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("one\n")
    cv2.imwrite(str(folder / "JPEGImages" / "one.jpg"), np.zeros((6, 8, 3), np.uint8))
    write_indices(folder / "SegmentationObject" / "one.png", NUMBERS)
    write_indices(folder / "SegmentationClass" / "one.png", CLASSES)
    return folder


CAT, CHAIR, PERSON, VOID = 8, 9, 15, 255
NUMBERS, CLASSES = np.zeros((6, 8), np.uint8), np.zeros((6, 8), np.uint8)
NUMBERS[0:4, 0:4], CLASSES[0:4, 0:4] = 1, CAT
NUMBERS[3, 0:4], CLASSES[2, 0:4] = VOID, VOID
NUMBERS[4:6, 5:8], CLASSES[4:6, 5:8] = 2, PERSON
CLASSES[4, 5] = CHAIR


def write_indices(path: Path, indices: np.ndarray) -> None:
    cv2.imwrite(str(path), voc_palette()[indices][..., ::-1])


def test_palette_by_hand() -> None:
    palette = voc_palette()
    assert palette[[0, 1, 2, 3, 8, 15, 255]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [64, 0, 0],
        [192, 128, 128],
        [224, 224, 192],
    ]
    assert len(np.unique(palette, axis=0)) == 256


def test_indices_come_back_from_colours_and_from_gray(tmp_path: Path) -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_indices(tmp_path / "colour.png", indices)
    cv2.imwrite(str(tmp_path / "gray.png"), indices)
    np.testing.assert_array_equal(read_indices(tmp_path / "colour.png"), indices)
    np.testing.assert_array_equal(read_indices(tmp_path / "gray.png"), indices)


def test_indices_of_16_bits_are_not_cut_to_8(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 5), 257, np.uint16))
    with pytest.raises(DatasetError, match=r"a\.png holds uint16 values, expected 8 bits"):
        read_indices(tmp_path / "a.png")


def test_objects_by_hand(voc: Path) -> None:
    size, (cat, person) = read_objects(voc, "one")
    assert size == (6, 8)
    assert (cat.category_id, person.category_id) == (CAT, PERSON)
    expected = np.zeros((6, 8), bool)
    expected[0:2, 0:4] = True
    np.testing.assert_array_equal(cat.mask, expected)
    np.testing.assert_array_equal(person.mask, NUMBERS == 2)


def test_script_writes_files_that_load(voc: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    script.main([str(voc)])
    assert "1 pictures, 2 objects" in capsys.readouterr().out
    dataset = CocoDataset(voc / "instances_val.json", voc / "JPEGImages")
    assert dataset.categories.ids == list(range(1, 21))
    assert dataset.categories.names[CAT - 1] == "cat"
    assert [(record.label, record.bbox, record.area) for record in dataset.objects(0)] == [
        (CAT - 1, (0, 0, 4, 2), 8),
        (PERSON - 1, (5, 4, 8, 6), 6),
    ]


def test_files_that_are_missing_or_wrong(voc: Path, script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds neither VOC 2012"):
        script.main([str(tmp_path)])
    write_indices(voc / "SegmentationClass" / "one.png", CLASSES[:5])
    with pytest.raises(DatasetError, match="expected the same"):
        script.main([str(voc)])
    (voc / "SegmentationClass" / "one.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"Cannot decode .*SegmentationClass"):
        script.main([str(voc)])
    cv2.imwrite(str(voc / "SegmentationClass" / "one.png"), np.full((6, 8, 3), 7, np.uint8))
    with pytest.raises(DatasetError, match="not of VOC's palette"):
        script.main([str(voc)])
    write_indices(voc / "SegmentationClass" / "one.png", CLASSES)
    (voc / "JPEGImages" / "one.jpg").unlink()
    with pytest.raises(DatasetError, match=r"one\.jpg is missing"):
        script.main([str(voc)])
    val = voc / "ImageSets" / "Segmentation" / "val.txt"
    for text, message in (
        ("", "lists no pictures"),
        ("../one", r"lists '\.\./one', which is no"),
        ("one one", "2 times"),
    ):
        val.write_text(text)
        with pytest.raises(DatasetError, match=message):
            script.main([str(voc)])
    val.unlink()
    with pytest.raises(DatasetError, match=r"val\.txt \(No such file or directory\); unpack VOC 2012 again"):
        script.main([str(voc)])
    assert not list(voc.glob("*.json"))


def test_the_sample_pixel_for_pixel(shared: Path, script: ModuleType, tmp_path: Path) -> None:
    """Against the indices that Pillow reads: each pixel that is not void belongs to its object and class."""
    image = pytest.importorskip("PIL.Image")
    folder = shared / "voc_sample"
    script.main([str(folder), "--output", str(tmp_path)])
    num_objects = num_void = 0
    for split in ("train", "val"):
        dataset = CocoDataset(tmp_path / f"instances_{split}.json", folder / "JPEGImages")
        listed = (folder / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
        assert [picture.file_name for picture in dataset.images] == [f"{name}.jpg" for name in listed]
        for index, name in enumerate(listed):
            numbers = np.array(image.open(folder / "SegmentationObject" / f"{name}.png"))
            classes = np.array(image.open(folder / "SegmentationClass" / f"{name}.png"))
            assert dataset.load_image(index).shape[:2] == numbers.shape
            restored_numbers, restored_classes = np.zeros_like(numbers), np.zeros_like(classes)
            kinds = sorted(set(np.unique(numbers)) - {0, VOID})
            for number, record in zip(kinds, dataset.objects(index), strict=True):
                [mask] = draw_masks([record.segmentation], IDENTITY, numbers.shape)
                assert not restored_numbers[mask > 0].any()
                restored_numbers[mask > 0] = number
                restored_classes[mask > 0] = dataset.categories.ids[record.label]
                num_objects += 1
            void = (numbers == VOID) | (classes == VOID)
            num_void += void.sum()
            assert not restored_numbers[void].any()
            np.testing.assert_array_equal(restored_numbers, np.where(void, 0, numbers))
            np.testing.assert_array_equal(restored_classes, np.where(classes == VOID, 0, classes))
    assert (num_objects, num_void) == (12, 9460 + 909)
    assert set(json.loads((tmp_path / "instances_train.json").read_text())["categories"][14].items()) >= {
        ("id", 15),
        ("name", "person"),
    }
