import re
from pathlib import Path

import pytest

from yolact.data.coco2017 import COCO_2017, annotation_file, missing_archives

FILES = {
    "annotations": ["annotations/instances_train2017.json", "annotations/instances_val2017.json"],
    "train2017": ["train2017/000000000009.jpg", "train2017/000000581929.jpg"],
    "val2017": ["val2017/000000000139.jpg"],
}
OTHERS = [
    "annotations/captions_val2017.json",
    "annotations/instances_val2017-json",
    "train2017/",
    "val2017/000000000139.jpg.exe",
    "train2017/000000000009",
]


@pytest.mark.parametrize("name", FILES)
def test_the_release_names_the_files_that_the_configurations_read(name: str) -> None:
    archives = {"annotations": COCO_2017.annotations, **COCO_2017.pictures}
    archive = archives[name]
    assert all(re.fullmatch(archive.members, file) for file in FILES[name])
    assert not any(re.fullmatch(archive.members, file) for file in OTHERS)
    assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)
    assert re.fullmatch(r"(annotations|zips)/\w+2017\.zip", archive.path)
    assert archive.limits.member < archive.limits.total


def test_pictures_need_as_much_room_as_their_archive() -> None:
    for archive in COCO_2017.pictures.values():
        assert 1.0 < archive.limits.total / archive.size < 1.05


def test_what_is_missing(tmp_path: Path) -> None:
    release = COCO_2017._replace(counts={"train2017": 2, "val2017": 1})
    train, val = COCO_2017.pictures.values()
    assert missing_archives(tmp_path, ["train2017", "val2017"], release) == [COCO_2017.annotations, train, val]
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "a.jpg").touch()
    (tmp_path / "annotations").mkdir()
    annotation_file(tmp_path, "val2017").touch()
    assert missing_archives(tmp_path, ["val2017"], release) == []
    assert missing_archives(tmp_path, ["train2017"], release) == [COCO_2017.annotations, train]
    (tmp_path / "train2017").mkdir()
    (tmp_path / "train2017" / "a.jpg").touch()
    annotation_file(tmp_path, "train2017").touch()
    assert missing_archives(tmp_path, ["train2017", "val2017"], release) == [train]
