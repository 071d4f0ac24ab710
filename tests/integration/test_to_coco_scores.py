"""What a notebook collects by `to_coco` over a set scores in pycocotools as the command line says."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.integration.conftest import evaluate
from yolact.predictor import load

THRESHOLD = 0.05  # the one of an evaluation


def write_truth(predictor, names, images, path):
    """Write annotations that the untrained model meets partly: some of what it finds, some of it worn away."""
    images, annotations = [], []
    rng = np.random.default_rng(0)
    for image_id, found in enumerate(predictor.stream([images / name for name in names], THRESHOLD), start=1):
        height, width = found.image_size
        images.append({"id": image_id, "file_name": names[image_id - 1], "height": height, "width": width})
        for one in list(found.filter(min_area=50))[::4]:
            [mask], [record] = one.masks.numpy(), one.to_coco(image_id)
            share = rng.random() * 0.4
            mask = mask & (np.arange(width) > np.quantile(np.flatnonzero(mask.any(axis=0)), share))
            x, y, box_width, box_height = record["bbox"]
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": record["category_id"],
                    "bbox": [x, y, box_width * (1 - share), box_height],
                    "area": int(mask.sum()),
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "iscrowd": 0,
                }
            )
    classes = zip(predictor.class_names, predictor.category_ids, strict=True)
    categories = [{"id": category_id, "name": name} for name, category_id in classes]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


@pytest.fixture(scope="module", params=["generated", "photographs"])
def images(request, sample_config):
    """Return a folder of images: of the sample, or of COCO."""
    if request.param == "generated":
        return Path(sample_config.data.val_images)
    return request.getfixturevalue("shared") / "coco_tiny/val2017"


def score(truth_file, found, iou_type, kind):
    """Return pycocotools' metrics of the records of these images."""
    records = [record for image_id, one in enumerate(found, start=1) for record in one.to_coco(image_id, kind)]
    truth = COCO(str(truth_file))
    oracle = COCOeval(truth, truth.loadRes(records), iou_type)
    oracle.evaluate()
    oracle.accumulate()
    oracle.summarize()
    return oracle.stats.tolist()


def test_records_score_as_the_command_says(images, sample_checkpoint, tmp_path):
    predictor = load(sample_checkpoint)
    names = sorted(path.name for path in images.iterdir())[:8]
    truth_file = tmp_path / "truth.json"
    write_truth(predictor, names, images, truth_file)

    settings = [f"data.val_annotations={truth_file}", f"data.val_images={images}"]
    evaluate("--weights", sample_checkpoint, "--output", tmp_path / "out", "--set", *settings)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())

    found = [predictor(images / name, THRESHOLD) for name in names]
    for kind in ("segm", "bbox"):
        expected = [-1 if value is None else value for value in metrics[kind].values()]
        assert 0.05 < metrics[kind]["AP"] < 0.95
        assert score(truth_file, found, kind, kind) == expected
        # Records that also hold the box lead pycocotools to another size of masks, but nothing else.
        both = score(truth_file, found, kind, None)
        assert [both[place] for place in (0, 1, 2, 6, 7, 8)] == [expected[place] for place in (0, 1, 2, 6, 7, 8)]
