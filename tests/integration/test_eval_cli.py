"""The evaluation command line; its mistakes are in test_mistakes.py."""

import json
import shutil
from dataclasses import replace

import pytest

from tests.integration.conftest import evaluate
from yolact.config import dump_config, load_config


def test_everything_promised_is_written(sample_checkpoint, tmp_path):
    results = tmp_path / "results"
    evaluate("--weights", sample_checkpoint, "--output", results)
    files = ["metrics.json", "detections_segm.json", "detections_bbox.json", "odd_labels.json", "report.html"]
    assert {path.name for path in results.iterdir()} == {*files, "config.yaml", "gallery"}
    assert {path.name for path in (results / "gallery").iterdir()} >= {"best_1.png", "worst_1.png"}
    metrics = json.loads((results / "metrics.json").read_text())
    for kind in ("segm", "bbox"):
        assert metrics["errors"][kind]["AP50"] == pytest.approx(metrics[kind]["AP50"], abs=1e-9)
        assert sum(metrics["errors"][kind]["count"].values()) > 0


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
