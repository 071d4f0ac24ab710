from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from yolact.data import CocoDataset
from yolact.data.masks import IDENTITY, draw_masks
from yolact.draw import display_scale, resize_image
from yolact.errors import UserError
from yolact.evaluation.coco import result_records
from yolact.evaluation.run import Evaluation
from yolact.gallery import write_gallery
from yolact.ops.regions import regions_of
from yolact.structures import Instances


@pytest.fixture
def dataset(sample_data: Path) -> CocoDataset:
    return CocoDataset(sample_data / "annotations.json", sample_data / "pictures")


def perfect_on(dataset: CocoDataset, indices: set[int]) -> Evaluation:
    """Return an evaluation that found everything on some pictures and nothing on the others."""
    segm, bbox = [], []
    for index in indices:
        picture, objects = dataset.images[index], dataset.objects(index)
        size = (picture.height, picture.width)
        masks = draw_masks([item.segmentation for item in objects], IDENTITY, size).astype(bool)
        scores = torch.full((len(objects),), 0.9)
        found = Instances(
            torch.tensor([item.bbox for item in objects]),
            scores,
            torch.tensor([item.label for item in objects]),
            regions_of(masks),
            scores,
            size,
            dataset.categories.names,
            dataset.categories.ids,
        )
        masks_records, box_records = result_records(found, picture.id)
        segm += masks_records
        bbox += box_records
    return Evaluation({}, segm, bbox)


def is_bare(dataset: CocoDataset, index: int, sheet: np.ndarray) -> tuple[bool, bool]:
    """Tell whether the left and the right of a comparison show nothing but the picture."""
    picture = resize_image(dataset.load_image(index), display_scale(80, 60))
    height, width = picture.shape[:2]
    return (sheet[-height:, :width] == picture).all(), (sheet[-height:, -width:] == picture).all()


def test_a_file_in_the_place_of_the_folder_is_one_sentence(dataset: CocoDataset, tmp_path: Path) -> None:
    (tmp_path / "gallery").touch()
    with pytest.raises(UserError, match=r"gallery', which cannot be made \(it is a file\); move it away"):
        write_gallery(tmp_path / "gallery", dataset, Evaluation({}, [], []))


def test_best_and_worst_pictures_are_drawn(dataset: CocoDataset, tmp_path: Path) -> None:
    shown = write_gallery(tmp_path / "gallery", dataset, perfect_on(dataset, {1, 3}), count=2)
    paths = [one.path for one in shown]
    assert [path.name for path in paths] == ["best_1.png", "best_2.png", "worst_1.png", "worst_2.png"]
    assert sorted(path.name for path in (tmp_path / "gallery").iterdir()) == [path.name for path in paths]
    sheets = [cv2.imread(str(path)) for path in paths]
    assert is_bare(dataset, 1, sheets[0]) == (False, False)
    assert [one.file_name for one in shown[:2]] == ["picture 1.png", "picture 3.png"]
    assert [one.quality.found for one in shown] == [2, 2, 0, 0]
    small = cv2.imdecode(np.frombuffer(shown[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert small.shape == sheets[0].shape  # no side is too long for a page
    # Three pictures are as bad as can be: the two objects of 0 and 2 missed, and then the single one of 4.
    assert {is_bare(dataset, index, sheet) for index, sheet in zip((2, 0), sheets[2:], strict=True)} == {(False, True)}


def test_files_of_an_earlier_evaluation_go_and_others_stay(dataset: CocoDataset, tmp_path: Path) -> None:
    for name in ("best_9.png", "worst_7.png", "mine.png"):
        (tmp_path / name).touch()
    write_gallery(tmp_path, dataset, perfect_on(dataset, {0}), count=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best_1.png", "mine.png", "worst_1.png"]


def test_no_picture_is_both_best_and_worst(dataset: CocoDataset, tmp_path: Path) -> None:
    shown = write_gallery(tmp_path, dataset, perfect_on(dataset, {0}), count=4)
    assert [one.path.name for one in shown] == [*(f"best_{i}.png" for i in (1, 2, 3)), "worst_1.png", "worst_2.png"]
