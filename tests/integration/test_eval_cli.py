import importlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from yolact.config import Config, dump_config, load_config
from yolact.engine.checkpoint import load_checkpoint, save_checkpoint
from yolact.errors import CheckpointError, ConfigError, DatasetError, UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command() -> ModuleType:
    return importlib.import_module("eval")


@pytest.fixture(scope="module")
def results(command: ModuleType, sample_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval") / "results"
    command.main(["--weights", str(sample_checkpoint), "--device", "cpu", "--output", str(folder)])
    return folder


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_pycocotools_scores_the_files_identically(results: Path, sample_data: Path, kind: str) -> None:
    coco = COCO(str(sample_data / "annotations.json"))
    oracle = COCOeval(coco, coco.loadRes(str(results / f"detections_{kind}.json")), kind)
    oracle.evaluate()
    oracle.accumulate()
    oracle.summarize()
    metrics = json.loads((results / "metrics.json").read_text())
    assert [-1 if value is None else value for value in metrics[kind].values()] == list(oracle.stats)


def test_photographs_with_eighty_classes_are_scored_as_pycocotools_does(
    command: ModuleType, sample_checkpoint: Path, shared: Path, tmp_path: Path
) -> None:
    annotation_file = shared / "coco_tiny/annotations/instances_val2017.json"
    categories = sorted(COCO(str(annotation_file)).dataset["categories"], key=lambda item: item["id"])
    checkpoint = load_checkpoint(sample_checkpoint)
    checkpoint["class_names"] = [item["name"] for item in categories]
    checkpoint["category_ids"] = [item["id"] for item in categories]
    checkpoint["config"]["model"]["num_classes"] = 80
    model = checkpoint["model"]
    for key, rows in (("head.class_logits", 3 * 81), ("semantic", 80)):  # three anchors in a cell
        shape = (rows, *model[f"{key}.weight"].shape[1:])
        model[f"{key}.weight"], model[f"{key}.bias"] = torch.randn(shape), torch.zeros(rows)
    save_checkpoint(checkpoint, tmp_path / "eighty.pth")
    arguments = ["--weights", str(tmp_path / "eighty.pth"), "--device", "cpu", "--output", str(tmp_path / "out")]
    settings = [
        f"data.val_annotations={annotation_file}",
        f"data.val_images={shared / 'coco_tiny/val2017'}",
        "eval.max_images=10",
        "eval.max_detections=30",
    ]
    command.main([*arguments, "--set", *settings])
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["images"] == 10
    assert len(metrics["per_class"]["segm"]) == 80
    coco = COCO(str(annotation_file))
    for kind in ("segm", "bbox"):
        oracle = COCOeval(coco, coco.loadRes(str(tmp_path / f"out/detections_{kind}.json")), kind)
        oracle.params.imgIds = [item["id"] for item in coco.dataset["images"][:10]]
        oracle.evaluate()
        oracle.accumulate()
        oracle.summarize()
        assert list(metrics[kind].values()) == [None if value == -1 else value for value in oracle.stats]


def test_everything_promised_is_written(results: Path) -> None:
    names = {path.name for path in results.iterdir()}
    files = {"metrics.json", "detections_segm.json", "detections_bbox.json", "config.yaml", "report.html"}
    assert names == {*files, "gallery"}
    assert {path.name for path in (results / "gallery").iterdir()} >= {"best_1.png", "worst_1.png"}


def test_the_configuration_is_written_as_it_was_used(
    command: ModuleType, sample_checkpoint: Path, sample_config: Config, tmp_path: Path
) -> None:
    arguments = ["--weights", str(sample_checkpoint), "--device", "cpu", "--output", str(tmp_path / "out")]
    command.main([*arguments, "--set", "eval.max_images=1", "eval.nms=cross_class"])
    settings = replace(sample_config.eval, max_images=1, nms="cross_class")
    assert load_config(tmp_path / "out/config.yaml") == replace(sample_config, eval=settings)


def test_the_tables_show_figures_speed_and_classes(
    command: ModuleType, sample_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["--weights", str(sample_checkpoint), "--device", "cpu", "--output", str(tmp_path)])
    shown = capsys.readouterr().out
    for text in (
        "AP50",
        "ARl",
        "masks",
        "boxes",
        "disc",
        "square",
        "frames per second",
        "Measured on cpu",
        "float32",
        "YOLACT paper",
        "missed",
    ):
        assert text in shown
    assert str(tmp_path) in shown


def test_output_lies_beside_the_weights_by_default(
    command: ModuleType, sample_checkpoint: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "run" / "best.pth"
    weights.parent.mkdir()
    shutil.copy(sample_checkpoint, weights)
    command.main(["--weights", str(weights), "--device", "cpu", "--set", "eval.max_images=1"])
    assert (weights.parent / "eval" / "metrics.json").is_file()


def test_a_configuration_file_replaces_that_of_the_checkpoint(
    command: ModuleType, sample_checkpoint: Path, sample_config: Config, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(dump_config(sample_config))
    arguments = ["--weights", str(sample_checkpoint), "--config", str(tmp_path / "mine.yaml"), "--device", "cpu"]
    command.main([*arguments, "--set", "eval.max_images=2", "eval.max_detections=5", "--output", str(tmp_path / "out")])
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["images"], metrics["max_detections"]) == (2, 5)


def changed_annotations(sample_data: Path, tmp_path: Path, names: dict[int, tuple[int, str]]) -> str:
    """Return a setting that names an annotation file with other categories, by old id."""
    content = json.loads((sample_data / "annotations.json").read_text())
    content["categories"] = [{"id": new, "name": name} for new, name in names.values()]
    for annotation in content["annotations"]:
        annotation["category_id"] = names[annotation["category_id"]][0]
    (tmp_path / "other.json").write_text(json.dumps(content))
    return f"data.val_annotations={tmp_path / 'other.json'}"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({3: (3, "disc"), 7: (7, "box")}, "'square'.*'box'"),
        ({3: (3, "disc"), 7: (9, "square")}, "names are the same.*'square' is 7 in the checkpoint and 9 in the file"),
        ({3: (7, "disc"), 7: (3, "square")}, "names are the same.*'disc' is 3 in the checkpoint and 7 in the file"),
    ],
)
def test_other_classes_than_the_checkpoint_knows_are_an_error(
    command: ModuleType,
    sample_checkpoint: Path,
    sample_data: Path,
    tmp_path: Path,
    names: dict[int, tuple[int, str]],
    message: str,
) -> None:
    setting = changed_annotations(sample_data, tmp_path, names)
    output = tmp_path / "out"
    with pytest.raises(CheckpointError, match=message):
        command.main(
            ["--weights", str(sample_checkpoint), "--set", setting, "--device", "cpu", "--output", str(output)]
        )
    assert not output.exists()


def test_mistakes_are_named_and_leave_nothing_behind(
    command: ModuleType, sample_checkpoint: Path, sample_data: Path, tmp_path: Path
) -> None:
    weights, output = ["--weights", str(sample_checkpoint)], ["--device", "cpu", "--output", str(tmp_path / "out")]
    cut = tmp_path / "cut.pth"
    cut.write_bytes(sample_checkpoint.read_bytes()[:1000])
    for arguments, error, message in (
        (["--weights", str(tmp_path / "none.pth"), *output], CheckpointError, "none.pth"),
        (["--weights", str(cut), *output], CheckpointError, "cut.pth"),
        ([*weights, *output, "--config", "none.yaml"], ConfigError, "none.yaml"),
        ([*weights, *output, "--set", "eval.nms=fastest"], ConfigError, "eval.nms"),
        ([*weights, *output, "--set", "data.val_annotations=none.json"], DatasetError, "none.json"),
    ):
        with pytest.raises(error, match=message):
            command.main(arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.pth"]


def test_an_unreadable_picture_is_named_and_leaves_nothing_behind(
    command: ModuleType, sample_checkpoint: Path, sample_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(sample_data / "pictures", tmp_path / "pictures")
    (tmp_path / "pictures" / "picture 2.png").write_bytes(b"\x89PNG")
    arguments = ["--weights", str(sample_checkpoint), "--device", "cpu", "--output", str(tmp_path / "out")]
    with pytest.raises(DatasetError, match=r"picture 2\.png"):
        command.main([*arguments, "--set", f"data.val_images={tmp_path / 'pictures'}"])
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_written_is_refused_before_any_work(
    command: ModuleType, sample_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*cannot be written"):
        command.main(["--weights", str(sample_checkpoint), "--device", "cpu", "--output", str(tmp_path / "file")])
    assert capsys.readouterr().out == ""


def test_a_mistake_is_one_line_and_exit_code_2_on_the_command_line(tmp_path: Path) -> None:
    run = [sys.executable, "eval.py", "--weights", str(tmp_path / "none.pth"), "--device", "cpu"]
    process = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stdout == ""
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: ")
    assert "none.pth" in line
