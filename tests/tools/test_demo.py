"""The page's server as a program of its own, in an empty folder that is also its folder for temporary files."""

import io
import json
import os
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE, Popen

import cv2
import numpy as np
import pytest
from PIL import Image

import yolact
from yolact.cli import run
from yolact.errors import CheckpointError, UserError

gradio_client = pytest.importorskip("gradio_client", reason="an optional extra: pip install gradio")
ROOT = Path(__file__).resolve().parents[2]


def encode(kind: str, width: int = 300, height: int = 200, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, kind, **options)
    return file.getvalue()


def resized(width: int, height: int) -> bytes:
    """A PNG file whose header says this size."""
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + encode("PNG")[24:29]
    return encode("PNG")[:12] + header + zlib.crc32(header).to_bytes(4, "big") + encode("PNG")[33:]


HOSTILE = {
    "empty.png": b"",
    "script.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "entity.svg": b"<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg>&a;</svg>",
    "page.html": b"<!DOCTYPE html><script>alert(1)</script>",
    "document.pdf": b"%PDF-1.7\n1 0 obj\n",
    "program": b"\x7fELF\x02\x01\x01" + bytes(100),
    "bomb.zip": b"PK\x03\x04" + bytes(1000),
    "random.jpg": np.random.default_rng(0).bytes(100_000),
    "jpeg2000.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100),
    "openexr.exr": b"\x76\x2f\x31\x01" + bytes(100),
    "cut.png": encode("PNG")[:-20],
    "cut.jpg": encode("JPEG")[:-200],
    "cut.webp": encode("WEBP")[:-10],
    "60 megapixels.png": resized(10_000, 6_000),
    "1000 megapixels.png": resized(50_000, 20_000),
    "chunk of 4 GB.png": encode("PNG")[:33] + b"\xff\xff\xff\xf0tEXt" + encode("PNG")[33:],
    "4000 megapixels.jpg": encode("JPEG", 60, 50).replace(b"\x08\0\x32\0\x3c", b"\x08\xff\xff\xff\xff"),
    "4000 megapixels.gif": b"GIF89a\xff\xff\xff\xff" + encode("GIF")[10:],
    "4e18 pixels.bmp": encode("BMP")[:18] + b"\xff\xff\xff\x7f" * 2 + encode("BMP")[26:],
    "directory outside.tif": b"II*\0\xf0\xff\xff\xff" + bytes(100),
    "\N{BLACK STAR} ..%2f..%2fetc%2fpasswd": encode("PNG")[:50],
}


@pytest.fixture(scope="module")
def demo(sample_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Popen[str], Path, str]]:
    """The running program; it refuses more than 3 MB, and 40 megapixels."""
    folder = tmp_path_factory.mktemp("demo")
    process = Popen(
        [sys.executable, "-m", "tests.configurations", "demo", "--weights", str(sample_checkpoint), "--device", "cpu",
         "--port", "0", "--max-megabytes", "3"],
        stdout=PIPE, stderr=PIPE, text=True, cwd=folder,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT), "http_proxy": "http://127.0.0.1:9"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+/) in a browser; Ctrl-C ends\.\n", said)
    assert found, (said, process.communicate(timeout=10))
    yield process, folder, found[1]
    process.kill()
    process.wait()


def ask(url: str, body: bytes | None = None, kind: str = "text/plain", **headers: str) -> str:
    request = urllib.request.Request(url, body, {"Content-Type": kind, **headers})
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: str = answer.read().decode()
    return content


@pytest.mark.skipif(os.name == "nt", reason="Windows has another Ctrl-C")
def test_hostile_uploads_are_refused_and_a_good_one_is_answered_as_by_the_predictor(
    demo: tuple[Popen[str], Path, str], sample_checkpoint: Path, sample_data: Path, tmp_path: Path
) -> None:
    process, folder, url = demo
    client = gradio_client.Client(url, verbose=False, download_files=tmp_path / "answers")
    for name, content in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Exception, match=r"try another file|megapixels") as refusal:
            client.predict(gradio_client.handle_file(tmp_path / name), api_name="/find")
        assert "passwd" not in str(refusal.value), name
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="../../a.png"\r\n\r\n'
    with pytest.raises(urllib.error.HTTPError, match="413"):
        ask(f"{url}gradio_api/upload", head + bytes(3_000_001) + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")
    with pytest.raises(urllib.error.HTTPError, match="405") as refusal:
        ask(url, head + encode("JPEG") + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")
    assert b"by gradio_client, as `yolact demo --help` shows" in refusal.value.read()
    good = sample_data / "pictures" / "picture 0.png"
    call = json.dumps({"data": [{"path": str(good), "meta": {"_type": "gradio.FileData"}}]}).encode()
    event = json.loads(ask(f"{url}gradio_api/call/find", call, "application/json"))["event_id"]
    assert "event: error" in ask(f"{url}gradio_api/call/find/{event}")  # an image that was not uploaded
    client.predict(gradio_client.handle_file(good), api_name="/find")
    drawn, text, records = client.predict(0.9, [0], ["masks"], api_name="/show")
    found = yolact.load(sample_checkpoint)(good, 0.9).filter("disc")
    assert text == repr(found)
    assert records == [{**record, "category_name": "disc"} for record in found.to_coco(1)]
    np.testing.assert_array_equal(cv2.imread(drawn), found.plot(boxes=False, labels=False, scale=8))
    for half_typed, as_if in ((0, 0.05), (None, 0.05), (7, 1.0)):
        answers = [client.predict(value, [], [], api_name="/show")[2] for value in (half_typed, as_if)]
        assert answers[0] == answers[1]
    # Names of other sites that mean this machine are refused, and the page names nothing of another host.
    with pytest.raises(urllib.error.HTTPError, match="400"):
        ask(url, Host="evil.example")
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']?(?:https?:)?//[^\"' >]+", ask(url)) == []
    # Nothing was written outside of the temporary folder, which Ctrl-C takes away.
    written = {path.name for path in folder.iterdir()} - {f"torchinductor_{os.environ.get('USER', 'root')}"}
    assert all(name.startswith("yolact-demo-") for name in written)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not [path for path in folder.iterdir() if path.name.startswith("yolact-demo-")]


def test_mistakes_are_one_sentence(
    sample_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def demo(*arguments: str, weights: Path = sample_checkpoint) -> None:
        run(["demo", "--weights", str(weights), "--device", "cpu", "--port", "0", *arguments])

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        with pytest.raises(UserError, match=rf"Cannot listen on 127.0.0.1, port {port} \(Address already in use\); "):
            demo("--port", port)
    with pytest.raises(UserError, match=r"Cannot listen on no\.such\.host\.invalid, port 0"):
        demo("--host", "no.such.host.invalid")
    with pytest.raises(CheckpointError, match=r"absent\.pth"):
        demo(weights=tmp_path / "absent.pth")
    for option, value in (("--port", "70000"), ("--max-megapixels", "0"), ("--max-megapixels", "101")):
        with pytest.raises(SystemExit, match="2"):
            demo(option, value)
        assert f"argument {option}: invalid" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "yolact.tools.demo", raising=False)
    with pytest.raises(UserError, match=r"^The page needs gradio, which is missing; run: pip install gradio$"):
        demo()
