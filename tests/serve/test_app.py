"""The real server on loopback, asked by sockets and by http.client."""

import base64
import concurrent.futures
import contextlib
import http.client
import json
import socket
import threading
import time
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

for package in ("starlette", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed (pip install starlette uvicorn)")

from yolact.serve.answers import LOW_SCORE  # noqa: E402
from yolact.serve.uploads import Limits  # noqa: E402


def ask(url, path="/api/instances", body=None, method=None, **headers):
    """Return (status, headers, content) of one request."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    is_json = response.headers["content-type"] == "application/json"
    return response.status, response.headers, json.loads(content) if is_json else content


@pytest.fixture(scope="module")
def picture_file(sample_data):
    return (sample_data / "pictures" / "picture 0.png").read_bytes()


def test_instances_are_those_of_the_predictor(url, predictor, sample_data, picture_file):
    found = predictor(sample_data / "pictures" / "picture 0.png", LOW_SCORE)
    status, _, answer = ask(url, body=picture_file)
    assert status == 200
    assert [entry["record"] for entry in answer["instances"]] == found.to_coco(1)
    names = [predictor.class_names[label] for label in found.labels]
    assert [entry["category_name"] for entry in answer["instances"]] == names
    assert len({entry["colour"] for entry in answer["instances"]}) == len(set(names)) == 2
    assert (answer["height"], answer["width"]) == found.image_size == (72, 64)
    assert set(answer["milliseconds"]) == {"decode", "model", "describe"}
    assert "picture" not in answer


def test_a_threshold_in_the_page_gives_what_the_predictor_gives_at_it(predictor, sample_data):
    picture = sample_data / "pictures" / "picture 1.png"
    low, high = predictor(picture, LOW_SCORE), predictor(picture, 0.9)
    assert 0 < len(high) < len(low)
    assert low[low.scores > 0.9].to_coco(1) == high.to_coco(1)


def test_the_picture_comes_back_where_it_is_asked_for(url, picture_file):
    answer = ask(url, "/api/instances?picture", picture_file)[2]
    kind, content = answer["picture"].split(",")
    assert kind == "data:image/png;base64"
    sent = cv2.imdecode(np.frombuffer(picture_file, np.uint8), cv2.IMREAD_COLOR)
    back = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(back, sent)


def test_the_model_is_described(url, predictor):
    assert ask(url, "/api/model")[2] == {
        "name": "sample",
        "weights": "sample.pth",  # no folders
        "classes": ["disc", "square"],
        "device": "cpu",
        "low_score": LOW_SCORE,
        "max_bytes": 20_000_000,
        "max_pixels": 40_000_000,
    }


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/icon.svg", "/api/model", "/nothing"])
def test_every_answer_forbids_other_hosts(url, path):
    _, headers, content = ask(url, path)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; img-src 'self' blob: data:;")
    assert "http" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "server" not in headers
    assert content


def test_the_page_names_no_other_host(url):
    for path in ("/", "/page.js", "/page.css", "/sources.js", "/view.js", "/draw.js", "/save.js", "/camera.js"):
        content = ask(url, path)[2].decode()
        assert "://" not in content.replace("http://www.w3.org/2000/svg", "")
        assert "@import" not in content


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/static/page.js",
        "/../app.py",
        "/..%2fapp.py",
        "/%2e%2e/%2e%2e/setup.py",
        "/etc/passwd",
        "/page.js%00",
    ],
)
def test_other_paths_lead_nowhere(url, path):
    status, _, content = ask(url, path)
    assert (status, content) == (404, {"error": "There is nothing at this address."})


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/instances"), ("PUT", "/api/instances"), ("POST", "/")])
def test_other_methods_are_refused(url, method, path):
    assert ask(url, path, method=method)[0] == 405


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost@x", "", "["]
)
def test_a_foreign_name_is_refused(url, host):
    status, _, content = ask(url, "/", Host=host)
    assert status == 403
    assert "localhost" in content["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:1", "[::1]:8000"])
def test_names_of_this_machine_are_allowed_with_any_port(url, host):
    assert ask(url, "/", Host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_a_page_of_another_site_is_refused(url, picture_file, origin):
    status, _, content = ask(url, body=picture_file, Origin=origin)
    assert status == 403
    assert "another site" in content["error"]


def test_the_page_itself_is_allowed(url, picture_file):
    assert ask(url, body=picture_file, Origin=url)[0] == 200


def test_an_empty_upload_is_refused(url):
    status, _, content = ask(url, body=b"")
    assert (status, content["error"][:20]) == (400, "The upload is empty ")


def test_a_large_upload_is_refused_although_its_sender_goes_on(start_server):
    url = start_server(Limits(max_bytes=1_000_000))
    for body in (b"x" * 3_900_000, (b"x" * 100_000 for _ in range(39))):  # with a length, and in chunks
        status, _, content = ask(url, body=body)
        assert status == 413
        assert "limit of 1 MB" in content["error"]


def test_an_endless_upload_is_cut_off(start_server):
    url = start_server(Limits(max_bytes=100_000))
    with socket.create_connection(tuple(urlsplit(url).netloc.split(":")), timeout=20) as connection:
        head = "POST /api/instances HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        sent = 0
        with contextlib.suppress(OSError):  # as soon as the other side has closed
            while sent < 300_000_000:
                connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
                sent += 65536
        assert sent < 50_000_000  # the buffers of both sides, and 400 kB


def test_a_slow_upload_is_ended(start_server):
    url = start_server(Limits(upload_seconds=0.3))
    with socket.create_connection(tuple(urlsplit(url).netloc.split(":")), timeout=20) as connection:
        connection.sendall(b"POST /api/instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nabc")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"within 0.3 seconds" in answer


def test_a_connection_that_says_nothing_is_closed(start_server, monkeypatch):
    monkeypatch.setattr("yolact.serve.server.HEADER_SECONDS", 0.2)
    with socket.create_connection(tuple(urlsplit(start_server()).netloc.split(":")), timeout=20) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert connection.recv(100) == b""


class Slow:
    """A predictor that waits until it is told to go on, and counts how many use it at once."""

    def __init__(self, predictor):
        self.predictor = predictor
        self.go_on = threading.Event()
        self.now = self.most = self.calls = 0

    def __getattr__(self, name):
        return getattr(self.predictor, name)

    def __call__(self, *arguments):
        self.now += 1
        self.calls += 1
        self.most = max(self.most, self.now)
        self.go_on.wait(20)
        found = self.predictor(*arguments)
        self.now -= 1
        return found


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_request_at_a_time_uses_the_model_and_few_may_wait(start_server, predictor, picture_file):
    slow = Slow(predictor)
    url = start_server(Limits(max_requests=3), slow)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask, url, body=picture_file) for _ in range(8)]
        refused = []
        wait_for(lambda: refused.extend(a for a in answers if a.done() and a not in refused) or len(refused) == 5)
        assert ask(url, body=bytes(15_000_000))[0] == 503  # which a sender of much hears as well
        assert ask(url, "/api/model")[0] == 200  # meanwhile the page answers
        slow.go_on.set()
        results = [answer.result() for answer in answers]
    assert sorted(status for status, _, _ in results) == [200] * 3 + [503] * 5
    _, headers, content = refused[0].result()
    assert headers["Retry-After"] == "1"
    assert "busy with 3 requests" in content["error"]
    assert slow.most == 1


def test_a_request_whose_sender_has_gone_is_not_computed(start_server, predictor, picture_file):
    slow = Slow(predictor)
    url = start_server(Limits(max_requests=3), slow)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, url, body=picture_file)
        wait_for(lambda: slow.calls == 1)
        with socket.create_connection(tuple(urlsplit(url).netloc.split(":")), timeout=20) as connection:
            head = f"POST /api/instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(picture_file)}\r\n\r\n"
            connection.sendall(head.encode() + picture_file)
            time.sleep(0.2)  # until it waits
        slow.go_on.set()
        assert first.result()[0] == 200
    assert ask(url, body=picture_file)[0] == 200
    assert slow.calls == 2


class Broken(Slow):
    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == 1:
            raise RuntimeError("out of memory")
        return self.predictor(*arguments)


def test_a_failure_of_the_model_is_answered_and_the_next_picture_does_well(
    start_server, predictor, picture_file, caplog
):
    url = start_server(predictor=Broken(predictor))
    status, headers, content = ask(url, body=picture_file)
    assert status == 500
    assert content == {"error": "The server failed on this request (RuntimeError); its log says where."}
    assert "Content-Security-Policy" in headers
    assert "out of memory" in caplog.text
    assert ask(url, body=picture_file)[0] == 200
