import json

import cv2
import numpy as np

from tests.data.conftest import rectangle
from tests.tools.report.conftest import records_of
from yolact.data.dataset import CocoDataset
from yolact.draw import display_scale, resize_image
from yolact.evaluation.analysis import Shown, analyse
from yolact.tools.report.gallery import write_gallery


def gallery(folder, dataset, records, count=6):
    shown = Shown(len(dataset.categories))
    analyse(dataset, records, [shown])
    return write_gallery(folder, dataset, records, shown.qualities, count)


def only(*indices):
    return lambda index, number, label: label if index in indices else None


def is_bare(dataset, index, sheet):
    """Tell whether the left and the right of a comparison show nothing but the image."""
    image = resize_image(dataset.load_image(index), display_scale(80, 60))
    height, width = image.shape[:2]
    return (sheet[-height:, :width] == image).all(), (sheet[-height:, -width:] == image).all()


def test_best_and_worst_images_are_drawn(dataset, tmp_path):
    shown = gallery(tmp_path / "gallery", dataset, records_of(dataset, only(1, 3)), count=2)
    paths = [one.path for one in shown]
    assert [path.name for path in paths] == ["best_1.png", "best_2.png", "worst_1.png", "worst_2.png"]
    assert sorted(path.name for path in (tmp_path / "gallery").iterdir()) == [path.name for path in paths]
    sheets = [cv2.imread(str(path)) for path in paths]
    assert is_bare(dataset, 1, sheets[0]) == (False, False)
    assert [one.file_name for one in shown[:2]] == ["picture 1.png", "picture 3.png"]
    assert [one.quality.found for one in shown] == [2, 2, 0, 0]
    small = cv2.imdecode(np.frombuffer(shown[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert small.shape == sheets[0].shape  # no side is too long for a page
    # Three images are as bad as can be: the two objects of 0 and 2 missed, and then the single one of 4.
    assert {is_bare(dataset, index, sheet) for index, sheet in zip((2, 0), sheets[2:], strict=True)} == {(False, True)}


def test_small_objects_are_drawn_on_large_ones(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((640, 640, 3), 128, np.uint8))
    squares = {"large": (100, 440), "small": (250, 140)}  # first corner and side
    annotations = [
        rectangle(number, 1, number, first, first, side, side)
        for number, (first, side) in enumerate(squares.values(), start=1)
    ]
    images = [{"id": 1, "file_name": "a.png", "height": 640, "width": 640}]
    categories = [{"id": number, "name": name} for number, name in enumerate(squares, start=1)]

    def truth(order):
        content = {"images": images, "categories": categories, "annotations": annotations[::order]}
        (tmp_path / "a.json").write_text(json.dumps(content))
        gallery(tmp_path / "out", CocoDataset(tmp_path / "a.json", tmp_path), {"segm": [], "bbox": []})
        return cv2.imread(str(tmp_path / "out" / "best_1.png"))[-640:, :640].astype(int)

    image = truth(1)
    assert (image == truth(-1)).all()  # whatever the order of the file
    # Within the small square its own tint lies on that of the large one, and its outline is not covered.
    around, inside, outline = image[200, 500], image[320, 320], image[320, 250]
    assert (around != inside).any()
    assert np.abs(outline - inside).sum() > 60


def test_files_of_an_earlier_evaluation_go_and_others_stay(dataset, tmp_path):
    others = ["best_2024.png", "best_holiday.png", "mine.png"]
    for name in ("best_6.png", "worst_5.png", *others):
        (tmp_path / name).touch()
    shown = gallery(tmp_path, dataset, records_of(dataset, only(0)))
    assert {path.name for path in tmp_path.iterdir()} == {*others, *(one.path.name for one in shown)}


def test_no_image_is_both_best_and_worst(dataset, tmp_path):
    shown = gallery(tmp_path, dataset, records_of(dataset, only(0)), count=4)
    assert [one.path.name for one in shown] == [*(f"best_{i}.png" for i in (1, 2, 3)), "worst_1.png", "worst_2.png"]
