"""A YOLACT++ model, deformable and re-scoring, learns from scratch on real images. Run by `-m long`."""

import json
from pathlib import Path

import pytest

from tests.integration.conftest import evaluate, lines, train

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
    model.num_classes=null model.image_size=256
    model.anchors.scales=[[11,14,18],[22,28,36],[45,57,71],[90,113,142],[180,226,256]]
    data.num_workers=0 eval.num_workers=0 eval.max_images=4
    train.max_steps=50 train.batch_size=4 train.reference_batch_size=null train.backbone_weights=none
    train.optimizer=adamw train.schedule=cosine train.warmup_steps=10 train.clip_norm=10
    train.freeze_batch_norm=never train.precision=auto train.log_every=1
"""


@pytest.mark.long
def test_a_plus_model_learns_and_its_mask_scores_are_evaluated(shared, tmp_path):
    nuclei = shared / "nuclei"
    data = [
        f"data.{split}_{kind}={nuclei / place}"
        for split in ("train", "val")
        for kind, place in (("images", split), ("annotations", f"instances_{split}.json"))
    ]
    config = str(ROOT / "configs/yolact_plus_resnet50.yaml")
    assert train("--config", config, "--runs", tmp_path, "--name", "nuclei", "--set", *SETTINGS.split(), *data) == 0
    folder = tmp_path / "yolact_plus_resnet50/nuclei"
    totals = [line["total"] for line in lines(folder) if "losses" in line]
    print(f"total loss: {sum(totals[:5]) / 5:.1f} over the first five steps, {sum(totals[-5:]) / 5:.1f} over the last")
    assert sum(totals[-5:]) < 0.5 * sum(totals[:5])
    output = tmp_path / "eval"
    evaluate("--weights", folder / "last.pth", "--output", output, "--set", "eval.score_threshold=0.02")
    masks, boxes = (json.loads((output / f"detections_{kind}.json").read_text()) for kind in ("segm", "bbox"))
    assert masks
    assert all(mask["score"] != box["score"] for mask, box in zip(masks, boxes, strict=True))
