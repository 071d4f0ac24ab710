"""scripts/prepare_coco.py with a small release on a server on loopback: whole runs, what is there already, mistakes."""

import hashlib
import io
import json
import random
import shutil
import stat
import zipfile

import pytest

from tests.data.conftest import rectangle
from yolact.errors import DatasetError, DownloadError
from yolact.tools.prepare import coco2017

NAMES = {"train2017": ["000000000009.jpg", "000000000025.jpg"], "val2017": ["000000000139.jpg"]}
ANNOTATIONS, TRAIN, VAL = "annotations/annotations_trainval2017.zip", "zips/train2017.zip", "zips/val2017.zip"
PHOTO = "val2017/000000000139.jpg"
WHOLE = "train2017: 2 images, 2 objects of 1 classes\nval2017: 1 images, 1 objects of 1 classes\n"


def annotations(names):
    images = [{"id": i, "file_name": name, "height": 40, "width": 60} for i, name in enumerate(names)]
    boxes = [rectangle(i + 1, i, 7, 10, 5, 20, 15) for i in range(len(names))]
    return json.dumps({"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "train"}]}).encode()


def pack(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


FILES = {
    **{f"annotations/instances_{split}.json": annotations(names) for split, names in NAMES.items()},
    **{f"{split}/{name}": random.Random(name).randbytes(2000) for split, names in NAMES.items() for name in names},
}
ZIPS = {
    ANNOTATIONS: pack({**{k: v for k, v in FILES.items() if "json" in k}, "annotations/captions_val2017.json": b"{}"}),
    TRAIN: pack({k: v for k, v in FILES.items() if k.startswith("train2017")}),
    VAL: pack({k: v for k, v in FILES.items() if k.startswith("val2017")}),
}


@pytest.fixture
def publish(web, monkeypatch):
    """Return a function that puts zip files on the server and makes them the release."""

    def put(zips=ZIPS):
        web.files = dict(zips)
        monkeypatch.setattr(coco2017, "SHA256", {name: hashlib.sha256(data).hexdigest() for name, data in zips.items()})
        monkeypatch.setattr(coco2017, "GIGABYTES", dict.fromkeys(zips, 0.001))
        monkeypatch.setattr(coco2017, "COUNTS", {split: len(names) for split, names in NAMES.items()})

    put()
    return put


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "coco"


@pytest.fixture
def run(load_script, publish, web, folder, capsys):
    """Return a function that runs the command line and returns what it printed."""
    main = load_script("prepare_coco").main

    def call(*arguments):
        capsys.readouterr()
        web.log.clear()
        main(["--folder", str(folder), "--url", web.url + "/", *arguments])
        return capsys.readouterr().out

    return call


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_whole_run_and_a_second_one(run, web, folder):
    assert all(len(digits) == 64 for digits in coco2017.SHA256.values())
    assert run() == f"COCO 2017 is in '{folder}':\n{WHOLE}"
    assert files(folder) == FILES
    assert run() == f"COCO 2017 is there already, in '{folder}':\n{WHOLE}"
    assert web.log == []
    assert run("--check") == WHOLE
    assert web.log == []


def test_one_split_and_then_the_other(run, folder):
    run("--splits", "val2017")
    assert set(files(folder)) == {"annotations/instances_val2017.json", PHOTO}
    before = (folder / PHOTO).stat()
    run()
    assert files(folder) == FILES
    assert (folder / PHOTO).stat() == before


def test_archives_can_stay_and_are_used_again(run, web, folder):
    run("--keep-archives")
    assert {name for name in files(folder) if name.endswith(".zip")} == {name.split("/")[1] for name in ZIPS}
    shutil.rmtree(folder / "train2017")
    (folder / ".unpacking/train2017").mkdir(parents=True)
    (folder / ".unpacking/train2017/half.jpg").write_bytes(b"left by a killed process")
    run()
    assert files(folder) == {**FILES, **{name.split("/")[1]: ZIPS[name] for name in (ANNOTATIONS, VAL)}}
    assert web.log == []


def test_what_cannot_be_fetched(run, web, folder, tmp_path):
    web.cuts = [700]
    with pytest.raises(DownloadError, match=r"could not be fetched \(.*\); run this again, or fetch it by `curl -C - "):
        run()
    (tmp_path / "secret").write_text("what nobody should see")
    del web.files[VAL]
    web.redirects[VAL] = (tmp_path / "secret").as_uri()
    with pytest.raises(DownloadError, match=r"val2017\.zip could not be fetched \(HTTP Error 302"):
        run("--splits", "val2017")
    assert set(files(folder)) == {"annotations/instances_val2017.json"}


@pytest.mark.parametrize("there", [True, False])
def test_another_archive_is_never_unpacked(run, web, folder, there):
    if there:
        folder.mkdir()
        (folder / "val2017.zip").write_bytes(b"another one")
    web.files[VAL] = ZIPS[TRAIN]
    with pytest.raises(DownloadError, match=r"is not the file that was published" if there else "invalid hash value"):
        run("--splits", "val2017")
    assert not (folder / "val2017").exists()
    assert (folder / "val2017.zip").exists() == there


@pytest.mark.parametrize(("name", "mode"), [
    ("val2017/../../../sentinel", 0), ("/tmp/yolact-sentinel", 0), ("..\\sentinel", 0),
    ("val2017/link", stat.S_IFLNK | 0o777), ("val2017/device", stat.S_IFCHR | 0o777),
])  # fmt: skip
def test_a_hostile_archive_writes_nothing_outside_the_folder(run, publish, folder, tmp_path, name, mode):
    """Even one whose SHA-256 is the expected one."""
    info = zipfile.ZipInfo("name")
    info.filename, info.create_system, info.external_attr = name, 3, mode << 16  # past what the constructor would mend
    publish({**ZIPS, VAL: pack({PHOTO: FILES[PHOTO], info: b"../../secret"})})
    run("--splits", "val2017")
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]
    assert not (tmp_path / "/tmp/yolact-sentinel").exists()
    assert all(path.is_dir() or (path.is_file() and not path.is_symlink()) for path in folder.rglob("*"))


@pytest.mark.parametrize(("data", "message"), [
    (ZIPS[VAL].replace(FILES[PHOTO][:900], bytes(900)), "Bad CRC-32"),
    (ZIPS[VAL][:500], "not a zip file"),
    (ZIPS[TRAIN], "No such file or directory"),
], ids=["damaged CRC", "cut", "another archive"])  # fmt: skip
def test_an_archive_that_cannot_be_unpacked_leaves_nothing(run, publish, folder, data, message):
    publish({**ZIPS, VAL: data})
    with pytest.raises(DownloadError, match=rf"val2017\.zip' could not be unpacked \(.*{message}"):
        run("--splits", "val2017")
    assert set(files(folder)) == {"annotations/instances_val2017.json", "val2017.zip"}


def test_no_room_is_said_before_anything_is_fetched(run, web, folder, monkeypatch):
    monkeypatch.setattr(coco2017, "GIGABYTES", dict.fromkeys(ZIPS, 1e9))
    with pytest.raises(DownloadError, match=r"needs 3000000000\.0 GB, but only .*fewer --splits"):
        run()
    assert web.log == []
    assert not folder.exists()


def test_a_check_says_what_is_missing_or_wrong(run, web, folder):
    with pytest.raises(DatasetError, match="Cannot read the annotation file"):
        run("--check")
    assert not folder.exists()
    run()
    (folder / "train2017/000000000025.jpg").unlink()
    with pytest.raises(DatasetError, match=r"'000000000025\.jpg' named by"):
        run()  # the folder is there, and nothing is put into it
    assert web.log == []
    (folder / "annotations/instances_val2017.json").write_text("{")
    with pytest.raises(DatasetError, match=r"instances_val2017\.json is not valid JSON"):
        run("--check", "--splits", "val2017")
    (folder / "annotations/instances_train2017.json").write_bytes(annotations(NAMES["train2017"][:1]))
    shown = run("--check", "--splits", "train2017")
    assert shown == "train2017: 1 images, 1 objects of 1 classes; all of COCO's train2017 are 2 images\n"
    assert web.log == []


def test_the_sample_of_coco(load_script, shared, capsys):
    load_script("prepare_coco").main(["--folder", str(shared / "coco_tiny"), "--check"])
    assert "train2017: 80 images" in capsys.readouterr().out
