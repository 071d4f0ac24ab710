"""scripts/prepare_coco.py with a small release on a server on loopback: whole runs, resumed ones, and mistakes."""

import hashlib
import io
import json
import logging
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolact.data.archives import Limits
from yolact.data.coco2017 import COCO_2017, Archive
from yolact.data.dataset import CocoDataset
from yolact.errors import exit_on_user_error

NAMES = {
    "train2017": ["000000000009.jpg", "000000000025.jpg", "000000000030.jpg"],
    "val2017": ["000000000139.jpg", "000000000285.jpg"],
}
PATHS = {"annotations": COCO_2017.annotations.path, **{split: COCO_2017.pictures[split].path for split in NAMES}}


def picture(number):
    noise = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


def annotations(names):
    box = {"category_id": 7, "bbox": [10, 5, 20, 15], "area": 300, "segmentation": [[10, 5, 30, 5, 30, 20, 10, 20]]}
    images = [{"id": i, "file_name": name, "height": 40, "width": 60} for i, name in enumerate(names)]
    boxes = [{"id": i + 1, "image_id": i, "iscrowd": 0, **box} for i in range(len(names))]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "train"}]}
    return json.dumps(content).encode()


def pack(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


FILES = {
    **{f"annotations/instances_{split}.json": annotations(names) for split, names in NAMES.items()},
    **{f"{split}/{name}": picture(int(name[:-4])) for split, names in NAMES.items() for name in names},
}
ZIPS = {
    "annotations": pack(
        {**{k: v for k, v in FILES.items() if "json" in k}, "annotations/captions_val2017.json": b"{}"}
    ),
    **{split: pack({k: v for k, v in FILES.items() if k.startswith(split)}) for split in NAMES},
}


LIMITS = Limits(member=100_000, total=200_000)


@pytest.fixture(scope="module")
def module(load_script):
    return load_script("prepare_coco")


@pytest.fixture
def publish(module, file_server, monkeypatch):
    """Return a function that puts zip files on the server and makes them what the script fetches."""
    monkeypatch.setattr("yolact.download.fetching.FIRST_PAUSE", 0.0)
    monkeypatch.setattr(logging.getLogger("yolact"), "handlers", [])  # those that a training in this process left

    def archive(part, data, limits=LIMITS):
        file_server.files[f"/{PATHS[part]}"] = data
        official = {"annotations": COCO_2017.annotations, **COCO_2017.pictures}[part]
        return official._replace(size=len(data), sha256=hashlib.sha256(data).hexdigest(), limits=limits)

    def put(zips=ZIPS, **options):
        archives: dict[str, Archive] = {part: archive(part, data, **options) for part, data in zips.items()}
        counts = {split: len(names) for split, names in NAMES.items()}
        monkeypatch.setattr(
            module, "COCO_2017", module.COCO_2017._replace(
                annotations=archives.pop("annotations"), pictures=archives, counts=counts
            ),
        )  # fmt: skip

    put()
    return put


@pytest.fixture
def run(module, publish, file_server, tmp_path, capsys):
    """Return a function that runs the command line as the shell would: exit code, output, error."""

    def call(*arguments):
        capsys.readouterr()
        url = [] if "--url" in arguments else ["--url", file_server.url + "/"]
        with pytest.raises(SystemExit) as stopped:
            exit_on_user_error(lambda: module.main(["--folder", str(tmp_path / "coco"), *url, *arguments]))
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        _, *errors = printed.err.split("error: ")  # after log lines and bars
        assert len(errors) == bool(stopped.value.code)
        assert all(error.count("\n") == 1 for error in errors)
        return stopped.value.code or 0, printed.out, "".join(errors)

    return call


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "coco"


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WHOLE = "train2017: 3 pictures, 3 objects of 1 classes\nval2017: 2 pictures, 2 objects of 1 classes\n"


def test_a_whole_run_and_a_second_one(run, file_server, folder):
    assert run() == (0, f"COCO 2017 is in '{folder}':\n{WHOLE}", "")
    assert files(folder) == FILES
    dataset = CocoDataset(folder / "annotations/instances_train2017.json", folder / "train2017")
    assert dataset.load_image(2).shape == (40, 60, 3)
    file_server.log.clear()
    assert run() == (0, f"COCO 2017 is there already, in '{folder}':\n{WHOLE}", "")
    assert run("--check") == (0, WHOLE, "")
    assert file_server.log == []


def test_one_split_and_then_the_other(run, file_server, folder):
    assert run("--splits", "val2017")[1].endswith(":\nval2017: 2 pictures, 2 objects of 1 classes\n")
    assert files(folder) == {name: data for name, data in FILES.items() if not name.startswith("train2017")}
    file_server.log.clear()
    assert run()[0] == 0
    assert files(folder) == FILES
    assert [path for path, *_ in file_server.log] == ["/zips/train2017.zip"]


def test_archives_can_stay_and_are_used_again(run, file_server, folder):
    run("--keep-archives")
    assert {name for name in files(folder) if name.endswith(".zip")} == {Path(path).name for path in PATHS.values()}
    (folder / "val2017/000000000139.jpg").unlink()
    file_server.log.clear()
    assert run("--keep-archives")[0] == 0
    assert file_server.log == []
    assert files(folder).items() >= FILES.items()


def test_a_download_that_broke_off_goes_on(run, file_server, folder):
    del file_server.files["/zips/val2017.zip"]
    file_server.faults = [("none", 0), ("cut", 700)] + [("status", 503)] * 5
    code, _, error = run()
    assert code == 2
    assert "503 Service Unavailable" in error
    assert (folder / "train2017.zip.part").read_bytes() == ZIPS["train2017"][:700]
    file_server.files["/zips/val2017.zip"] = ZIPS["val2017"]
    file_server.faults.clear()
    file_server.log.clear()
    assert run()[0] == 0
    assert [entry[:2] for entry in file_server.log] == [
        ("/zips/train2017.zip", "bytes=700-"), ("/zips/val2017.zip", None),
    ]  # fmt: skip
    assert files(folder) == FILES


def test_unpacking_that_broke_off_goes_on(run, folder):
    run("--keep-archives")
    for name in NAMES["train2017"][1:]:
        (folder / "train2017" / name).unlink()
    (folder / "train2017" / f".{NAMES['train2017'][1]}.part").write_bytes(b"half")
    first = (folder / "train2017" / NAMES["train2017"][0]).stat()
    assert run()[0] == 0
    assert (folder / "train2017" / NAMES["train2017"][0]).stat() == first
    assert files(folder).items() >= FILES.items()
    assert not list(folder.rglob("*.part"))


def test_the_wrong_file_on_the_server(run, file_server, folder):
    file_server.files["/zips/train2017.zip"] = bytes(len(ZIPS["train2017"]))
    code, printed, error = run()
    assert (code, printed) == (2, "")
    assert "sent other bytes than expected (SHA-256 " in error
    assert not list(folder.glob("*.zip*"))


def broken_crc():
    data = bytearray(ZIPS["train2017"])
    data[data.index(FILES["train2017/000000000025.jpg"]) + 900] ^= 1
    return bytes(data)


def evil(name, mode=0):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("train2017/000000000009.jpg", FILES["train2017/000000000009.jpg"])
        archive.writestr(info, b"../../secret")
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (broken_crc(), "is damaged at train2017/000000000025.jpg (Bad CRC-32"),
        (b"<html>not found</html>", "is damaged (File is not a zip file)"),
        (evil("../evil"), "has the name '../evil', which could leave the folder"),
        (evil("/tmp/evil"), "has the name '/tmp/evil', which could leave the folder"),
        (evil("train2017/000000000025.jpg", 0o120777), "which is a link or a special file"),
        (ZIPS["val2017"], "holds nothing of the name train2017/"),
    ],
    ids=["damaged CRC", "no zip", "parent folder", "absolute name", "link", "another archive"],
)
def test_an_archive_that_is_not_what_it_should_be(run, publish, folder, tmp_path, data, message):
    publish({**ZIPS, "train2017": data})
    code, printed, error = run()
    assert (code, printed) == (2, "")
    assert message in error
    assert set(files(folder)) <= {*FILES, "train2017.zip"}
    assert [path.name for path in tmp_path.iterdir()] == ["coco"]


def test_more_in_an_archive_than_expected(run, publish, folder):
    publish(limits=Limits(member=100_000, total=1000))
    code, _, error = run("--splits", "val2017")
    assert code == 2
    assert "expected at most 1000 and 100000" in error
    assert set(files(folder)) == {"annotations_trainval2017.zip"}


def test_pictures_that_the_annotations_name_but_the_archive_lacks(run, publish, folder):
    publish({**ZIPS, "train2017": pack({"train2017/000000000009.jpg": FILES["train2017/000000000009.jpg"]})})
    code, _, error = run()
    assert code == 2
    assert f"'000000000025.jpg' and 1 others named by {folder}/annotations/instances_train2017.json cannot be" in error


def test_no_room_is_said_before_anything_is_fetched(run, publish, file_server, folder):
    publish(limits=Limits(member=10**18, total=10**18))
    code, _, error = run()
    assert code == 2
    assert "needs 3000000000.0 GB" in error
    assert "make room, or choose another --folder or fewer --splits" in error
    assert file_server.log == []
    assert not folder.exists()


def test_the_folder_of_another_data_set_is_left_alone(run, file_server, folder):
    (folder / "annotations").mkdir(parents=True)
    for split in NAMES:
        (folder / f"annotations/instances_{split}.json").write_bytes(annotations(["mine.jpg"]))
    before = files(folder)
    code, _, error = run()
    assert code == 2
    assert "lists 1 pictures, but COCO's lists 3; choose another --folder, or run this with --check" in error
    (folder / "annotations/instances_train2017.json").unlink()
    code, _, error = run()
    assert code == 2
    assert "instances_val2017.json' is there but is not the file of that name in" in error
    assert not list(folder.rglob("*.jpg"))
    assert (folder / "annotations/instances_val2017.json").read_bytes() == before["annotations/instances_val2017.json"]


def test_a_check_says_what_is_missing_or_wrong(run, file_server, folder):
    code, _, error = run("--check")
    assert code == 2
    assert "Cannot read the annotation file" in error
    assert not folder.exists()
    run()
    file_server.log.clear()
    (folder / "val2017/000000000285.jpg").unlink()
    code, printed, error = run("--check")
    assert (code, printed) == (2, WHOLE.splitlines(keepends=True)[0])
    assert "'000000000285.jpg' named by" in error
    (folder / "annotations/instances_val2017.json").write_text("{")
    code, _, error = run("--check", "--splits", "val2017")
    assert code == 2
    assert "instances_val2017.json is not valid JSON" in error
    assert file_server.log == []


def test_a_check_of_a_part_of_coco(run, folder):
    run()
    (folder / "annotations/instances_val2017.json").write_bytes(annotations(NAMES["val2017"][:1]))
    assert run("--check", "--splits", "val2017")[1] == (
        "val2017: 1 pictures, 1 objects of 1 classes; all of COCO's val2017 are 2 pictures\n"
    )


def test_the_sample_of_coco(run, shared, module, capsys):
    module.main(["--folder", str(shared / "coco_tiny"), "--check"])
    assert "train2017: 80 pictures" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--splits", "train2014"], ["--url", "ftp://somewhere"]])
def test_arguments_that_make_no_sense(module, publish, tmp_path, arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        exit_on_user_error(lambda: module.main(["--folder", str(tmp_path / "coco"), *arguments]))
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "coco").exists()
