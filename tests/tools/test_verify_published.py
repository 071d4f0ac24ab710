import json
import shutil
from dataclasses import replace

import pytest

from yolact.data.categories import COCO_CATEGORY_IDS, COCO_CLASSES
from yolact.errors import UserError
from yolact.loaded import LoadedModel
from yolact.models import build_model

NAME = "yolact_resnet50"


@pytest.fixture(scope="module")
def command(load_script):
    return load_script("verify_published")


@pytest.fixture(scope="module")
def coco(sample_data, tmp_path_factory):
    """Folder laid out as COCO's, with COCO's 80 categories and two of the sample's images."""
    folder = tmp_path_factory.mktemp("coco")
    shutil.copytree(sample_data / "pictures", folder / "val2017")
    content = json.loads((sample_data / "annotations.json").read_text())
    content["images"] = content["images"][:2]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [item for item in content["annotations"] if item["image_id"] in ids]
    content["categories"] = [
        {"id": number, "name": name} for number, name in zip(COCO_CATEGORY_IDS, COCO_CLASSES, strict=True)
    ]
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_val2017.json").write_text(json.dumps(content))
    return folder


def test_it_fetches_evaluates_and_compares(command, coco, web, tiny_config, monkeypatch, tmp_path, capsys):
    config = replace(tiny_config, model=replace(tiny_config.model, num_classes=80))
    loaded = LoadedModel(build_model(config).eval(), config, list(COCO_CLASSES), list(COCO_CATEGORY_IDS))
    monkeypatch.setattr(command, "load_model", lambda path, device: {b"weights": loaded}[path.read_bytes()])
    web.files[f"dbolya/yolact-resnet50/{NAME}_54_800000.pth"] = b"weights"
    arguments = ["--coco", str(coco), "--weights", str(tmp_path), "--output", str(tmp_path / "out")]
    assert command.main([*arguments, "--models", NAME, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / f"out/{NAME}.json").read_text())
    mask, box = (100 * metrics[kind]["AP"] for kind in ("segm", "bbox"))
    row = next(line for line in printed.splitlines() if line.strip().startswith(NAME))
    assert row.split()[1:7] == [
        f"{mask:.2f}", "28.00", f"{mask - 28.0:+.2f}", f"{box:.2f}", "30.69", f"{box - 30.69:+.2f}",
    ]  # fmt: skip
    assert "val2017 (OpenVINO model zoo)" in row
    assert "Only 2 images were evaluated, not the 5000" in printed


def test_only_coco_will_do(command, coco, tmp_path):
    shutil.copytree(coco, tmp_path / "coco")
    path = tmp_path / "coco/annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"].pop()
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="declares 79 categories that are not COCO's 80"):
        command.main(["--coco", str(tmp_path / "coco"), "--output", str(tmp_path / "out"), "--models", NAME])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mask_ap", "box_ap", "agrees"),
    [(29.92, 32.3, True), (29.42, 32.8, True), (29.41, 32.3, False), (29.92, 32.81, False)],
)
def test_what_counts_as_the_published_metric(command, mask_ap, box_ap, agrees):
    assert command.compare("yolact_base", mask_ap, box_ap, None)[1] == agrees


def test_without_a_metric_on_val2017_the_papers_is_compared(command):
    row, agrees = command.compare("yolact_im700", 31.0, 33.0, 12.0)
    texts = ["yolact_im700", "31.00", "31.20", "-0.20", "33.00", "-", "-", "12.0", "test-dev (the papers)"]
    assert [cell.text for cell in row] == texts
    assert agrees
