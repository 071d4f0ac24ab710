"""The part of a download: disks that are full or refuse, and two processes at once."""

import fcntl
import resource
import signal

import pytest

from yolact.download import fetch, fetching
from yolact.download.part import _require_alone
from yolact.errors import DownloadError


@pytest.mark.parametrize("folder", ["file/below", "file"])
def test_a_folder_that_cannot_be_made_is_one_sentence(server, tmp_path, folder):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(DownloadError, match=r"cannot be written \(.+\); choose another folder"):
        fetch(f"{server.url}/big.bin", tmp_path / folder / "big.bin")
    assert (tmp_path / "file").read_text() == "keep"
    assert server.log == []


def test_a_full_disk_keeps_what_fitted(get, refused, verified, server):
    """A limit on the size of files stands for the end of the disk."""
    limits, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        text = refused(r"could not be written \(File too large\); make room", **verified)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, action)
    assert "0.1 MB are kept" in text
    get(**verified)
    assert [asked for _, asked, _ in server.log] == [None, "bytes=100000-"]


def test_two_processes_do_not_write_one_part(get, refused, part, content):
    left = part(content[:1000])
    with left.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused("Another process is just downloading")
    assert left.read_bytes() == content[:1000]
    get()


def test_a_part_that_another_process_has_just_renamed_is_not_written(path, part, content):
    left = part(content)
    with left.open("ab") as file:
        left.rename(path)
        with pytest.raises(DownloadError, match="Another process"):
            _require_alone(file, left)


def test_a_part_from_another_address_is_not_continued_without_hash(get, server, path, content):
    server.files["/mirror.bin"] = content
    server.faults = [("cut", 20_000)] * fetching.TRIES
    with pytest.raises(DownloadError, match="broke off"):
        fetch(f"{server.url}/mirror.bin", path, progress=False)
    get()
    assert server.log[-1] == ("/big.bin", None, None)


def test_a_damaged_note_of_the_version_makes_the_part_worthless_but_harmless(get, part, server, content):
    left = part(content[:1000])
    left.with_name("big.bin.part.tag").write_bytes(b"\xff")
    get()
    assert server.log == [("/big.bin", None, None)]
