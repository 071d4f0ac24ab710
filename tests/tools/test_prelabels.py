"""Labels that a model proposes lead back to the images and to what was found."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.made import make_instances
from yolact.cli import run
from yolact.data.dataset import CocoDataset
from yolact.errors import UserError
from yolact.tools.convert.labelme import read_labelme
from yolact.tools.convert.writing import write_conversion
from yolact.tools.prelabels import KINDS

SIZE = (60, 80)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folder with two images, one of them in a folder below it."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "more/b.png"):
        cv2.imwrite(str(folder / name), np.full((*SIZE, 3), 90, np.uint8))
    return folder


def masks() -> NDArray[np.bool_]:
    """A ring, two squares that are one object, and nothing."""
    found = np.zeros((3, *SIZE), bool)
    found[0, 5:40, 5:40] = True
    found[0, 15:25, 15:25] = False
    found[1, 5:15, 50:60] = found[1, 30:45, 60:75] = True
    return found


def propose(form: str, photos: Path, folder: Path) -> list[str]:
    """Write labels of the first image alone, and of the second, in which nothing is found."""
    folder.mkdir()
    labels = KINDS[form](folder)
    boxes = torch.tensor([[0.0, 0, 80, 60]]).repeat(3, 1)  # of the network, which are not those of its masks
    written = [labels.add(make_instances(masks(), boxes=boxes), photos / "a.png", "a")]
    written.append(labels.add(make_instances(masks()[:0]), photos / "more/b.png", "b"))
    labels.close()
    return written


def require_alike(dataset: CocoDataset) -> None:
    assert dataset.categories.names == ["cat", "dog"]
    truth = dataset.ground_truth([image.file_name for image in dataset.images].index("a.png"))
    assert truth.labels.tolist() == [0, 1]
    assert [len(dataset.objects(index)) for index in range(2)] == [2, 0]
    for mine, its in zip(truth.masks.numpy(), masks(), strict=False):
        assert np.sum(mine & its) / np.sum(mine | its) > 0.85  # outlines go through the centres of pixels


def test_labelme_files_are_read_back(photos: Path, tmp_path: Path) -> None:
    assert propose("labelme", photos, tmp_path / "found") == ["labels/a.json", "labels/b.json"]
    content = json.loads((tmp_path / "found/labels/b.json").read_text())
    assert content["imagePath"] == "../../photos/more/b.png"
    [written] = write_conversion(read_labelme(tmp_path / "found/labels", photos), tmp_path / "set", copy=True)
    require_alike(CocoDataset(written.annotations, written.folder))


def test_a_coco_file_is_a_data_set(photos: Path, tmp_path: Path) -> None:
    assert propose("coco", photos, tmp_path / "found") == ["labels.json", "labels.json"]
    dataset = CocoDataset(tmp_path / "found/labels.json", photos)
    assert [image.file_name for image in dataset.images] == ["a.png", "more/b.png"]
    assert dataset.categories.ids == [2, 5]
    require_alike(dataset)
    for item, mask in zip(
        json.loads((tmp_path / "found/labels.json").read_text())["annotations"], masks(), strict=False
    ):
        points = np.concatenate(item["segmentation"]).reshape(-1, 2)
        np.testing.assert_allclose(item["bbox"], [*points.min(0), *np.ptp(points, axis=0)], atol=1e-3)
        assert item["area"] == pytest.approx(mask.sum(), rel=0.1)


def test_labelme_files_lead_to_the_images_through_links(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "deep/er/found").mkdir(parents=True)
    (tmp_path / "link").symlink_to("deep/er")
    labels = KINDS["labelme"](tmp_path / "link/found")
    labels.add(make_instances(masks()), photos / "a.png", "a")
    file = tmp_path / "link/found/labels/a.json"
    assert (file.parent / json.loads(file.read_text())["imagePath"]).samefile(photos / "a.png")


@pytest.mark.parametrize("form", KINDS)
def test_the_command_notes_them_for_another_run(
    photos: Path, sample_checkpoint: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(photos), "--weights", str(sample_checkpoint), "--output", str(tmp_path / "found")]
    run([*command, "--labels", form])
    labels = tmp_path / "found" / ("labels/a.json" if form == "labelme" else "labels.json")
    assert labels.exists()
    assert f"Labels to correct: {labels if form == 'coco' else labels.parent}" in capsys.readouterr().out
    before = labels.read_bytes()
    labels.write_bytes(before + b" ")  # somebody corrects them
    with pytest.raises(UserError, match="was changed since it was written, and --overwrite would lose that"):
        run([*command, "--overwrite"])
    labels.write_bytes(before)
    run([*command, "--overwrite"])
    assert not labels.exists()
    assert not (tmp_path / "found/labels").exists()
