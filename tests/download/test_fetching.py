"""Downloads from a server that breaks off, falls silent, sends wrong bytes, or answers with errors."""

import hashlib
import logging
import socket

import pytest

from yolact.download import fetch, fetching, web
from yolact.errors import DownloadError


def ranges(server):
    return [asked for _, asked, _ in server.log]


def test_a_file_comes_whole_and_nothing_else_is_left(get, known, server):
    get(**known)
    assert ranges(server) == [None]


def test_an_empty_file_is_a_file(get, server, path):
    server.files["/big.bin"] = b""
    get()
    assert path.exists()


def test_a_connection_that_breaks_off_is_resumed(get, known, server, caplog):
    server.faults = [("cut", 100_000), ("cut", 50_000), ("status", 503)]
    get(**known)
    assert ranges(server) == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert "the connection broke off; trying again" in caplog.text


def test_a_connection_that_falls_silent_is_resumed_and_the_bar_goes_on(server, path, monkeypatch, capsys):
    monkeypatch.setattr(web, "TIMEOUT", 0.7)  # seconds; longer than the bar waits with its first line
    server.faults = [("stall", 100_000)]
    fetch(f"{server.url}/big.bin", path)
    assert ranges(server)[:2] == [None, "bytes=100000-"]
    error = capsys.readouterr().err
    assert "big.bin: 100%" in error
    assert "300k/300k" in error


def test_what_an_earlier_run_left_is_continued(get, refused, known, server, path, content):
    server.faults = [("cut", 20_000)] * fetching.TRIES
    text = refused(r"broke off.*check the network", **known)
    assert text.endswith(f"; 0.1 MB are kept in '{path}.part', and the next run goes on from there.")
    assert path.with_name("big.bin.part").read_bytes() == content[:100_000]
    server.log.clear()
    get(**known)
    assert ranges(server) == ["bytes=100000-"]


def test_a_server_that_never_gets_on_is_given_up(refused, server, content):
    server.ranges = False
    server.files["/big.bin"] = content * 10
    server.faults = [("cut", 1_500_000)] * 100  # over a megabyte each time, yet never more than the time before
    refused("broke off")
    assert len(server.log) == fetching.TRIES


def test_a_megabyte_each_time_is_getting_on(get, server, content):
    server.files["/big.bin"] = content * 25
    server.faults = [("cut", 1_100_000)] * 6
    get()
    assert len(server.log) == 7


def test_a_server_that_knows_no_ranges_sends_everything_anew(get, known, server):
    server.ranges = False
    server.faults = [("cut", 100_000)]
    get(**known)
    assert ranges(server) == [None, "bytes=100000-"]


@pytest.mark.parametrize("checks_version", [True, False])
@pytest.mark.parametrize("version", ["ETag", "Last-Modified"])
def test_two_versions_of_a_file_are_not_joined(get, refused, server, other, version, checks_version):
    """Nothing is known of the file; where the server ignores If-Range, its answer still tells the version."""
    server.version, server.checks_version = version, checks_version
    server.faults = [("cut", 20_000)] * fetching.TRIES
    refused("broke off")
    server.files["/big.bin"] = other
    get()


def test_the_date_of_a_file_tells_its_version_too(get, server):
    server.version = "Last-Modified"
    server.faults = [("cut", 100_000)]
    get()
    assert ranges(server) == [None, "bytes=100000-"]


def test_with_a_hash_a_part_of_another_version_costs_one_more_download(get, verified, part, server, other, caplog):
    part(other[:100_000])
    get(**verified)
    assert ranges(server) == ["bytes=100000-", None]
    assert "starting anew" in caplog.text


def test_a_part_of_full_length_may_still_be_of_another_version(get, verified, part, server, path, content, other):
    left = part(other)
    get(**verified)  # the hash tells, without the server
    path.rename(left)
    left.with_name("big.bin.part.tag").write_text(f'{server.url}/big.bin\n"{hashlib.sha256(content).hexdigest()}"')
    server.files["/big.bin"] = other
    get(size=len(content))
    assert ranges(server) == [None, "bytes=300000-"]


def test_with_a_hash_the_version_at_the_server_does_not_matter(get, verified, part, server, content):
    """The same bytes have another ETag at each mirror."""
    part(content[:100_000])
    server.version = "Last-Modified"
    get(**verified)
    assert server.log == [("/big.bin", "bytes=100000-", None)]


@pytest.mark.parametrize("version", ["", "weak"])
def test_without_version_and_hash_nothing_is_continued(get, refused, server, path, version):
    server.version = version
    server.faults = [("cut", 20_000)] * fetching.TRIES
    assert "kept" not in refused("broke off")
    assert not path.parent.exists()
    get()
    assert ranges(server) == [None] * (fetching.TRIES + 1)


def test_a_part_that_lacks_only_its_name_is_verified(get, known, part, server, content):
    part(content)
    get(**known)
    assert ranges(server) == ([] if known else ["bytes=300000-"])


def test_a_part_that_is_too_long_is_dropped(get, known, part, server, content):
    part(content + b"more")
    get(**known)
    assert ranges(server) == ([None] if known else ["bytes=300004-", None])


def test_wrong_bytes_are_refused_and_removed(refused, verified, server, path, other):
    server.files["/big.bin"] = other
    text = refused("other bytes than expected", **verified)
    assert f"SHA-256 {hashlib.sha256(other).hexdigest()} instead of {verified['sha256']}" in text
    assert len(server.log) == 1
    assert not path.parent.exists()


def test_wrong_bytes_in_two_pieces_are_refused_after_one_more_try(refused, verified, server, other):
    server.files["/big.bin"] = other
    server.faults = [("cut", 100_000)]
    refused("other bytes than expected", **verified)
    assert ranges(server) == [None, "bytes=100000-", None]


def test_another_length_is_refused_before_the_part_is_touched(refused, verified, part, server, content):
    """Such as the page of a network that wants a login."""
    left = part(content[:100_000])
    server.files["/big.bin"], server.ranges = b"<html>log in</html>", False
    assert "0.1 MB are kept" in refused("has 19 bytes instead of 300000", **verified)
    assert left.read_bytes() == content[:100_000]


def test_a_length_that_the_server_does_not_tell(get, refused, verified, server, path, content):
    server.lengths = False
    refused("does not say how long it is")
    get(sha256=verified["sha256"])
    path.unlink()
    server.faults = [("cut", 100_000)]
    get(size=len(content))
    path.unlink()
    server.files["/big.bin"] += b"endless"
    refused("instead of 300000", size=len(content))


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_an_answer_that_will_not_change_is_reported_at_once(refused, server, path, code):
    server.faults = [("status", code)]
    refused(rf"/big\.bin could not be fetched \({code} \w+.*\); check the address\.")
    assert len(server.log) == 1
    assert not path.parent.exists()


def test_a_server_that_stays_busy_is_given_up(refused, server):
    server.faults = [("status", 503)] * 100
    refused(r"503 Service Unavailable.*run this again")
    assert len(server.log) == fetching.TRIES


def test_no_network_is_one_sentence_at_once(path, caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        closed = taken.getsockname()[1]
    with pytest.raises(DownloadError, match=r"\(Connection refused\); check the network and run this again\.$"):
        fetch(f"http://127.0.0.1:{closed}/big.bin", path)
    assert "trying again" not in caplog.text
    assert not path.parent.exists()


def test_the_right_file_is_kept_without_the_network(get, verified, server, caplog):
    get()
    server.log.clear()
    caplog.set_level(logging.INFO)
    for known in (verified, {}, {"sha256": verified["sha256"].upper()}):
        get(**known)
    assert server.log == []
    assert "is there already, SHA-256 is right" in caplog.text


@pytest.mark.parametrize(
    ("known", "message"), [({"size": 5}, "300000 bytes instead of 5"), ({"sha256": "0" * 64}, "instead of 0000")]
)
def test_another_file_of_that_name_is_never_overwritten(get, path, content, known, message):
    get()
    with pytest.raises(DownloadError, match=rf"{message}.*remove it"):
        get(**known)
    assert path.read_bytes() == content


def test_a_folder_of_that_name_is_refused(server, path):
    path.mkdir(parents=True)
    with pytest.raises(DownloadError, match="is there but cannot be read"):
        fetch(f"{server.url}/big.bin", path)


def test_a_file_that_cannot_fit_is_refused_before_it_comes(refused, server, path):
    server.claims = 10**18
    refused(r"needs another 10+\.0 MB, but only .* are free")
    assert not path.parent.exists()
