import numpy as np
import pytest

from yolact.evaluation.quality import encode_segmentation, image_qualities
from yolact.ops.regions import MaskRegion
from yolact.ops.rle import encode_region


def perfect(dataset, index: int, place: int, score: float = 0.9) -> dict:
    image, item = dataset.images[index], dataset.objects(index)[place]
    rle = encode_segmentation(item, (image.height, image.width))
    return {
        "image_id": image.id,
        "category_id": dataset.categories.ids[item.label],
        "score": score,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
    }


def test_all_found_is_one_and_none_found_is_zero(dataset) -> None:
    qualities = image_qualities(dataset, [perfect(dataset, 0, 0), perfect(dataset, 0, 1)])
    assert [item.index for item in qualities] == [0, 1, 2, 3, 4]  # the last one holds neither object nor detection
    assert (qualities[0].found, qualities[0].missed, qualities[0].wrong) == (2, 0, 0)
    assert qualities[0].quality == pytest.approx(1.0)
    assert (qualities[1].found, qualities[1].missed, qualities[1].wrong) == (0, 2, 0)
    assert qualities[1].quality == 0


def test_a_second_detection_of_an_object_and_a_wrong_class_are_wrong(dataset) -> None:
    right = perfect(dataset, 0, 0)
    other_class = {**perfect(dataset, 0, 1), "category_id": right["category_id"]}
    quality = image_qualities(dataset, [right, {**right, "score": 0.8}, other_class])[0]
    assert (quality.found, quality.missed, quality.wrong) == (1, 1, 2)
    assert quality.quality == pytest.approx(1 / (1 + 3 / 2))


def test_detections_in_crowds_and_of_low_score_do_not_count(dataset) -> None:
    in_crowd = perfect(dataset, 4, 1)
    quality = image_qualities(dataset, [perfect(dataset, 4, 0), in_crowd, perfect(dataset, 4, 0, score=0.29)])[4]
    assert (quality.found, quality.missed, quality.wrong) == (1, 0, 0)


def test_a_detection_on_an_empty_image_is_wrong(dataset) -> None:
    empty = np.zeros((dataset.images[5].height, dataset.images[5].width), bool)
    rle = encode_region(MaskRegion.of(empty), empty.shape)
    record = {**perfect(dataset, 0, 0), "image_id": 15, "segmentation": rle}
    quality = image_qualities(dataset, [record])[-1]
    assert (quality.index, quality.found, quality.missed, quality.wrong) == (5, 0, 0, 1)
