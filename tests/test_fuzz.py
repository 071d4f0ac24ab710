"""Inputs spoilt at random: only errors for users come out, within ten seconds and a gigabyte.

Each target takes good content, changes some of it, and reads the result as the programs do, in a child process. The
ordinary suite tries the same examples each time; `pytest -m long tests/test_fuzz.py` tries thousands of new ones.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import fuzz_inputs as inputs
from tests.child import Child
from tests.data.conftest import inspect, use
from yolact.config import dump_config, load_config
from yolact.data.categories import VOC_CLASSES
from yolact.engine.checkpoint import load_checkpoint
from yolact.errors import DatasetError, UserError
from yolact.tools.convert.coco import read_coco
from yolact.tools.convert.common import Conversion
from yolact.tools.convert.cvat import read_cvat
from yolact.tools.convert.labelme import read_labelme
from yolact.tools.convert.labelstudio import read_labelstudio
from yolact.tools.convert.panoptic import read_panoptic
from yolact.tools.convert.recognise import recognise
from yolact.tools.convert.via import read_via
from yolact.tools.convert.writing import coco_content, warning_lines, write_conversion
from yolact.tools.convert.yolo import read_yolo
from yolact.tools.inspect.fixing import fix
from yolact.tools.inspect.reading import Source
from yolact.tools.prepare import voc


class Target(NamedTuple):
    """A kind of input."""

    inputs: st.SearchStrategy[Any]
    read: Callable[[Path, Any], object]  # in a folder, which is its own


def put(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files by their names and return their folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def read_annotations(folder: Path, data: bytes) -> None:
    """Inspect the data set, make samples of all its pictures, and hand its masks to pycocotools as evaluation does.

    What `check --fix` leaves of it is taken.
    """
    put(folder, {**dict.fromkeys(("a.png", "below/b.png", "c.png"), inputs.PICTURE), "instances.json": data})
    file, clean = folder / "instances.json", folder / "clean.json"
    clean.unlink(missing_ok=True)
    ended = []
    for read in (refuse_errors, use):
        try:
            read(file, folder)
        except UserError as error:
            ended.append(error)
    with suppress(DatasetError):  # what only a person can mend, or leaves nothing
        clean.write_text(json.dumps(fix(Source("data", file, folder), ()).content))
    if clean.exists():
        use(clean, folder)
    if len(ended) == 1:
        raise AssertionError("refused by the inspection or the training alone") from ended[0]
    if ended:
        raise ended[1]


def refuse_errors(file: Path, folder: Path) -> None:
    findings = inspect(file, folder)
    json.dumps([finding.to_json() for finding in findings], allow_nan=False).encode()
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise UserError(str(errors[0].kind) + ".")


def write_out(conversion: Conversion, folder: Path) -> None:
    """Write what was converted, and load that."""
    "\n".join(warning_lines(conversion)).encode()
    for written in write_conversion(conversion, folder / "out", True):
        use(written.annotations, written.folder)


def read_labels(folder: Path, case: tuple[bytes, bytes]) -> None:
    files = {"images/a.png": inputs.PICTURE, "labels/a.txt": case[0], "data.yaml": case[1]}
    write_out(read_yolo(put(folder / "set", files)), folder)


def read_shapes(folder: Path, data: bytes) -> None:
    write_out(read_labelme(put(folder / "set", {"a.png": inputs.PICTURE, "a.json": data})), folder)


def reader(read: Callable[[Path], Conversion], name: str) -> Callable[[Path, bytes], None]:
    """Return what reads a file of annotations, called `name`, beside an image and a mask of two numbers."""

    def read_file(folder: Path, data: bytes) -> None:
        numbers = np.zeros((inputs.HEIGHT, inputs.WIDTH, 3), np.uint8)
        numbers[2:9, 3:12, 2], numbers[12:20, 3:12, 2] = 1, 2  # red
        mask = cv2.imencode(".png", numbers)[1].tobytes()
        (folder / "set/masks").mkdir(parents=True)
        masks = {"masks/a.png": mask} if name == "panoptic.json" else {}
        put(folder / "set", {"images/a.png": inputs.PICTURE, **masks, name: data})
        with suppress(UserError):
            recognise(folder / "set")
        write_out(read(folder / "set"), folder)

    return read_file


def read_voc(folder: Path, case: tuple[bytes, bytes, bytes]) -> None:
    files = ("ImageSets/Segmentation/train.txt", "SegmentationObject/2008_000002.png",
             "SegmentationClass/2008_000002.png")  # fmt: skip
    photo = inputs.indexed_png(inputs.two_objects())  # of the size of the masks
    put(folder, {**dict(zip(files, case, strict=True)), "JPEGImages/2008_000002.jpg": photo})
    names = voc.read_names(folder / "ImageSets/Segmentation/train.txt")
    images = [voc.read_voc(Conversion(folder), name) for name in names]
    content = coco_content(images, dict(enumerate(VOC_CLASSES, start=1)))
    (folder / "train.json").write_text(json.dumps(content, allow_nan=False))


def read_configuration(folder: Path, case: tuple[bytes, list[str]]) -> None:
    (folder / "a.yaml").write_bytes(case[0])
    config = load_config(folder / "a.yaml", case[1])
    (folder / "again.yaml").write_text(dump_config(config), encoding="utf-8")
    assert load_config(folder / "again.yaml") == config


def read_checkpoint(folder: Path, data: bytes) -> None:
    (folder / "a.pth").write_bytes(data)
    found = load_checkpoint(folder / "a.pth")
    weights = found["model"] if "format" in found else found
    assert all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in weights.items())
    if "format" in found:
        assert isinstance(found["config"], dict)
        assert all(isinstance(name, str) for name in found["class_names"])
        assert all(isinstance(number, int) for number in found["category_ids"])


TARGETS = {
    "COCO JSON": Target(inputs.as_json(inputs.changed(inputs.annotations())), read_annotations),
    "YOLO text": Target(inputs.labels(), read_labels),
    "labelme JSON": Target(inputs.as_json(inputs.changed(inputs.shapes())), read_shapes),
    "Label Studio JSON": Target(inputs.as_json(inputs.changed(inputs.tasks())), reader(read_labelstudio, "a.json")),
    "CVAT XML": Target(inputs.cvat_files(), reader(read_cvat, "a.xml")),
    "VIA JSON": Target(inputs.as_json(inputs.changed(inputs.via_entries())), reader(read_via, "a.json")),
    "COCO JSON of others": Target(inputs.as_json(inputs.changed(inputs.annotations())), reader(read_coco, "a.json")),
    "panoptic JSON": Target(inputs.as_json(inputs.changed(inputs.segments())), reader(read_panoptic, "panoptic.json")),
    "VOC lists and masks": Target(inputs.voc_files(), read_voc),
    "configuration": Target(inputs.configurations(), read_configuration),
    "checkpoint": Target(inputs.checkpoints(), read_checkpoint),
}


@pytest.mark.parametrize("examples", [200, pytest.param(5000, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", TARGETS)
def test_only_errors_for_users_come_out(tmp_path: Path, name: str, examples: int) -> None:
    target, folder = TARGETS[name], tmp_path / "case"

    def outcome(case: Any) -> str:
        """Return the error; what no user should see gets out as it is."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            target.read(folder, case)
        except UserError as error:
            return str(error)
        return ""

    outcomes = {"read": 0, "refused": 0}

    @settings(
        max_examples=examples,
        derandomize=examples < 1000,
        deadline=None,  # the child has its own
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def check(case: Any) -> None:
        error, fault = child(case)
        assert fault == ""
        outcomes["refused" if error else "read"] += 1
        assert error.isprintable()

    with Child(outcome) as child:
        check()
    assert not list(tmp_path.rglob("x"))
    assert min(outcomes.values()) > examples / 100, outcomes  # neither is everything refused nor nothing
