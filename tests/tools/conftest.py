"""A web server on loopback, which also answers as the Hugging Face Hub does."""

import hashlib
import http.server
import threading
from collections.abc import Iterator

import pytest


class WebServer(http.server.ThreadingHTTPServer):
    """Serves files, and fails as a test tells it. Paths are without the Hub's "resolve/main/"."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, bytes] = {}  # by path
        self.sha256: dict[str, str] = {}  # that it tells instead of the right one, by path
        self.redirects: dict[str, str] = {}  # path -> address
        self.cuts: list[int] = []  # numbers of bytes after which the next answers break off
        self.log: list[tuple[str, str, str | None, bool]] = []  # method, path, range, and whether there was a token


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WebServer

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        content = self._answer()
        self.wfile.write(content[: self.server.cuts.pop(0)] if self.server.cuts else content)

    def _answer(self) -> bytes:
        """Send the headers and return the bytes that were asked for."""
        path, wanted = self.path.replace("/resolve/main/", "/").strip("/"), self.headers["Range"]
        self.server.log.append((self.command, path, wanted, "Authorization" in self.headers))
        content, first = self.server.files.get(path), int(wanted[6:].split("-")[0]) if wanted else 0
        headers = {"Content-Length": "0", "Location": self.server.redirects.get(path, "")}
        if content is not None:
            sha256 = self.server.sha256.get(path, hashlib.sha256(content).hexdigest())
            headers = {"Content-Length": str(len(content) - first), "ETag": f'"{sha256}"', "X-Repo-Commit": "0" * 40}
        self.send_response((206 if wanted else 200) if content is not None else 302 if headers["Location"] else 404)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        return (content or b"")[first:]

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """Return a running server, which HF_ENDPOINT names and no proxy of the surroundings leads to."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with WebServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url + "/")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
