import json

import pytest
import torch

from yolact.cli import run
from yolact.errors import CheckpointError, UserError
from yolact.tools.report.comparison import nms_text

KINDS = ["fast", "exact", "cross_class"]
# Detections of an untrained model rarely overlap by more than one half; at this IoU the kinds of NMS differ.
SETTINGS = ["--device", "cpu", "--set", "eval.nms_threshold=0.1"]


@pytest.fixture(scope="module")
def content(sample_checkpoint, tmp_path_factory):
    """What compare_nms.json holds."""
    folder = tmp_path_factory.mktemp("compare") / "results"
    run(["compare", "nms", "--weights", str(sample_checkpoint), "--output", str(folder), *SETTINGS])
    assert [path.name for path in folder.iterdir()] == ["compare_nms.json"]
    return json.loads((folder / "compare_nms.json").read_text())


def test_the_file_has_the_metrics_of_each_kind_and_what_they_depend_on(content, sample_checkpoint):
    assert list(content["nms"]) == KINDS
    for found in content["nms"].values():
        assert list(found) == ["segm", "bbox", "per_class", "milliseconds", "fps"]
    assert len({json.dumps(found["bbox"]) for found in content["nms"].values()}) == 3
    own = {key: value for key, value in content.items() if key not in ("nms", "device", "versions")}
    assert own == {
        "config": "sample", "weights": sample_checkpoint.name, "annotations": "annotations.json", "images": 6,
        "batch_size": 1, "flips": [], "tiles": None, "runtime": "PyTorch", "dtype": "float32", "processes": 1,
        "score_threshold": 0.05, "nms_threshold": 0.1, "nms_top_k": 200, "max_detections": 100,
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    assert content["device"].startswith("cpu (")
    assert content["versions"]["torch"] == str(torch.__version__)


def test_the_text_shows_accuracy_time_and_difference(content):
    content = json.loads(json.dumps(content))
    fast, exact, cross_class = content["nms"].values()
    fast["segm"]["AP"], exact["segm"]["AP"], cross_class["segm"]["AP"] = 0.299, 0.3004, None
    fast.update(milliseconds={"detect": 3.0}, fps=33.5)
    exact.update(milliseconds={"detect": 15.126}, fps=24.0)
    lines = [line.split() for line in nms_text(content).splitlines()]
    assert ["fast", "exact", "cross_class", "exact", "-", "fast", "cross_class", "-", "fast"] in lines
    assert ["AP", "0.299", "0.300", "-", "+0.001", "-"] in lines
    assert any(line[:4] == ["detect,", "ms", "3.0", "15.1"] and line[5:7] == ["x", "5.04"] for line in lines)
    assert any(line[:5] == ["frames", "per", "second", "33.5", "24.0"] for line in lines)
    assert "at most 100 detections of a tile" in nms_text({**content, "tiles": {"size": [9, 9], "overlap": 1}})


def test_the_command_shows_tables_paper_and_file(sample_checkpoint, tmp_path, capsys):
    arguments = ["--weights", str(sample_checkpoint), "--output", str(tmp_path), *SETTINGS, "eval.max_images=2"]
    run(["compare", "nms", *arguments])
    shown = capsys.readouterr()
    for part in ("sample: 2 images of annotations.json", "The paper (table 2a;", str(tmp_path / "compare_nms.json")):
        assert part in shown.out
    assert "2/2" in shown.err  # the progress bar


def test_mistakes_are_named_and_leave_nothing_behind(sample_checkpoint, sample_data, tmp_path):
    data = json.loads((sample_data / "annotations.json").read_text())
    data["categories"][0]["name"] = "ring"
    (tmp_path / "other.json").write_text(json.dumps(data))
    (tmp_path / "file").touch()
    weights, output = ["--weights", str(sample_checkpoint)], ["--output", str(tmp_path / "out")]
    for arguments, error, message in (
        ([*weights, *output, *SETTINGS, f"data.val_annotations={tmp_path / 'other.json'}"], CheckpointError, "ring"),
        ([*weights, "--output", str(tmp_path / "file"), *SETTINGS], UserError, "cannot be written"),
    ):
        with pytest.raises(error, match=message):
            run(["compare", "nms", *arguments])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other.json"]
