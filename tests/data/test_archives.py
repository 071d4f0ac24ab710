import multiprocessing
import os
import random
import stat
import time
import zipfile
from pathlib import Path

import pytest

from yolact.data.archives import Limits, free_bytes, gigabytes, unpack
from yolact.errors import DownloadError

GENEROUS = Limits(member=10_000_000, total=20_000_000)
CONTENT = {f"set/{name}.jpg": random.Random(name).randbytes(3000) for name in "abc"}


def write_zip(path: Path, members: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("set/", b"")
        for name, data in (CONTENT if members is None else members).items():
            file.writestr(name, data)
        for name in ("readme.txt", "set/a.jpg.txt", "old/set/a.jpg"):
            file.writestr(name, b"not wanted")
    return path


def run(archive: Path, folder: Path, limits: Limits = GENEROUS) -> int:
    return unpack(archive, folder, r"set/\w+\.jpg", limits, progress=False)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return write_zip(tmp_path / "set.zip")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_wanted_members_and_no_others(tmp_path: Path, folder: Path, method: int) -> None:
    assert run(write_zip(tmp_path / "set.zip", method=method), folder) == 3
    assert files(folder) == CONTENT


def test_what_is_there_is_checked_and_left_as_it_is(archive: Path, folder: Path) -> None:
    run(archive, folder)
    before = {path: path.stat() for path in folder.rglob("*.jpg")}
    assert run(archive, folder) == 3
    assert {path: path.stat() for path in folder.rglob("*.jpg")} == before


def test_a_kill_in_the_middle_leaves_whole_files_and_the_next_call_goes_on(archive: Path, folder: Path) -> None:
    (folder / "set").mkdir(parents=True)
    os.mkfifo(folder / "set/.b.jpg.part")  # opening it waits for a reader
    process = multiprocessing.get_context("fork").Process(target=run, args=(archive, folder))
    process.start()
    while not (folder / "set/a.jpg").exists():
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert [path.name for path in sorted((folder / "set").iterdir())] == [".b.jpg.part", "a.jpg"]
    (folder / "set/.b.jpg.part").unlink()
    (folder / "set/.b.jpg.part").write_bytes(b"half")
    assert run(archive, folder) == 3
    assert files(folder) == CONTENT


def test_a_wrong_crc_leaves_nothing_of_that_member(archive: Path, folder: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[data.index(CONTENT["set/b.jpg"]) + 1500] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DownloadError, match=r"set\.zip' is damaged at set/b\.jpg \(Bad CRC-32.*\); remove it"):
        run(archive, folder)
    assert files(folder) == {"set/a.jpg": CONTENT["set/a.jpg"]}


@pytest.mark.parametrize("content", [b"", b"<html>no such file</html>", "cut"])
def test_a_file_that_is_no_archive(archive: Path, folder: Path, content: bytes | str) -> None:
    archive.write_bytes(archive.read_bytes()[:5000] if isinstance(content, str) else content)
    with pytest.raises(DownloadError, match=r"is damaged .*not a zip file.*; remove it and run this again"):
        run(archive, folder)
    assert not folder.exists()


def test_another_archive(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DownloadError, match="holds nothing of the name"):
        run(write_zip(tmp_path / "set.zip", {"other/a.jpg": b"x"}), folder)


EVIL = ["../evil.jpg", "set/../../evil.jpg", "/evil.jpg", "..\\evil.jpg", "C:evil.jpg", "set/e\nvil.jpg", "set/a\0.jpg"]


@pytest.mark.parametrize("name", EVIL)
def test_a_name_that_leaves_the_folder(tmp_path: Path, folder: Path, name: str) -> None:
    archive, info = tmp_path / "set.zip", zipfile.ZipInfo("evil")
    info.filename = name  # past what the constructor would mend
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("set/a.jpg", CONTENT["set/a.jpg"])
        file.writestr(info, b"evil")
    with pytest.raises(DownloadError, match="could leave the folder; it is not an archive to be trusted, remove it"):
        run(archive, folder)
    assert not folder.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files(tmp_path: Path, folder: Path, kind: int) -> None:
    info = zipfile.ZipInfo("set/a.jpg")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(DownloadError, match=r"'set/a\.jpg', which is a link or a special file"):
        run(tmp_path / "set.zip", folder)
    assert not folder.exists()


def test_an_encrypted_member_and_a_rare_method(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("set/a.jpg", b"x")
        file.infolist()[0].flag_bits |= 1
    with pytest.raises(DownloadError, match="encrypted or packed in an unusual way"):
        run(tmp_path / "set.zip", folder)
    with pytest.raises(DownloadError, match="encrypted or packed in an unusual way"):
        run(write_zip(tmp_path / "set.zip", method=zipfile.ZIP_BZIP2), folder)


@pytest.mark.parametrize("limits", [Limits(member=2999, total=10_000), Limits(member=3000, total=8999)])
def test_more_than_expected(archive: Path, folder: Path, limits: Limits) -> None:
    run(archive, folder, Limits(member=3000, total=9000))
    with pytest.raises(DownloadError, match="would unpack to 9000 bytes, its largest file to 3000, expected at most"):
        run(archive, folder / "other", limits)
    assert not (folder / "other").exists()


def test_a_bomb_that_lies_about_its_size(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("set/a.jpg", bytes(50_000_000))
        file.infolist()[0].file_size = 1000
    assert (tmp_path / "set.zip").stat().st_size < 100_000
    with pytest.raises(DownloadError, match=r"is damaged at set/a\.jpg"):
        run(tmp_path / "set.zip", folder)
    assert files(folder) == {}


def test_a_member_that_is_shorter_than_it_says(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("set/a.jpg", b"short")
        file.infolist()[0].file_size = 6
    with pytest.raises(DownloadError, match=r"is damaged at set/a\.jpg"):
        run(tmp_path / "set.zip", folder)
    assert files(folder) == {}


def test_one_name_twice(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DownloadError, match=r"holds 'set/a\.jpg' 2 times"):
        run(write_zip(tmp_path / "set.zip", {"set/a.jpg": b"one", "set/A.jpg": b"two"}), folder)


def test_no_room(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("set/a.jpg", b"x")
        file.infolist()[0].file_size = 10**17
    with pytest.raises(DownloadError, match=r"needs another 100000000\.0 GB, but only .* GB are free there; make room"):
        run(tmp_path / "set.zip", folder, Limits(member=10**18, total=10**18))
    assert not folder.exists()


@pytest.mark.parametrize("content", [b"", b"other", b"\0" * 3000, b"\0" * 5000])
def test_another_file_there_is_not_replaced(archive: Path, folder: Path, content: bytes) -> None:
    (folder / "set").mkdir(parents=True)
    (folder / "set/b.jpg").write_bytes(content)
    with pytest.raises(DownloadError, match=r"b\.jpg' is there but is not the file of that name in '.*'; remove it"):
        run(archive, folder)
    assert files(folder) == {"set/a.jpg": CONTENT["set/a.jpg"], "set/b.jpg": content}


def test_a_folder_that_cannot_be_written(archive: Path, folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(DownloadError, match=r"set/a\.jpg' could not be written \(Not a directory\)"):
        run(archive, folder)
    folder.unlink()
    (folder / "set/b.jpg").mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"b\.jpg' is there but cannot be read \(Is a directory\)"):
        run(archive, folder)


def test_damage_anywhere_is_one_sentence_or_harmless(tmp_path: Path) -> None:
    good, rng = write_zip(tmp_path / "good.zip", method=zipfile.ZIP_DEFLATED).read_bytes(), random.Random(0)
    messages = []
    for number in range(150):
        data = bytearray(good)
        if number % 3 == 0:
            del data[rng.randrange(len(data)) :]
        else:  # mostly in the directory at the end
            start = 0 if number % 3 == 1 else data.index(b"PK\x01\x02")
            for _ in range(rng.randint(1, 4)):
                data[rng.randrange(start, len(data))] = rng.randrange(256)
        (tmp_path / "bad.zip").write_bytes(data)
        folder = tmp_path / str(number)
        try:
            run(tmp_path / "bad.zip", folder)
        except DownloadError as error:
            messages.append(str(error))
        assert files(folder).items() <= CONTENT.items()
    assert len(messages) > 75
    assert not any("\n" in message for message in messages)
    assert {path.name for path in tmp_path.iterdir()} <= {"good.zip", "bad.zip", *map(str, range(150))}


def test_sizes_by_hand(tmp_path: Path) -> None:
    assert [gigabytes(size) for size in (0, 1_500_000, 49_900_000, 50_000_000, 39_140_000_000)] == [
        "0.0 MB", "1.5 MB", "49.9 MB", "0.1 GB", "39.1 GB",
    ]  # fmt: skip
    assert free_bytes(tmp_path / "not" / "there" / "yet") > 0
