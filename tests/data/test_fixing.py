"""`check --fix` leaves a file that training takes, with all that was good and a list of the rest."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import content
from tests.data.test_faulty_datasets import FAULTS, Fault, kinds_of
from yolact.cli import run
from yolact.data.dataset import CocoDataset
from yolact.errors import DatasetError, UserError
from yolact.tools.inspect.fixing import Fixed, fix
from yolact.tools.inspect.reading import InspectedSet, Source, inspect_files

Content = dict[str, Any]
WriteSet = Callable[..., tuple[Path, Path]]


def fixed(annotation_file: Path, folder: Path, **options: bool) -> Fixed:
    source = Source("data", annotation_file, folder)
    inspected = InspectedSet(source)
    inspect_files(inspected)
    result = fix(source, inspected.bad_images, **options)
    annotation_file.write_text(json.dumps(result.content))
    return result


def test_a_good_file_stays_as_it_is(write_set: WriteSet) -> None:
    result = fixed(*write_set(lambda data: data.update(info={"year": 2024})))
    assert result.content == {**content(), "info": {"year": 2024}}
    assert result.lines() == ["kept: 3 images, 3 objects"]


def test_what_is_broken_is_left_out_and_listed(write_set: WriteSet) -> None:
    def change(data: Content) -> None:
        square, good = data["annotations"][0]["segmentation"][0], data["annotations"][0]
        data["annotations"] += [
            {**good, "id": 11, "segmentation": [[10, 5, 30, 5]]},  # two points
            {**good, "id": 12, "segmentation": [square, [1, 2, 3, 4], [1, 2, 1e9, 4, 5, 6]]},
            {**good, "id": 13, "image_id": 77},
            {**good, "id": 14, "category_id": 77},
            {**good, "id": 15, "bbox": [10, 5, 30, 20]},  # two corners
            {**good, "id": 16, "segmentation": []},
            5,
        ]
        data["images"].append({**data["images"][0], "id": 6, "file_name": "gone.png"})

    annotation_file, folder = write_set(change)
    (folder / "below/b.png").write_bytes(b"no image")
    result = fixed(annotation_file, folder)
    assert [entry["id"] for entry in result.content["images"]] == [9, 5]
    assert [entry["id"] for entry in result.content["annotations"]] == [1, 2, 12, 15]
    assert result.content["annotations"][2]["segmentation"] == content()["annotations"][0]["segmentation"]
    assert result.content["annotations"][3]["bbox"] == [10, 5, 20, 15]
    assert result.mended == {
        "broken parts of objects, left out of them": ["annotations[4]"],
        "boxes unlike their masks, taken from these": ["annotations[7]"],
    }
    assert result.left_out == {
        "images without a file": ["gone.png"],
        "images that cannot be used": ["below/b.png"],
        "objects of images that are not there": ["annotations[2]", "annotations[5]"],
        "objects whose fields are broken": ["annotations[3]", "annotations[6]"],
        "objects with no segmentation": ["annotations[8]"],
        "entries that are not objects": ["annotations[9]"],
    }
    assert result.lines()[0] == "kept: 2 images, 4 objects"
    assert "left out: 2 objects of images that are not there (annotations[2], annotations[5])" in result.lines()
    assert len(CocoDataset(annotation_file, folder).objects(0)) == 4


def test_crowds_become_objects(write_set: WriteSet) -> None:
    result = fixed(*write_set(), crowds_are_objects=True)
    assert [entry["iscrowd"] for entry in result.content["annotations"]] == [0, 0, 0]
    assert result.mended == {"crowd regions taken as single objects": ["annotations[1]"]}


@pytest.mark.parametrize("name", ["../../media/4/b.png", "images/b.png", "C:\\\\set\\\\b.png"])
def test_the_only_file_of_that_name_is_taken(write_set: WriteSet, name: str) -> None:
    annotation_file, folder = write_set()
    annotation_file.write_text(annotation_file.read_text().replace("below/b.png", name))
    result = fixed(annotation_file, folder)
    assert result.content["images"][1]["file_name"] == "below/b.png"
    assert result.left_out == {}
    assert len(result.content["annotations"]) == 3


def test_one_file_is_not_taken_for_two_images(write_set: WriteSet) -> None:
    annotation_file, folder = write_set(lambda data: data["images"][2].update(file_name="cam2/a.png"))
    (folder / "c.png").unlink()
    result = fixed(annotation_file, folder)
    assert [entry["file_name"] for entry in result.content["images"]] == ["a.png", "below/b.png"]
    assert result.left_out["images without a file"] == ["cam2/a.png"]


def test_a_mended_box_brings_its_area(write_set: WriteSet) -> None:
    source = write_set(lambda data: data["annotations"][0].update(bbox=[0.1, 0.1, 0.2, 0.2], area=0.04))
    [entry] = [one for one in fixed(*source).content["annotations"] if one["id"] == 1]
    assert (entry["bbox"], entry["area"]) == ([10, 5, 20, 15], 300)


def test_names_that_are_no_text_are_listed(write_set: WriteSet) -> None:
    annotation_file, folder = write_set(lambda data: data["images"][0].update(file_name="gone\ud800.png"))
    assert fixed(annotation_file, folder).lines()[1] == "left out: 1 images without a file (gone\ufffd.png)"


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_training_takes_what_was_fixed(write_set: WriteSet, fault: Fault) -> None:
    annotation_file, folder = write_set(fault.change)
    fault.files(folder)
    if fault.text is not None:
        annotation_file.write_bytes(fault.text(annotation_file.read_bytes()))
    with contextlib.suppress(DatasetError):  # what only a person can mend, or leaves nothing
        fixed(annotation_file, folder)
        assert kinds_of((annotation_file, folder))[0] == []


def test_the_command(write_set: WriteSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotation_file, folder = write_set(lambda data: data["annotations"][0]["segmentation"].append([1, 2, 3, 4]))
    with pytest.raises(DatasetError, match=r"or `yolact check --annotations .* --fix OUT.json` writes a file without"):
        CocoDataset(annotation_file, folder)
    source = ["check", "--annotations", str(annotation_file), "--images", str(folder)]
    source += ["--output", str(tmp_path / "out")]
    assert run(source) == 1
    assert "--fix OUT.json writes the annotations without what is broken, or says" in capsys.readouterr().out
    target = tmp_path / "clean.json"
    run([*source, "--fix", str(target)])
    assert "mended: 1 broken parts of objects, left out of them (annotations[0])" in capsys.readouterr().out
    assert len(CocoDataset(target, folder).objects(0)) == 2
    assert json.loads((tmp_path / "out/fixed.json").read_text())["left_out"] == {}
    for arguments in ([*source, "--fix", str(target)], [*source, "--crowds-are-objects"], ["check", "--fix", "x.json"]):
        with pytest.raises(UserError, match=r"--fix|nothing to check"):
            run(arguments)
