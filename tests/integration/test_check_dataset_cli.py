"""The command line of the data check on small generated pictures, and briefly on real ones."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from yolact.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def command(load_script):
    return load_script("check_dataset")


def test_a_good_set_exits_with_0_and_leaves_page_and_json(command, config, tmp_path, capsys) -> None:
    output = tmp_path / "out"
    assert command.main(["--config", str(config), "--output", str(output)]) == 0
    assert {path.name for path in output.iterdir()} == {"index.html", "check.json"}
    report = json.loads((output / "check.json").read_text())
    assert report["format"] == 1
    assert report["config"] == "tiny"
    assert report["errors"] == 0
    assert report["sets"]["train"]["pictures"] == 8
    assert report["anchors"]["now"]["image_size"] == 64
    assert 0 <= report["anchors"]["now"]["recall"] <= 1
    assert report["masks"]["side"] == 16
    printed = capsys.readouterr().out
    assert "train: 8 pictures" in printed
    assert "anchors: " in printed
    assert str(output / "index.html") in printed


def test_an_error_exits_with_1_and_names_the_place(command, config, tmp_path, capsys) -> None:
    folder = config.parent / "shapes"
    data = json.loads((folder / "instances_train.json").read_text())
    data["annotations"][0]["bbox"][2] = float("nan")
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(data))
    output = tmp_path / "out"
    arguments = ["--annotations", str(bad), "--images", str(folder / "train"), "--output", str(output)]
    assert command.main(arguments) == 1
    found = [one for one in json.loads((output / "check.json").read_text())["findings"] if one["level"] == "error"]
    assert [(one["kind"], one["set"], one["count"]) for one in found] == [("invalid-box", "data", 1)]
    assert found[0]["examples"][0]["annotation"] == data["annotations"][0]["id"]
    assert f"annotation {data['annotations'][0]['id']}" in capsys.readouterr().out


def test_keys_can_be_set(command, config, tmp_path) -> None:
    output = tmp_path / "out"
    command.main(["--config", str(config), "--output", str(output), "--set", "model.image_size=128"])
    report = json.loads((output / "check.json").read_text())
    assert report["anchors"]["now"]["image_size"] == 128
    scales = report["anchors"]["options"][0]["override"]
    command.main(["--config", str(config), "--output", str(output), "--set", "model.image_size=128", scales])
    again = json.loads((output / "check.json").read_text())
    assert again["anchors"]["now"]["recall"] == report["anchors"]["options"][0]["recall"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "configs/none.yaml"], "none.yaml"),
        (["--annotations", "none.json", "--images", "."], "none.json"),
        (["--annotations", "setup.py", "--images", "."], "not valid JSON"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(command, tmp_path, arguments, message) -> None:
    output = tmp_path / "out"
    with pytest.raises(UserError, match=message) as caught:
        command.main([*arguments, "--output", str(output)])
    assert "\n" not in str(caught.value)
    assert not output.exists()


@pytest.mark.parametrize("arguments", [[], ["--annotations", "a.json"], ["--images", "."]])
def test_missing_arguments(command, arguments) -> None:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2


def test_the_program_exits_with_2_on_a_missing_file(tmp_path) -> None:
    program = [sys.executable, str(ROOT / "scripts/check_dataset.py"), "--annotations", "none.json", "--images", "."]
    done = subprocess.run([*program, "--output", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: Cannot read the annotation file none.json")


def test_a_run_says_in_two_lines_what_it_found(finished) -> None:
    log = (finished / "log.txt").read_text()
    assert "data: 8 pictures to train, with " in log
    assert " % of the objects meet one at IoU 0.5, " in log


def test_pictures_of_coco(command, shared, tmp_path) -> None:
    data = shared / "coco_tiny"
    source = ["--annotations", str(data / "annotations/instances_val2017.json"), "--images", str(data / "val2017")]
    assert command.main([*source, "--output", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out/check.json").read_text())
    assert {one["kind"] for one in report["findings"]} <= {"rare-category", "unused-category"}
    assert report["sets"]["data"]["pictures"] == 80
    assert 0.6 < report["anchors"]["now"]["recall"] < 0.9
