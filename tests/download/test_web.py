"""Addresses, redirections and small documents."""

import pytest

from yolact.download import fetch, fetch_json
from yolact.download.web import content_range
from yolact.errors import DownloadError


def test_a_redirection_is_followed_with_the_range(server, path, content):
    server.redirects["/from"] = f"{server.url}/big.bin"
    server.faults = [("cut", 100_000)]
    fetch(f"{server.url}/from", path, progress=False)
    assert path.read_bytes() == content
    assert [request[:2] for request in server.log[2:]] == [("/from", "bytes=100000-"), ("/big.bin", "bytes=100000-")]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("file:///etc/hosts", "could not be fetched"),
        ("ftp://127.0.0.1/x", r"could not be fetched \(unknown url type: ftp\)"),
        ("data:,x", "could not be fetched"),
        ("http://[", "is no address"),
        ("/from", "could not be fetched"),
    ],
)
def test_a_redirection_out_of_the_web_is_refused(server, path, target, message):
    server.redirects["/from"] = target
    with pytest.raises(DownloadError, match=rf"/from {message}"):
        fetch(f"{server.url}/from", path, progress=False)
    assert not path.parent.exists()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hosts",
        "ftp://host/x",
        "host/x",
        "",
        "http://",
        "http://h:x/",
        "http://a b/",
        "http://[",
        "http://ä/",
    ],
)
def test_only_addresses_of_the_web_are_taken(url, path):
    with pytest.raises(DownloadError, match="http:// or https://"):
        fetch(url, path)
    with pytest.raises(DownloadError, match="http:// or https://"):
        fetch_json(url)
    assert not path.parent.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 5-9/10", (5, 10)),
        ("bytes 0-9/*", (0, None)),
        ("bytes */10", (None, 10)),
        ("items 5-9/10", (None, None)),
        (None, (None, None)),
    ],
)
def test_content_range(text, expected):
    assert content_range({"Content-Range": text}) == expected


def test_a_json_document(server):
    server.files["/list"] = b'[{"a": 1}]'
    assert fetch_json(f"{server.url}/list", limit=10) == [{"a": 1}]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"<html>", "did not answer with JSON"), (b"\xff", "JSON"), (b"[" * 100_000, "JSON"), (b"1" * 2**20, "longer")],
)
def test_what_is_no_small_json_document_is_refused(server, content, message):
    server.files["/list"] = content
    with pytest.raises(DownloadError, match=message):
        fetch_json(f"{server.url}/list")


def test_a_json_document_that_is_not_there(server):
    with pytest.raises(DownloadError, match=r"/list could not be fetched \(404 Not Found\); check the address\."):
        fetch_json(f"{server.url}/list")
