"""A server on loopback that answers as the Hugging Face Hub does."""

import hashlib
import http.server
import threading
from collections.abc import Iterator

import pytest


class Hub(http.server.ThreadingHTTPServer):
    """Serves the files of repositories, and fails as a test tells it.

    Attributes:
        url: where it is.
        files: "owner/repository/file" -> content.
        sha256: "owner/repository/file" -> the hash that it tells instead of the right one.
        cuts: numbers of bytes after which the next answers break off.
        log: method, file and range of each request, and whether it held a token.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, bytes] = {}
        self.sha256: dict[str, str] = {}
        self.cuts: list[int] = []
        self.log: list[tuple[str, str, str | None, bool]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        content = self._answer()
        self.wfile.write(content[: self.server.cuts.pop(0)] if self.server.cuts else content)

    def _answer(self) -> bytes:
        name = self.path.replace("/resolve/main/", "/").split("?")[0].strip("/")
        wanted = self.headers["Range"]
        self.server.log.append((self.command, name, wanted, "Authorization" in self.headers))
        content = self.server.files.get(name)
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        sha256 = self.server.sha256.get(name, hashlib.sha256(content).hexdigest())
        first = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{sha256}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - first))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        return content[first:]

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a running server, which HF_ENDPOINT names and no proxy of the surroundings leads to."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
