"""The evaluation command line; its mistakes are in test_mistakes.py."""

import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.integration.conftest import evaluate
from yolact.config import dump_config, load_config
from yolact.engine.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture(scope="module")
def results(sample_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval") / "results"
    evaluate("--weights", sample_checkpoint, "--output", folder)
    return folder


def require_scores_of_pycocotools(folder, annotation_file, image_ids=None):
    metrics, coco = json.loads((folder / "metrics.json").read_text()), COCO(str(annotation_file))
    for kind in ("segm", "bbox"):
        oracle = COCOeval(coco, coco.loadRes(str(folder / f"detections_{kind}.json")), kind)
        oracle.params.imgIds = image_ids or coco.getImgIds()
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
        assert [-1 if value is None else value for value in metrics[kind].values()] == list(oracle.stats)


def test_pycocotools_scores_the_files_identically(results, sample_config):
    require_scores_of_pycocotools(results, sample_config.data.val_annotations)


def test_photographs_with_eighty_classes_are_scored_as_pycocotools_does(sample_checkpoint, shared, tmp_path):
    annotation_file = shared / "coco_tiny/annotations/instances_val2017.json"
    content = json.loads(annotation_file.read_text())
    categories = sorted(content["categories"], key=lambda item: item["id"])
    checkpoint = load_checkpoint(sample_checkpoint)
    checkpoint["class_names"] = [item["name"] for item in categories]
    checkpoint["category_ids"] = [item["id"] for item in categories]
    checkpoint["config"]["model"]["num_classes"] = 80
    model = checkpoint["model"]
    for key, rows in (("head.class_logits", 3 * 81), ("semantic", 80)):  # three anchors in a cell
        shape = (rows, *model[f"{key}.weight"].shape[1:])
        model[f"{key}.weight"], model[f"{key}.bias"] = torch.randn(shape), torch.zeros(rows)
    save_checkpoint(checkpoint, tmp_path / "eighty.pth")
    data = [f"data.val_annotations={annotation_file}", f"data.val_images={shared / 'coco_tiny/val2017'}"]
    settings = [*data, "eval.max_images=10", "eval.max_detections=30"]
    evaluate("--weights", tmp_path / "eighty.pth", "--output", tmp_path / "out", "--set", *settings)
    assert len(json.loads((tmp_path / "out/metrics.json").read_text())["per_class"]["segm"]) == 80
    require_scores_of_pycocotools(tmp_path / "out", annotation_file, [item["id"] for item in content["images"][:10]])


def test_everything_promised_is_written(results):
    names = {path.name for path in results.iterdir()}
    files = {"metrics.json", "detections_segm.json", "detections_bbox.json", "config.yaml", "report.html"}
    assert names == {*files, "gallery"}
    assert {path.name for path in (results / "gallery").iterdir()} >= {"best_1.png", "worst_1.png"}
    page = (results / "report.html").read_text(encoding="utf-8")
    metrics = json.loads((results / "metrics.json").read_text())
    for kind in ("segm", "bbox"):
        assert all(f"{value:.3f}" in page for value in metrics[kind].values() if value is not None)
        assert metrics["errors"][kind]["AP50"] == pytest.approx(metrics[kind]["AP50"], abs=1e-9)
        assert metrics["errors"][kind]["count"]["missed"] > 0
    assert not re.search(r"src=.https?:", page)


def test_options_and_what_is_shown(sample_checkpoint, sample_config, tmp_path, capsys):
    weights = tmp_path / "run" / "best.pth"
    weights.parent.mkdir()
    shutil.copy(sample_checkpoint, weights)
    (tmp_path / "mine.yaml").write_text(dump_config(sample_config))
    settings = ["eval.max_images=2", "eval.nms=cross_class", "eval.max_detections=5"]
    evaluate("--weights", weights, "--config", tmp_path / "mine.yaml", "--set", *settings)
    folder = weights.parent / "eval"  # beside the weights
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["images"], metrics["max_detections"]) == (2, 5)
    changed = replace(sample_config.eval, max_images=2, nms="cross_class", max_detections=5)
    assert load_config(folder / "config.yaml") == replace(sample_config, eval=changed)
    shown = capsys.readouterr().out
    for text in ("AP50", "ARl", "masks", "boxes", "disc", "square", "float32", "missed", str(folder)):
        assert text in shown
