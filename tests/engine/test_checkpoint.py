"""Checkpoints come back as they were saved, or are refused in one sentence: never read wrong, never run."""

import os
import random
import resource
import zipfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.made import make_checkpoint
from tests.reliability.trainings import equal
from yolact.engine.checkpoint import FORMAT, load_checkpoint, previous_of, save_checkpoint
from yolact.errors import CheckpointError


def state(step: int = 7, size: int = 500) -> dict[str, Any]:
    weights = {"weight": torch.full((size,), float(step)), "bias": torch.arange(3)}
    config = {"name": "test", "model": {"scales": [[24.0], [48.0]], "num_classes": None}}
    groups = [{"lr": 1e-3, "betas": (0.9, 1)}]
    more = {"optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": groups}}
    more |= {"rng": torch.get_rng_state(), "metrics": {"segm": {"AP": 0.25}}}
    return make_checkpoint(weights, config, ["cat"], [17], step=step, **more)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.pth"
    save_checkpoint(state(), path)
    return path


def test_round_trip(saved: Path) -> None:
    assert equal(load_checkpoint(saved), state())
    assert [entry.name for entry in saved.parent.iterdir()] == ["last.pth"]


def outcome(path: Path) -> str:
    """Load a damaged checkpoint: what comes of it may be "refused" or "same", and nothing else."""
    try:
        return "same" if equal(load_checkpoint(path), state()) else "silently different"
    except CheckpointError as error:
        return "refused" if "\n" not in str(error) else "more than one line"


def meaningful_places(path: Path) -> list[tuple[int, int]]:
    """Return the ranges of bytes that say what the tensors' bytes mean: headers, the pickle, the list of contents."""
    with zipfile.ZipFile(path) as archive:
        ranges = [(archive.start_dir, path.stat().st_size)]
        for entry in archive.infolist():
            size = 0 if "/data/" in entry.filename else entry.file_size
            ranges.append((entry.header_offset, entry.header_offset + 30 + len(entry.filename) + size))
    return ranges


def test_no_flipped_bit_changes_what_is_read(saved: Path) -> None:
    """Half of the bits are anywhere, which is mostly in weights; half are in what says what these are."""
    rng, places, content = random.Random(0), meaningful_places(saved), saved.read_bytes()
    seen: Counter[str] = Counter()
    for number in range(500):
        place = rng.randrange(*rng.choice(places)) if number % 2 else rng.randrange(len(content))
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.randrange(8)
        saved.write_bytes(damaged)
        seen[outcome(saved)] += 1
    assert seen["refused"] + seen["same"] == 500
    assert seen["refused"] > 250


def test_every_truncation_is_refused(saved: Path) -> None:
    for length in reversed(range(0, saved.stat().st_size, 19)):
        os.truncate(saved, length)
        assert outcome(saved) == "refused"


def test_a_bare_state_dict_is_read(tmp_path: Path) -> None:
    weights = {"backbone.weight": torch.arange(4.0)}
    for name, as_zip in (("new.pth", True), ("old.pth", False)):
        torch.save(weights, tmp_path / name, _use_new_zipfile_serialization=as_zip)
        assert equal(load_checkpoint(tmp_path / name), weights)


def test_other_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content, message in [(b"", "an empty one"), (b"<!DOCTYPE html>", "another file"), (b"PK\x03\x04", "damaged")]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "not weights")
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="folder; name a checkpoint in it"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "missing.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(1)], "got list"),
        ({}, "expected weights"),
        ({"model": os.system}, "the Python object posix.system, which could be code"),
        ({"state_dict": {"w": torch.zeros(1)}}, "expected weights"),
        ({**state(), "format": "yolact-9"}, "expected a checkpoint of format yolact-1, got yolact-9"),
        (
            {**state(), "format": {"a": torch.zeros(30, 30)}},
            "expected a checkpoint of format yolact-1, got a dict; use",
        ),
        ({**state(), "format": "yolact\n-9"}, "got yolact\N{REPLACEMENT CHARACTER}-9; use"),
        ({"a\nb": 1, "c\x1b": {"w": torch.zeros(1)}}, "got a dict of 'a.b', 'c.'; if weights stand in there"),
        ({"format": FORMAT, "model": {}}, "expected a configuration under 'config', got NoneType"),
        ({**state(), "model": None}, "expected names with tensors under 'model', got NoneType"),
        ({**state(), "ema": {"w": 1}}, "expected names with tensors or nothing under 'ema', got dict"),
        ({**state(), "config": []}, "expected a configuration under 'config', got list"),
        ({**state(), "class_names": [1]}, "expected a list of names under 'class_names', got list"),
        ({**state(), "category_ids": [True]}, "expected a list of whole numbers under 'category_ids', got list"),
        ({**state(), "category_ids": [17, 18]}, "has 1 class names, but 2 category ids"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / "other.pth")
    assert str(caught.value).isprintable()


def test_a_file_that_would_unpack_to_gigabytes_is_refused(saved: Path) -> None:
    """PyTorch stores its members as they are."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(CheckpointError, match=r"last\.pth: .*damaged.* \(archive/data\.pkl is compressed\)"):
        load_checkpoint(saved)


@pytest.mark.parametrize("value", [np.float64(0.5), Path("runs"), defaultdict(int), {1, 2}])
def test_only_what_can_be_read_back_is_saved(saved: Path, value: Any) -> None:
    with pytest.raises(TypeError, match=r"state\['metrics'\]\[0\] must be plain data"):
        save_checkpoint({**state(step=8), "metrics": [value]}, saved)
    assert load_checkpoint(saved)["step"] == 7


def steps_in(folder: Path) -> dict[str, int]:
    return {file.name: load_checkpoint(file)["step"] for file in folder.iterdir()}


def test_the_checkpoint_before_is_kept(saved: Path) -> None:
    for step in (8, 9):
        save_checkpoint(state(step), saved, previous=saved)
    assert steps_in(saved.parent) == {"last.pth": 9, "last.prev.pth": 8}
    save_checkpoint(state(10), saved, previous=saved.with_name("removed.pth"))
    assert steps_in(saved.parent) == {"last.pth": 10, "last.prev.pth": 8}


def test_another_file_than_the_last_one_is_kept_after_a_fallback(saved: Path) -> None:
    """Going on from last.prev.pth, because last.pth is damaged, must not push the good file out."""
    save_checkpoint(state(8), saved, previous=saved)
    saved.write_bytes(b"damaged")
    save_checkpoint(state(9), saved, previous=previous_of(saved))
    assert steps_in(saved.parent) == {"last.pth": 9, "last.prev.pth": 7}
    save_checkpoint(state(3), saved.with_name("best.pth"))
    save_checkpoint(state(10), saved, previous=saved.with_name("best.pth"))
    assert steps_in(saved.parent) == {"best.pth": 3, "last.pth": 10, "last.prev.pth": 3}


def test_a_kill_between_the_two_renamings_does_no_harm(saved: Path) -> None:
    """Both names are then of one file, and renaming one of its names to the other does nothing."""
    os.link(saved, previous_of(saved))
    save_checkpoint(state(8), saved, previous=saved)
    assert steps_in(saved.parent) == {"last.pth": 8, "last.prev.pth": 7}


def test_a_file_system_without_links(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    save_checkpoint(state(8), saved, previous=saved)
    assert steps_in(saved.parent) == {"last.pth": 8, "last.prev.pth": 7}


def test_a_full_disk_says_how_much_is_needed(saved: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"of 4 MB could not be written \(File too large\): make room"):
            save_checkpoint(state(step=8, size=1_000_000), saved, previous=saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert steps_in(saved.parent) == {"last.pth": 7}
