"""What a notebook collects by `to_coco`, and what `yolact eval` writes, score in pycocotools as the command says."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.conftest import scores_of_pycocotools
from tests.integration.conftest import evaluate
from yolact.ops.regions import MaskRegion
from yolact.ops.rle import encode_region
from yolact.predictor import load

THRESHOLD = 0.05  # the one of an evaluation


def truth(found, image_id, rng):
    """Yield annotations that an untrained model meets partly: some of what it finds, some of it worn away."""
    width = found.image_size[1]
    for one in list(found.filter(min_area=50))[::4]:
        [mask], [record] = one.masks.numpy(), one.to_coco(image_id)
        share = rng.random() * 0.4
        mask = mask & (np.arange(width) > np.quantile(np.flatnonzero(mask.any(axis=0)), share))
        x, y, box_width, box_height = record["bbox"]
        own = {"bbox": [x, y, box_width * (1 - share), box_height], "area": int(mask.sum()), "iscrowd": 0}
        rle = encode_region(MaskRegion.of(mask), found.image_size)
        yield {"image_id": image_id, "category_id": record["category_id"], "segmentation": rle, **own}


@pytest.mark.parametrize("kind_of_images", ["generated", "photographs"])
def test_records_score_as_the_command_says(request, kind_of_images, sample_config, sample_checkpoint, tmp_path):
    folder = Path(sample_config.data.val_images)
    if kind_of_images == "photographs":
        folder = request.getfixturevalue("shared") / "coco_tiny/val2017"
    predictor, rng = load(sample_checkpoint), np.random.default_rng(0)
    paths = sorted(folder.iterdir())[:8]
    found = dict(enumerate(predictor.stream(paths, THRESHOLD), start=1))
    content = {
        "images": [
            {"id": number, "file_name": paths[number - 1].name, "height": one.image_size[0], "width": one.image_size[1]}
            for number, one in found.items()
        ],
        "annotations": [item for number, one in found.items() for item in truth(one, number, rng)],
        "categories": [
            {"id": number, "name": name}
            for name, number in zip(predictor.class_names, predictor.category_ids, strict=True)
        ],
    }
    for number, item in enumerate(content["annotations"], start=1):
        item["id"] = number
    (tmp_path / "truth.json").write_text(json.dumps(content))
    data = [f"data.val_annotations={tmp_path / 'truth.json'}", f"data.val_images={folder}"]
    evaluate("--weights", sample_checkpoint, "--output", tmp_path / "out", "--set", *data)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())

    def score(iou_type, kind):
        records = [record for number, one in found.items() for record in one.to_coco(number, kind)]
        return scores_of_pycocotools(tmp_path / "truth.json", records, iou_type)

    for kind in ("segm", "bbox"):
        expected = [-1 if value is None else value for value in metrics[kind].values()]
        assert 0.05 < metrics[kind]["AP"] < 0.95
        assert score(kind, kind) == expected
        written = str(tmp_path / f"out/detections_{kind}.json")
        assert scores_of_pycocotools(tmp_path / "truth.json", written, kind) == expected
        # Records that also hold the box lead pycocotools to another size of masks, but nothing else.
        both = score(kind, None)
        assert [both[place] for place in (0, 1, 2, 6, 7, 8)] == [expected[place] for place in (0, 1, 2, 6, 7, 8)]
