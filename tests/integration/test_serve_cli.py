"""The page's server as a program of its own: hostile uploads, Ctrl-C, and mistakes on the command line."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from yolact.errors import CheckpointError, UserError

for package in ("starlette", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed (pip install starlette uvicorn)")

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "serve.py"


@pytest.fixture(scope="module")
def command(load_script):
    return load_script("serve")


class Served:
    """The program, running in an empty folder, which is also its folder for temporary files."""

    def __init__(self, folder: Path, weights: Path, *arguments: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--weights", str(weights), "--device", "cpu", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(SCRIPT.parents[1])},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.said = self.process.stdout.readline()
        found = re.fullmatch(r"Open http://(.+):(\d+) in a browser; Ctrl-C ends\.\n", self.said)
        assert found, (self.said, self.process.stderr.read())
        self.host, self.port = found[1], int(found[2])

    def ask(self, body: bytes | None, path: str = "/api/instances", **headers: str) -> tuple[int, dict]:
        """Return status and content of a POST (of a GET where there is no body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("GET" if body is None else "POST", path, body, named)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def say(self, data: bytes) -> bytes:
        """Send bytes that need not be HTTP, and return what comes back until the other side closes."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        with connection, contextlib.suppress(OSError):  # the server may have heard enough before everything was sent
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        return b""

    def megabytes(self, kind: str) -> float:
        """Return the memory of the process now ("VmRSS") or at its most ("VmHWM"); 0 where the system does not tell."""
        status = Path(f"/proc/{self.process.pid}/status")
        return int(re.search(rf"{kind}:\s+(\d+) kB", status.read_text())[1]) / 1024 if status.exists() else 0

    def interrupt(self) -> tuple[int, str, str]:
        """Press Ctrl-C; return exit code and what else was printed."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def served(sample_checkpoint, tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("served"), sample_checkpoint)
    yield served
    served.process.kill()
    served.process.communicate()


def encode(kind: str, width: int = 60, height: int = 50, mode: str = "RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """One bit a pixel, all black."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x01\0\0\0\0"
    rows = chunk(b"IDAT", zlib.compress(bytes((1 + (width + 7) // 8) * height), 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + rows + chunk(b"IEND", b"")


def tiff(**tags: int) -> bytes:
    numbers = {"width": 256, "height": 257, "tile_width": 322, "tile_height": 323}
    entries = [
        numbers[n].to_bytes(2, "little") + b"\x04\0\x01\0\0\0" + v.to_bytes(4, "little") for n, v in tags.items()
    ]
    return b"II*\0\x08\0\0\0" + len(entries).to_bytes(2, "little") + b"".join(entries) + bytes(4)


def jpeg_of_many_scans() -> bytes:
    data = encode("JPEG", 600, 600, progressive=True)
    return data[:-2] + 3000 * data[data.rindex(b"\xff\xda") : -2] + data[-2:]


def multipart(name: str) -> bytes:
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return head.encode() + encode("PNG") + b"\r\n--x--\r\n"


HOSTILE = {
    "empty": lambda: b"",
    "SVG": lambda: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "SVG with entities": lambda: b"<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg>&a;</svg>",
    "HTML": lambda: b"<!DOCTYPE html><script>alert(1)</script>",
    "PDF": lambda: b"%PDF-1.7\n1 0 obj\n",
    "program": lambda: b"\x7fELF\x02\x01\x01" + bytes(100),
    "ZIP bomb": lambda: b"PK\x03\x04" + bytes(1000),
    "random": lambda: np.random.default_rng(0).bytes(100_000),
    "JPEG 2000, which OpenCV would read": lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "OpenEXR, which OpenCV would read": lambda: b"\x76\x2f\x31\x01" + bytes(100),
    "PNG cut off": lambda: encode("PNG", 300, 200)[:-20],
    "JPEG cut off": lambda: encode("JPEG", 300, 200)[:-200],
    "WebP cut off": lambda: encode("WEBP", 300, 200)[:-10],
    "BMP cut off": lambda: encode("BMP", 300, 200)[:-10],
    "GIF cut off": lambda: encode("GIF", 300, 200)[:-20],
    "TIFF cut off": lambda: encode("TIFF", 300, 200)[:-20],
    "PNG of 60 megapixels": lambda: png(10_000, 6_000),
    "PNG of 1000 megapixels in 120 kB": lambda: png(50_000, 20_000),
    "PNG with a chunk that says 4 GB": lambda: png(60, 50, b"\xff\xff\xff\xf0tEXt"),
    "PNG whose end says 2 GB": lambda: png(60, 50)[:-12] + b"\x7f\xff\xff\xf0IEND" + bytes(4),
    "JPEG of 4000 megapixels": lambda: encode("JPEG").replace(b"\x08\0\x32\0\x3c", b"\x08\xff\xff\xff\xff"),
    "JPEG of 3000 scans": jpeg_of_many_scans,
    "WebP of 268 megapixels": lambda: b"RIFF\xff\0\0\0WEBPVP8L\xf3\0\0\0\x2f\xff\xff\xff\x0f" + bytes(250),
    "GIF of 4000 megapixels": lambda: b"GIF89a\xff\xff\xff\xff" + encode("GIF")[10:],
    "BMP of 4e18 pixels": lambda: encode("BMP")[:18] + b"\xff\xff\xff\x7f" * 2 + encode("BMP")[26:],
    "TIFF of 1.8e19 pixels": lambda: tiff(width=2**32 - 1, height=2**32 - 1),
    "TIFF with a tile of 900 megapixels": lambda: tiff(width=60, height=50, tile_width=30_000, tile_height=30_000),
    "TIFF whose directory is outside": lambda: b"II*\0\xf0\xff\xff\xff" + bytes(100),
    "too many bytes": lambda: bytes(30_000_000),
    "path in the name of a form": lambda: multipart("../../../../etc/passwd"),
    "absolute path in the name of a form": lambda: multipart("/etc/passwd\0.png"),
}


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C and memory are looked at as on Linux and macOS")
def test_hostile_uploads_are_refused_one_after_the_other_and_a_good_one_then_works(served, sample_data):
    good = (sample_data / "pictures" / "picture 0.png").read_bytes()
    status, before = served.ask(good)
    assert status == 200
    memory = served.megabytes("VmRSS")
    for name, make in HOSTILE.items():
        status, answer = served.ask(make())
        assert status in (400, 413, 415, 422), name
        assert list(answer) == ["error"], name
        assert re.fullmatch(r"[A-Z][^\n]{20,250}\.", answer["error"]), name
        assert not re.search(r"Traceback|Error|passwd|/", answer["error"]), name
    assert len(HOSTILE) >= 20
    status, after = served.ask(good)
    assert status == 200
    assert len(after["instances"]) > 10
    assert after["instances"] == before["instances"]
    assert served.megabytes("VmHWM") < memory + 250
    assert list(served.folder.iterdir()) == []  # nothing was written


def test_names_in_the_request_are_not_used(served, sample_data):
    good = (sample_data / "pictures" / "picture 0.png").read_bytes()
    for path in ("/api/instances?name=../../etc/passwd", "/api/instances?picture=/etc/passwd"):
        status, answer = served.ask(good, path, Content_Disposition='attachment; filename="/etc/passwd"')
        assert status == 200
        assert "passwd" not in str(answer)
    assert list(served.folder.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500),  # a greeting of TLS
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"POST /api/instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\nabc",
        b"POST /api/instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nabc",
        b"POST /api/instances HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc",
        b"POST /api/instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nabc",  # and no more
        b"\r\n" * 1000,
    ],
)
def test_what_is_not_http_is_not_answered_as_if_it_were(served, data):
    answer = served.say(data)
    assert answer[:12] in (b"", b"HTTP/1.1 400")
    assert served.ask(None, "/api/model")[0] == 200


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 3000), (20_000, 2)])
def test_pictures_of_odd_shapes_are_no_attack(served, width, height):
    status, answer = served.ask(png(width, height))
    assert status == 200
    assert (answer["width"], answer["height"]) == (width, height)


@pytest.mark.skipif(os.name == "nt", reason="Windows has another Ctrl-C")
def test_another_host_is_warned_of_and_ctrl_c_ends_in_the_middle_of_an_upload(sample_checkpoint, tmp_path):
    served = Served(
        tmp_path, sample_checkpoint, "--host", "0.0.0.0", "--max-megapixels", "0.01", "--max-megabytes", "1"
    )
    assert served.host not in ("0.0.0.0", "127.0.0.1")
    assert served.ask(None, "/api/model", Host="lab-machine:8000")[0] == 200
    assert served.ask(encode("PNG"), Host="lab-machine:8000", Origin="http://lab-machine:8000")[0] == 200
    assert served.ask(encode("PNG"), Origin="http://evil.example")[0] == 403
    status, answer = served.ask(encode("PNG", 101, 100))
    assert (status, "101 x 100 pixels" in answer["error"], "0.01 megapixels" in answer["error"]) == (413, True, True)
    assert "1 MB" in served.ask(bytes(1_000_001))[1]["error"]
    with socket.create_connection(("127.0.0.1", served.port)) as connection:
        connection.sendall(b"POST /api/instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nabc")
        served.ask(None, "/api/model")  # by now the server reads the other request
        code, out, err = served.interrupt()
    assert (code, out) == (130, "")
    warning = "warning: everybody who reaches this machine over the network can use the model and see no password.\n"
    assert err == warning


def test_a_port_in_use_is_a_mistake_of_one_sentence(command, sample_checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"Cannot listen on 127.0.0.1, port {port} \(Address already in use\); give"
        ):
            command.main(["--weights", str(sample_checkpoint), "--device", "cpu", "--port", str(port)])


def test_other_mistakes(command, sample_checkpoint, tmp_path, capsys):
    with pytest.raises(CheckpointError, match=r"absent\.pth"):
        command.main(["--weights", str(tmp_path / "absent.pth"), "--device", "cpu", "--port", "0"])
    with pytest.raises(UserError, match=r"knows no address 'no\.such\.host\.invalid', port 0"):
        command.main(["--weights", str(sample_checkpoint), "--host", "no.such.host.invalid", "--port", "0"])
    for option, value in (("--port", "70000"), ("--max-megapixels", "0"), ("--max-megapixels", "101")):
        with pytest.raises(SystemExit) as caught:
            command.main(["--weights", str(sample_checkpoint), option, value])
        assert caught.value.code == 2
        assert f"argument {option}: invalid" in capsys.readouterr().err


def test_a_missing_package_is_named(command, sample_checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "yolact.serve.server", raising=False)
    with pytest.raises(
        UserError, match=r"^The page needs uvicorn, which is missing; run: pip install starlette uvicorn$"
    ):
        command.main(["--weights", str(sample_checkpoint)])
