"""Nothing that comes from a file or the network runs as code, leaves its folder, or takes more than it should.

The first part reads the sources. The second tries attacks: each is refused in one sentence, and the sentinel, a file
that every piece of hostile code would write, is never there. What belongs to one format alone is tested beside it:
tests/data/test_archives.py, test_mat_files.py, test_picture_kinds.py, tests/data/convert/test_hostile.py,
tests/download, tests/serve.
"""

import ast
import hashlib
import io
import json
import os
import pickle
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from yolact.config import load_config
from yolact.data.archives import Limits, unpack
from yolact.data.coco import CocoDataset
from yolact.data.pictures import read_picture
from yolact.download import fetch
from yolact.engine.checkpoint import load_checkpoint
from yolact.errors import CheckpointError, ConfigError, DatasetError, DownloadError, UserError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*ROOT.glob("*.py"), *sorted((ROOT / "scripts").rglob("*.py")), *sorted((ROOT / "yolact").rglob("*.py"))]

# What reads Python objects from bytes; archives and documents of kinds that this project has no use for.
FORBIDDEN_MODULES = {
    "pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "copyreg", "runpy", "code", "tarfile", "xml",
}  # fmt: skip
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "torch.jit.load",
    "shutil.unpack_archive",
    "urllib.request.urlretrieve",
}
FORBIDDEN_METHODS = {"extractall"}
# Calls that run code from a file unless this argument says otherwise.
GUARDED_CALLS = {"torch.load": ("weights_only", True), "load_state_dict_from_url": ("weights_only", True)}
GUARDED_VALUES = {"shell": False, "allow_pickle": False, "weights_only": True}


def faults(source: str) -> Iterator[str]:
    """Yield what in a source could run code that stands in data."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"imports {name}" for name in modules if name.split(".")[0] in FORBIDDEN_MODULES)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS or called.rpartition(".")[2] in FORBIDDEN_METHODS:
                yield f"calls {called}"
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            for name, (argument, value) in GUARDED_CALLS.items():
                if (called == name or called.endswith("." + name)) and given.get(argument) != str(value):
                    yield f"calls {called} without {argument}={value}"
            for argument, value in GUARDED_VALUES.items():
                if given.get(argument, str(value)) != str(value):
                    yield f"calls {called} with {argument}={given[argument]}"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_runs_code_from_data(file: Path) -> None:
    assert list(faults(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "import os; os.system('ls')",
        "yaml.load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.hub.load_state_dict_from_url(url)",
        "subprocess.run(text, shell=True)",
        "np.load(path, allow_pickle=True)",
        "tar.extractall()",
        "__import__(name)",
        "import xml.etree.ElementTree",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert list(faults(source))


def test_the_search_lets_harmless_calls_be() -> None:
    assert list(faults("model.eval(); json.load(file); torch.compile(model); torch.load(p, weights_only=True)")) == []


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Path]:
    """Return the path that hostile code would make; it must not be there in the end."""
    path = tmp_path / "sentinel"
    yield path
    assert not path.exists()


class Hostile:
    """An object whose unpickling makes the sentinel."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.sentinel),)


def as_tar(content: Any, path: Path) -> None:
    """Write what PyTorch before 0.1.10 did: a tar file of pickles."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            data = pickle.dumps(content)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def as_npz(content: Any, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weights=np.array([content], object))


def reduce_in_zip(sentinel: Path, path: Path) -> None:
    torch.save({"model": Hostile(sentinel)}, path)


def global_in_zip(_: Path, path: Path) -> None:
    torch.save({"model": os.system}, path)


def reduce_in_legacy(sentinel: Path, path: Path) -> None:
    torch.save({"model": Hostile(sentinel)}, path, _use_new_zipfile_serialization=False)


CHECKPOINTS: list[Callable[[Path, Path], None]] = [
    reduce_in_zip,
    global_in_zip,
    reduce_in_legacy,
    lambda sentinel, path: as_tar(Hostile(sentinel), path),
    lambda sentinel, path: as_npz(Hostile(sentinel), path),
]


@pytest.mark.parametrize("write", CHECKPOINTS, ids=["reduce", "global", "legacy", "tar", "npz"])
def test_code_in_a_checkpoint(tmp_path: Path, sentinel: Path, write: Callable[[Path, Path], None]) -> None:
    write(sentinel, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth: ") as caught:
        load_checkpoint(tmp_path / "evil.pth")
    assert "\n" not in str(caught.value)


CONFIGS = {
    "a call": "name: !!python/object/apply:os.mkdir [{sentinel}]",
    "a name": "name: !!python/name:os.system",
    "an object": "name: !!python/object/new:os.mkdir [{sentinel}]",
    "aliases that grow": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nname: [*c, *c]",
    "a depth": "name: " + "[" * 5000,
    "a size": "name: " + "x" * 1_100_000,
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_hostile_configuration(tmp_path: Path, sentinel: Path, kind: str) -> None:
    (tmp_path / "evil.yaml").write_text(CONFIGS[kind].replace("{sentinel}", str(sentinel)))
    with pytest.raises(ConfigError, match=r"evil\.yaml") as caught:
        load_config(str(tmp_path / "evil.yaml"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../secret.png", "/secret.png", "..\\secret.png", "C:\\secret.png", "sub/../../secret.png", "a\0.png"]
)
def test_a_picture_outside_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "secret.png").write_bytes(b"what nobody should see")
    name = name.replace("/secret", f"{tmp_path}/secret") if name.startswith("/") else name
    images = [{"id": 1, "file_name": name, "height": 8, "width": 8}]
    content = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "evil.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError) as caught:
        CocoDataset(tmp_path / "evil.json", tmp_path / "pictures")
    assert "\n" not in str(caught.value)


def archive_of(
    path: Path, name: str, mode: int = stat.S_IFREG, content: bytes = b"evil", size: int | None = None
) -> None:
    info = zipfile.ZipInfo("evil")
    info.filename, info.create_system, info.external_attr = name, 3, (mode | 0o777) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, content)
        if size is not None:
            archive.infolist()[0].file_size = size


ARCHIVES: dict[str, Callable[[Path], None]] = {
    "absolute": lambda path: archive_of(path, "/tmp/sentinel"),
    "upwards": lambda path: archive_of(path, "set/../../sentinel"),
    "backslash": lambda path: archive_of(path, "..\\sentinel"),
    "symbolic link": lambda path: archive_of(path, "set/link", stat.S_IFLNK, b"/etc"),
    "device": lambda path: archive_of(path, "set/device", stat.S_IFCHR),
    "bomb": lambda path: archive_of(path, "set/a.jpg", content=bytes(50_000_000), size=1000),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_hostile_archive(tmp_path: Path, sentinel: Path, kind: str) -> None:
    ARCHIVES[kind](tmp_path / "evil.zip")
    with pytest.raises(DownloadError, match=r"evil\.zip"):
        unpack(tmp_path / "evil.zip", tmp_path / "folder", ".*", Limits(10_000, 100_000), progress=False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "evil.zip"]
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]


def test_a_download_that_is_another_file(tmp_path: Path, file_server: Any) -> None:
    file_server.files["/weights.pth"] = b"not the weights"
    with pytest.raises(DownloadError):
        fetch(
            f"{file_server.url}/weights.pth",
            tmp_path / "weights.pth",
            sha256=hashlib.sha256(b"the weights").hexdigest(),
            progress=False,
        )
    assert not (tmp_path / "weights.pth").exists()


def test_a_redirection_to_a_file_of_this_computer(tmp_path: Path, file_server: Any) -> None:
    (tmp_path / "secret").write_text("what nobody should see")
    file_server.redirects["/weights.pth"] = (tmp_path / "secret").as_uri()
    with pytest.raises(DownloadError, match="could not be fetched"):
        fetch(f"{file_server.url}/weights.pth", tmp_path / "weights.pth", progress=False)
    assert not (tmp_path / "weights.pth").exists()


def test_a_picture_that_would_fill_the_memory(tmp_path: Path) -> None:
    """A PNG of 30,000 x 30,000 pixels in 100 KB; decoding it would take 2.7 GB."""
    side = 30_000

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + side // 8)) for _ in range(side)) + rows.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    assert len(data) < 200_000
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(DatasetError, match=r"bomb\.png"):
        read_picture(tmp_path / "bomb.png")


def test_annotations_nested_beyond_sense(tmp_path: Path) -> None:
    (tmp_path / "evil.json").write_text('{"images": ' + "[" * 200_000)
    with pytest.raises(UserError, match=r"evil\.json"):
        CocoDataset(tmp_path / "evil.json", tmp_path)
