from pathlib import Path

import pytest

from yolact.data import CocoDataset
from yolact.evaluation.analysis import analyse
from yolact.evaluation.run import Evaluation
from yolact.evaluation.truth import encode_annotation


@pytest.fixture
def dataset(sample_data: Path) -> CocoDataset:
    return CocoDataset(sample_data / "annotations.json", sample_data / "pictures", max_images=5)


def test_masks_and_boxes_are_looked_at_apart(dataset: CocoDataset) -> None:
    segm, bbox = [], []
    for index, picture in enumerate(dataset.images):
        for item in dataset.objects(index):
            x1, y1, x2, y2 = item.bbox
            rle = {"size": [picture.height, picture.width], "counts": item.segmentation.runs.tolist()}
            encoded = encode_annotation(rle, (picture.height, picture.width))
            common = {"image_id": picture.id, "category_id": dataset.categories.ids[item.label], "score": 0.9}
            segm.append({**common, "segmentation": {**encoded, "counts": encoded["counts"].decode()}})
            bbox.append({**common, "bbox": [x1, y1, (x2 - x1) / 3, y2 - y1]})
    analysis = analyse(dataset, Evaluation({}, segm, bbox))
    assert analysis.errors["segm"].ap50 == pytest.approx(1)
    assert sum(analysis.errors["segm"].counts.values()) == 0
    assert analysis.errors["bbox"].ap50 == 0
    assert analysis.errors["bbox"].counts["localisation"] == 9  # the tenth lies in a crowd
    assert analysis.shown.confusion.diagonal().sum() == analysis.shown.confusion.sum() == 9
    assert analysis.shown.objects.sum() == analysis.shown.found.sum() == 9


def test_only_the_pictures_of_the_data_set_count(sample_data: Path) -> None:
    two = CocoDataset(sample_data / "annotations.json", sample_data / "pictures", max_images=2)
    analysis = analyse(two, Evaluation({}, [], []))
    assert analysis.errors["segm"].counts["missed"] == analysis.errors["bbox"].counts["missed"] == 4
    assert analysis.shown.confusion[:, -1].sum() == 4
