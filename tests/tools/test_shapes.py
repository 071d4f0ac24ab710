"""The generated shapes: always the same images, sound COCO files, and what the set is made of."""

import os

import cv2
import numpy as np
import pytest

from yolact.data.dataset import CocoDataset
from yolact.data.segmentations import IDENTITY, Rle, draw_masks
from yolact.errors import DatasetError
from yolact.tools import shapes
from yolact.tools.shapes import CLASS_NAMES, draw_shapes, write_shapes

# Of seeds 0 to 3 at 256 pixels: what the quickstart's figures were measured on.
RECORDED = [
    ((247, 233, 3), [106.07, 52.71, 46.85], [0, 1, 1], [6761, 4265, 2005]),
    ((222, 225, 3), [197.33, 67.04, 196.03], [2, 3, 3, 4, 4, 1], [629, 1997, 3198, 5570, 1458, 1365]),
    ((246, 209, 3), [64.3, 163.3, 34.43], [3, 2], [2225, 765]),
    ((244, 197, 3), [70.75, 186.32, 146.76], [3], [1460]),
]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_images_are_those_of_every_version_before():
    """As many pixels, and the same colours but for the last digit of another processor's arithmetic."""
    for seed, (shape, mean, labels, areas) in enumerate(RECORDED):
        image, objects = draw_shapes(np.random.default_rng(seed), 256)
        assert image.shape == shape
        np.testing.assert_allclose(image.mean(axis=(0, 1)), mean, atol=0.02)
        assert [item.label for item in objects] == labels
        assert [int(item.mask.sum()) for item in objects] == areas


def test_what_the_set_is_made_of():
    drawn = [draw_shapes(np.random.default_rng(seed), 160) for seed in range(150)]
    for image, objects in drawn:
        assert all(120 <= side <= 160 for side in image.shape[:2])
        assert np.sum([item.mask for item in objects], axis=0, dtype=int).max(initial=0) <= 1  # visible parts
        assert all(item.mask.sum() >= 30 for item in objects)
    items, counts = [item for _, objects in drawn for item in objects], [len(objects) for _, objects in drawn]
    assert (min(counts), max(counts)) == (0, 7)
    assert np.mean(counts) == pytest.approx(3.8, abs=0.5)
    assert np.bincount([item.label for item in items], minlength=5).min() > 0.14 * len(items)
    assert 0.3 < np.mean([item.polygon is not None for item in items]) < 0.7
    assert not any(item.polygon is not None for item in items if CLASS_NAMES[item.label] == "ring")
    assert 0 < np.mean([image.ndim == 2 for image, _ in drawn]) < 0.1


def test_the_set_is_a_sound_coco_data_set(tmp_path):
    assert write_shapes(tmp_path / "shapes", 60, 5, 96, seed=3)
    kinds, depths = set(), set()
    for split, count in (("train", 60), ("val", 5)):
        dataset = CocoDataset(tmp_path / "shapes" / f"instances_{split}.json", tmp_path / "shapes" / split)
        assert len(dataset) == count
        assert dataset.categories.names == ["circle", "square", "triangle", "star", "ring"]
        assert dataset.categories.ids == [3, 7, 11, 20, 42]
        assert not dataset.dropped
        for index, image in enumerate(dataset.images):
            assert dataset.load_image(index).shape == (image.height, image.width, 3)
            path = tmp_path / "shapes" / split / image.file_name
            depths.add(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim)
            for record in dataset.objects(index):
                [mask] = draw_masks([record.segmentation], IDENTITY, (image.height, image.width))
                assert int(mask.sum()) == pytest.approx(record.area, rel=0.15, abs=8)
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                tight = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
                np.testing.assert_allclose(record.bbox, tight, atol=2.5)  # tips of stars are thinner than pixels
                kinds.add(isinstance(record.segmentation, Rle))
    assert (kinds, depths) == ({True, False}, {2, 3})


def test_the_script_makes_a_set_once_and_replaces_another_one(tmp_path, load_script, capsys):
    folder, main = tmp_path / "deep" / "shapes", load_script("make_shapes").main
    command = ["--output", str(folder), "--val", "1", "--size", "96"]
    main([*command, "--train", "3"])
    first = contents(folder)
    assert len({data for name, data in first.items() if "." in name and not name.endswith(".json")}) == 4
    os.utime(folder / "instances_train.json", (1, 1))
    main([*command, "--train", "3"])
    assert "are written to" in (printed := capsys.readouterr().out)
    assert f"3 images to train on and 1 to validate on are already in {folder}." in printed
    assert (folder / "instances_train.json").stat().st_mtime == 1
    main([*command, "--train", "2", "--seed", "1"])
    assert len(list((folder / "train").iterdir())) == 2
    assert not set(first.values()) & set(contents(folder).values())
    main([*command, "--train", "3"])
    assert contents(folder) == first
    assert [path.name for path in folder.parent.iterdir()] == ["shapes"]


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, "draw_shapes", stop)
    with pytest.raises(KeyboardInterrupt):
        write_shapes(tmp_path / "shapes", 3, 1, 96)
    assert list(tmp_path.iterdir()) == []


def test_other_folders_are_left_alone_and_an_empty_one_is_filled(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("photo.jpg", "stamp.json"):
        (tmp_path / "mine" / name).write_text("precious")
        with pytest.raises(DatasetError, match="was not made by this program"):
            write_shapes(tmp_path / "mine", 1, 1)
    with pytest.raises(DatasetError, match="Cannot write the shapes to"):
        write_shapes(tmp_path / "mine" / "photo.jpg" / "shapes", 1, 1)
    assert set(contents(tmp_path).values()) == {b"precious"}
    (tmp_path / "shapes").mkdir()
    assert write_shapes(tmp_path / "shapes", 1, 1, 96)


@pytest.mark.parametrize("numbers", [(0, 1, 256, 0), (1, 0, 256, 0), (1, 1, 63, 0), (1, 1, 256, -1)])
def test_numbers_out_of_range(tmp_path, numbers):
    with pytest.raises(DatasetError, match="Expected at least 1 image"):
        write_shapes(tmp_path / "shapes", *numbers)
    assert list(tmp_path.iterdir()) == []
