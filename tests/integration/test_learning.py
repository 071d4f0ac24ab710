"""Learning at all, on real images, each from scratch. Run by `-m long`."""

import json
from pathlib import Path

import pytest

from tests.integration.conftest import evaluate, lines, train

ROOT = Path(__file__).resolve().parents[2]
PLUS = """
    model.num_classes=null data.num_workers=0 eval.num_workers=0 train.reference_batch_size=null
    train.backbone_weights=none train.optimizer=adamw train.schedule=cosine train.clip_norm=10
    train.freeze_batch_norm=never train.precision=auto train.log_every=1
    model.image_size=256 model.anchors.scales=[[11,14,18],[22,28,36],[45,57,71],[90,113,142],[180,226,256]]
    eval.max_images=4 train.max_steps=50 train.batch_size=4 train.warmup_steps=10
"""
SMALL = """
    model.backbone.name=resnet10_half model.image_size=320 train.image_sizes=[160,240,320]
    loss.mask_weight=6 loss.roi_size=56 train.max_steps=300 train.batch_size=8 train.lr=2e-3 train.eval_every=null
    data.augment.photometric=false data.augment.crop=false data.augment.expand_probability=0
    data.augment.mirror_probability=0
"""


@pytest.mark.long
def test_a_plus_model_learns_and_its_mask_scores_are_evaluated(shared, tmp_path):
    nuclei = shared / "nuclei"
    data = [
        f"data.{split}_{kind}={nuclei / place}"
        for split in ("train", "val")
        for kind, place in (("images", split), ("annotations", f"instances_{split}.json"))
    ]
    config = ROOT / "configs/yolact_plus_resnet50.yaml"
    settings = [*PLUS.split(), *data]
    assert train("--config", config, "--runs", tmp_path, "--name", "nuclei", "--set", *settings) == 0
    folder, output = tmp_path / "yolact_plus_resnet50/nuclei", tmp_path / "eval"
    totals = [line["total"] for line in lines(folder) if "losses" in line]
    print(f"total loss: {sum(totals[:5]) / 5:.1f} over the first five steps, {sum(totals[-5:]) / 5:.1f} over the last")
    assert sum(totals[-5:]) < 0.5 * sum(totals[:5])
    evaluate("--weights", folder / "last.pth", "--output", output, "--set", "eval.score_threshold=0.02")
    masks, boxes = (json.loads((output / f"detections_{kind}.json").read_text()) for kind in ("segm", "bbox"))
    assert masks
    assert all(mask["score"] != box["score"] for mask, box in zip(masks, boxes, strict=True))


def eight_images(annotation_file):
    """Return the annotations of the first eight images without crowds whose every object is a tenth of them wide.

    Prototypes have a quarter of the input's resolution: for objects of a few pixels even perfect ones score far less.
    """
    content = json.loads(annotation_file.read_text())
    objects = {
        image["id"]: [a for a in content["annotations"] if a["image_id"] == image["id"]] for image in content["images"]
    }

    def is_large(image):
        side = max(image["width"], image["height"])
        sizes = [(a["bbox"][2] * a["bbox"][3]) ** 0.5 / side for a in objects[image["id"]] if not a["iscrowd"]]
        return sizes and len(sizes) == len(objects[image["id"]]) and min(sizes) >= 0.1

    content["images"] = [image for image in content["images"] if is_large(image)][:8]
    content["annotations"] = [a for image in content["images"] for a in objects[image["id"]]]
    return content


@pytest.mark.long
def test_eight_photographs_are_learnt_by_heart(shared, tmp_path):
    annotations, images = tmp_path / "eight.json", shared / "coco_tiny/train2017"
    annotations.write_text(json.dumps(eight_images(shared / "coco_tiny/annotations/instances_train2017.json")))
    data = [f"data.{split}_{kind}" for split in ("train", "val") for kind in ("annotations", "images")]
    data = [f"{key}={annotations if key.endswith('annotations') else images}" for key in data]
    settings = [*SMALL.split(), *data]
    assert train("--config", "next_r18", "--runs", tmp_path, "--name", "eight", "--set", *settings) == 0
    folder = tmp_path / "next_r18/eight"
    *_, last = (line["evaluation"] for line in lines(folder) if "evaluation" in line)
    print(f"mask AP on the eight images: {last['segm']['AP']:.3f}")
    assert last["segm"]["AP"] >= 0.88
