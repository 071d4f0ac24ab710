"""Attacks through files that could run code: each is refused in one sentence, within ten seconds and a gigabyte.

The sentinel, a file that every piece of hostile code would write, is never there. Annotations and images:
tests/data/test_faulty_datasets.py. That no source can run code: test_security.py.
"""

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from yolact.config import load_config
from yolact.engine.checkpoint import load_checkpoint
from yolact.errors import CheckpointError, ConfigError, UserError


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[Path]:
    """Return the path that hostile code would make; it must not be there in the end."""
    path = tmp_path / "sentinel"
    yield path
    assert not path.exists()


@pytest.fixture
def refused(in_child: Any, sentinel: Path) -> Callable[..., str]:
    """Return a function that calls another in a child process and returns the sentence of the error, of this kind."""

    def run(kind: type[UserError], attempt: Callable[..., object], *arguments: Any, **more: Any) -> str:
        def case(_: None) -> str | None:
            try:
                attempt(*arguments, **more)
            except kind as error:
                return str(error)
            return None

        [ended] = in_child(case, [None])
        assert ended.fault == ""
        assert ended.value, "it was not refused"
        assert "\n" not in ended.value
        return str(ended.value)

    return run


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


CHECKPOINTS: dict[str, Callable[[Path, Path], None]] = {
    "reduce": lambda sentinel, path: torch.save({"model": Hostile(sentinel)}, path),
    "global": lambda sentinel, path: torch.save({"model": os.system}, path),
    "legacy": lambda sentinel, path: torch.save(
        {"model": Hostile(sentinel)}, path, _use_new_zipfile_serialization=False
    ),
    "pickle": lambda sentinel, path: path.write_bytes(pickle.dumps({"model": Hostile(sentinel)})),
    "tar": lambda sentinel, path: as_tar(Hostile(sentinel), path),
    "npz": lambda sentinel, path: as_npz(Hostile(sentinel), path),
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_code_in_a_checkpoint(tmp_path: Path, sentinel: Path, refused: Callable[..., str], kind: str) -> None:
    CHECKPOINTS[kind](sentinel, tmp_path / "evil.pth")
    said = refused(CheckpointError, load_checkpoint, tmp_path / "evil.pth")
    assert "evil.pth: " in said
    assert ("the Python object posix.mkdir" in said) == (kind in ("reduce", "legacy"))


def test_a_checkpoint_that_would_fill_the_memory(tmp_path: Path, refused: Callable[..., str]) -> None:
    """Here 64 MB in 64 KB; it is refused by its directory, so that the size makes no difference."""
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/data/0", bytes(2**26))
    assert "archive/data.pkl is compressed" in refused(CheckpointError, load_checkpoint, tmp_path / "bomb.pth")


CONFIGS = {
    "a call": "name: !!python/object/apply:os.mkdir [{sentinel}]",
    "a name": "name: !!python/name:os.system",
    "an object": "name: !!python/object/new:os.mkdir [{sentinel}]",
    "aliases that grow": "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nname: [*c, *c]",
    "a depth": "name: " + "[" * 5000,
    "a size": "name: " + "x" * 1_100_000,
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_hostile_configuration(tmp_path: Path, sentinel: Path, refused: Callable[..., str], kind: str) -> None:
    (tmp_path / "evil.yaml").write_text(CONFIGS[kind].replace("{sentinel}", str(sentinel)))
    assert "evil.yaml" in refused(ConfigError, load_config, tmp_path / "evil.yaml")
