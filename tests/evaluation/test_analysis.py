import pytest

from yolact.data import CocoDataset
from yolact.evaluation.analysis import analyse
from yolact.evaluation.quality import encode_segmentation
from yolact.evaluation.run import Evaluation


def test_masks_and_boxes_have_errors_of_their_own(dataset) -> None:
    segm, bbox = [], []
    for index, image in enumerate(dataset.images):
        for item in dataset.objects(index):
            x1, y1, x2, y2 = item.bbox
            common = {"image_id": image.id, "category_id": dataset.categories.ids[item.label], "score": 0.9}
            segm.append({**common, "segmentation": encode_segmentation(item, (image.height, image.width))})
            bbox.append({**common, "bbox": [x1, y1, (x2 - x1) / 3, y2 - y1]})
    analysis = analyse(dataset, Evaluation({}, segm, bbox))
    assert analysis.errors["segm"].ap50 == pytest.approx(1)
    assert sum(analysis.errors["segm"].counts.values()) == 0
    assert analysis.errors["bbox"].ap50 == 0
    assert analysis.errors["bbox"].counts["localisation"] == 9  # the tenth lies in a crowd
    assert analysis.shown.confusion.diagonal().sum() == analysis.shown.confusion.sum() == 9
    assert analysis.shown.objects.sum() == analysis.shown.found.sum() == 9


def test_only_the_images_of_the_data_set_count(sample_config) -> None:
    data = sample_config.data
    analysis = analyse(CocoDataset(data.val_annotations, data.val_images, max_images=2), Evaluation({}, [], []))
    assert analysis.errors["segm"].counts["missed"] == analysis.errors["bbox"].counts["missed"] == 4
    assert analysis.shown.confusion[:, -1].sum() == 4
