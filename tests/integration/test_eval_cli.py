"""The evaluation command line; its mistakes are in test_mistakes.py."""

import json
import re
import shutil
from dataclasses import replace
from hashlib import sha256

import pytest

from tests.integration.conftest import evaluate
from yolact.config import dump_config, load_config
from yolact.engine.checkpoint import load_checkpoint, save_checkpoint
from yolact.tools.report.runs import read_runs


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


def test_the_weights_are_named_and_results_of_others_not_replaced_in_silence(sample_checkpoint, tmp_path, capsys):
    best, last = (shutil.copy(sample_checkpoint, tmp_path / name) for name in ("best.pth", "last.pth"))
    save_checkpoint({**load_checkpoint(last), "step": 7}, last)
    tiles = ["--set", "eval.max_images=1", "eval.tiles=48"]
    for arguments, whose in (([best], []), ([best], []), ([last], ["best.pth"]), ([last, *tiles], ["last.pth"])):
        evaluate("--weights", *arguments)
        shown = capsys.readouterr().out
        assert re.findall(r"has another evaluation, of (\S+), and is overwritten", shown) == whose
    assert "at most 100 detections of a tile" in shown
    folder = tmp_path / "eval"
    assert "most detections of a tile" in (folder / "report.html").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["weights"], metrics["weights_sha256"]) == ("last.pth", sha256(last.read_bytes()).hexdigest())
    assert read_runs([folder, folder])[0].source == "metrics.json of last.pth"
