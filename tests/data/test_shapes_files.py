import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolact.data.dataset import CocoDataset
from yolact.data.masks import IDENTITY, Rle, draw_masks
from yolact.data.shapes_files import write_shapes
from yolact.errors import DatasetError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_set_is_a_sound_coco_data_set(tmp_path: Path) -> None:
    assert write_shapes(tmp_path / "shapes", 30, 5, 128, seed=3)
    for split, count in (("train", 30), ("val", 5)):
        dataset = CocoDataset(tmp_path / "shapes" / f"instances_{split}.json", tmp_path / "shapes" / split)
        assert len(dataset) == count
        assert dataset.categories.names == ["circle", "square", "triangle", "star", "ring"]
        assert dataset.categories.ids == [3, 7, 11, 20, 42]
        assert not dataset.dropped
        kinds = set()
        for index, picture in enumerate(dataset.images):
            assert dataset.load_image(index).shape == (picture.height, picture.width, 3)
            for record in dataset.objects(index):
                [mask] = draw_masks([record.segmentation], IDENTITY, (picture.height, picture.width))
                assert int(mask.sum()) == pytest.approx(record.area, rel=0.15, abs=8)
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                tight = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
                np.testing.assert_allclose(record.bbox, tight, atol=2.5)  # the tips of stars are thinner than pixels
                kinds.add(isinstance(record.segmentation, Rle))
        assert kinds == {True, False}


def test_the_splits_and_seeds_differ(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_shapes(tmp_path / str(seed), 2, 2, 96, seed)
    files = {**contents(tmp_path / "0"), **{f"1/{name}": data for name, data in contents(tmp_path / "1").items()}}
    pictures = [data for name, data in files.items() if not name.endswith(".json")]
    assert len(pictures) == 8
    assert len(set(pictures)) == 8


def test_the_same_set_is_made_once_and_another_one_replaces_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "shapes"
    assert write_shapes(folder, 3, 1, 96)
    first = contents(folder)
    os.utime(folder / "instances_train.json", (1, 1))
    assert not write_shapes(folder, 3, 1, 96)
    assert (folder / "instances_train.json").stat().st_mtime == 1
    assert write_shapes(folder, 2, 1, 96)
    assert len(list((folder / "train").iterdir())) == 2
    assert write_shapes(folder, 3, 1, 96)
    assert contents(folder) == first
    assert [path.name for path in folder.parent.iterdir()] == ["shapes"]


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    def stop(numbers: range, split: str) -> range:
        if split == "val":
            raise KeyboardInterrupt
        return numbers

    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / "shapes", 3, 1, 96, track=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("precious")
    with pytest.raises(DatasetError, match="was not made by this program"):
        write_shapes(tmp_path, 1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "shapes").mkdir()
    assert write_shapes(tmp_path / "shapes", 1, 1, 96)
    assert json.loads((tmp_path / "shapes" / "instances_val.json").read_text())["images"][0]["id"] == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="Cannot write the shapes to"):
        write_shapes(tmp_path / "file" / "shapes", 1, 1)


@pytest.mark.parametrize("numbers", [(0, 1, 256, 0), (1, 0, 256, 0), (1, 1, 63, 0), (1, 1, 256, -1)])
def test_numbers_out_of_range(tmp_path: Path, numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(DatasetError, match="Expected at least 1 picture"):
        write_shapes(tmp_path / "shapes", *numbers)
    assert list(tmp_path.iterdir()) == []


def test_gray_pictures_have_one_channel(tmp_path: Path) -> None:
    write_shapes(tmp_path / "shapes", 60, 1, 64)
    depths = [
        cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim for path in sorted((tmp_path / "shapes/train").iterdir())
    ]
    assert set(depths) == {2, 3}
