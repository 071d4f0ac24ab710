"""The command line, from a folder of each format to annotations that load, and what it says on the way."""

import base64
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from yolact.config import load_config, override_config
from yolact.data.dataset import CocoDataset
from yolact.errors import exit_on_user_error

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 24, 32
SQUARE = [[4, 4], [12, 4], [12, 16], [4, 16]]


@pytest.fixture(scope="module")
def command(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("convert_dataset")


@pytest.fixture
def outcome(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs the command as a shell would and gives exit code, output and error output."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            exit_on_user_error(lambda: command.main([str(argument) for argument in arguments]))
        shown = capsys.readouterr()
        return stopped.value.code or 0, shown.out, shown.err

    return run


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), len(path.stem), np.uint8))


def write_labelme(folder: Path, count: int) -> None:
    """Pictures with a cat each; every second has a dog too, and the first a line."""
    for number in range(count):
        write_picture(folder / f"{number:02}.jpg")
        shapes = [{"label": "cat", "points": SQUARE, "group_id": None, "shape_type": "polygon"}]
        if number % 2:
            shapes.append({"label": "dog", "points": [[20, 4], [30, 9]], "shape_type": "rectangle"})
        if number == 0:
            shapes.append({"label": "dog", "points": [[20, 4], [30, 9]], "shape_type": "line"})
        label = {"shapes": shapes, "imagePath": f"{number:02}.jpg", "imageHeight": HEIGHT, "imageWidth": WIDTH}
        (folder / f"{number:02}.json").write_text(json.dumps(label))


def write_yolo(folder: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        for number in range(3):
            write_picture(folder / "images" / split / f"{split}{number}.png")
            path = folder / "labels" / split / f"{split}{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("0 0.25 0.25 0.5 0.25 0.5 0.75\n1 0.5 0.5 0.1 0.1\n")
    (folder / "data.yaml").write_text("names: [cat, dog]\n")


def write_masks(folder: Path) -> None:
    for number in range(4):
        write_picture(folder / "images" / f"{number}.png")
        mask = np.zeros((HEIGHT, WIDTH), np.uint16)
        mask[4:9, 4:9], mask[12:20, 4:9], mask[12:20, 20:30] = 24_001, 24_002, 26_001
        (folder / "masks").mkdir(exist_ok=True)
        assert cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)


def settings_of(output: str) -> list[str]:
    """Return the key=value words of the command that was printed."""
    words = shlex.split(output.partition("To train on it:\n")[2].replace("\\\n", " "))
    assert words[:5] == ["python", "train.py", "--config", "configs/custom.yaml", "--set"]
    return words[5:]


def test_labelme_with_a_split(tmp_path: Path, outcome) -> None:
    write_labelme(tmp_path / "source", 10)
    code, shown, errors = outcome("labelme", tmp_path / "source", "--output", tmp_path / "out", "--val-share", 0.3)
    assert code == 0
    assert f"{tmp_path}/out/instances_train.json: 7 pictures, " in shown
    assert f"{tmp_path}/out/instances_val.json: 3 pictures, " in shown
    assert "warning: 1 shapes of the kind 'line', which have no area, passed over; the first: shapes[1] of" in errors
    config = override_config(load_config(ROOT / "configs" / "custom.yaml"), settings_of(shown))
    train = CocoDataset(config.data.train_annotations, config.data.train_images)
    val = CocoDataset(config.data.val_annotations, config.data.val_images)
    assert train.categories == val.categories
    assert train.categories.names == ["cat", "dog"]
    names = [{picture.file_name for picture in dataset.images} for dataset in (train, val)]
    assert not names[0] & names[1]
    assert names[0] | names[1] == {f"{number:02}.jpg" for number in range(10)}
    assert {path.name for path in Path(config.data.val_images).iterdir()} == names[1]
    assert sum(len(dataset.objects(i)) for dataset in (train, val) for i in range(len(dataset))) == 15


def test_the_split_repeats_whatever_the_order_on_disk(tmp_path: Path, outcome) -> None:
    write_labelme(tmp_path / "one", 12)
    (tmp_path / "two").mkdir()
    for path in sorted((tmp_path / "one").iterdir(), reverse=True):
        (tmp_path / "two" / path.name).write_bytes(path.read_bytes())
    files = {}
    for source, seed in (("one", 5), ("two", 5), ("one", 6)):
        output = tmp_path / f"{source}{seed}"
        assert outcome("labelme", tmp_path / source, "--output", output, "--val-share", 0.5, "--seed", seed)[0] == 0
        files[source, seed] = {path.name: path.read_bytes() for path in output.glob("*.json")}
    assert set(files["one", 5]) == {"instances_train.json", "instances_val.json"}
    assert files["one", 5] == files["two", 5]
    assert files["one", 5] != files["one", 6]


def test_yolo_keeps_its_own_split(tmp_path: Path, outcome) -> None:
    write_yolo(tmp_path / "source", ("train", "val"))
    code, shown, errors = outcome("yolo", tmp_path / "source", "--output", tmp_path / "out", "--no-copy")
    assert code == 0
    assert "warning: 6 boxes (lines of 5 numbers, as for detection) without a mask, passed over; the first: " in errors
    assert "warning: 1 classes without an object: dog" in errors
    config = override_config(load_config(ROOT / "configs" / "custom.yaml"), settings_of(shown))
    assert config.data.train_images == f"{tmp_path}/source/images/train"
    for split, images in (("train", config.data.train_images), ("val", config.data.val_images)):
        dataset = CocoDataset(tmp_path / "out" / f"instances_{split}.json", images)
        assert [picture.file_name for picture in dataset.images] == [f"{split}{number}.png" for number in range(3)]
        assert dataset.categories.names == ["cat", "dog"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"instances_train.json", "instances_val.json"}
    code, _, errors = outcome("yolo", tmp_path / "source", "--output", tmp_path / "more", "--val-share", 0.5)
    assert code == 2
    assert "has its own split into train and val; leave --val-share out" in errors


def test_yolo_with_pictures_to_train_on_only(tmp_path: Path, outcome) -> None:
    write_yolo(tmp_path / "source", ("train",))
    assert outcome("yolo", tmp_path / "source" / "data.yaml", "--output", tmp_path / "out", "--val-share", 0.4)[0] == 0
    assert len(CocoDataset(tmp_path / "out" / "instances_train.json", tmp_path / "out" / "train")) == 2
    assert len(CocoDataset(tmp_path / "out" / "instances_val.json", tmp_path / "out" / "val")) == 1


def test_masks_with_and_without_classes(tmp_path: Path, outcome) -> None:
    source = tmp_path / "source"
    write_masks(source)
    code, shown, errors = outcome("masks", source, "--output", tmp_path / "one", "--class-name", "cell")
    assert (code, errors.count("warning")) == (0, 0)
    assert f"{tmp_path}/one/instances.json: 4 pictures, 12 objects\n      12 cell\n" in shown
    assert "There are no pictures to validate on; --val-share 0.2 makes a fifth of them so." in shown
    folders = ["--pictures", source / "images", "--masks", source / "masks"]
    code, shown, errors = outcome("masks", *folders, "--output", tmp_path / "two", "--class-map", "24=person", "26=car")
    assert code == 0
    dataset = CocoDataset(tmp_path / "two" / "instances.json", tmp_path / "two" / "pictures")
    assert dataset.categories.names == ["person", "car"]
    assert [record.label for record in dataset.objects(0)] == [0, 0, 1]
    assert [record.area for record in dataset.objects(0)] == [25, 40, 80]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("labelme gone --output out", "There is no folder 'gone'"),
        ("labelme source --output source/out", "lies within the source 'source'"),
        ("labelme source --output .", "no label files of labelme"),
        ("labelme source --output taken", "'taken/instances_val.json' exists already"),
        ("yolo source --output out", "has a label file, such as 'labels/0.txt' for 'images/0.png'"),
        ("yolo gone.yaml --output out", "gone.yaml: there is no such configuration file"),
        ("masks source --output out --pictures source", "Give either SOURCE, or both"),
        ("masks --output out", "Give either SOURCE, or both"),
        ("masks --output source/masks/x --pictures source/images --masks source/masks", "lies within"),
        ("masks source --output out --class-map 24=a 24=b", "--class-map takes numbers and names"),
        ("masks source --output out --class-map person", "--class-map takes numbers and names"),
        ("masks source --output out --class-map 3=x", "no object with a mask; it has 12 numbers"),
        ("masks source --output out --val-share 1", "invalid number between 0 and 1"),
        ("masks source --output source/images/0.png/out", "lies within"),
        ("masks source --output notes.txt", "The output folder 'notes.txt' cannot be written"),
    ],
)
def test_mistakes(tmp_path: Path, monkeypatch, outcome, arguments, expected) -> None:
    monkeypatch.chdir(tmp_path)
    write_masks(tmp_path / "source")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "instances_val.json").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}
    code, shown, errors = outcome(*arguments.split())
    assert (code, shown) == (2, "")
    last = errors.strip().splitlines()[-1]
    assert "error: " in last
    assert expected in last
    assert {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")} == before


def test_pictures_that_cannot_be_used_are_named(tmp_path: Path, outcome) -> None:
    write_labelme(tmp_path / "source", 8)
    for number in range(6):
        (tmp_path / "source" / f"{number:02}.jpg").write_bytes(b"no picture")
    picture = base64.b64encode((tmp_path / "source" / "07.jpg").read_bytes()).decode()
    label = json.loads((tmp_path / "source" / "06.json").read_text())
    (tmp_path / "source" / "06.json").write_text(json.dumps({**label, "imageData": picture, "imagePath": "gone.jpg"}))
    code, shown, errors = outcome("labelme", tmp_path / "source", "--output", tmp_path / "out")
    assert code == 0
    assert "2 pictures, 3 objects" in shown
    assert "warning: 6 pictures were left out:\n  Cannot decode the picture" in errors
    assert errors.count("Cannot decode") == 5
    assert "  and 1 more\n" in errors
    assert {path.name for path in (tmp_path / "out" / "pictures").iterdir()} == {"07.jpg", "gone.jpg"}
